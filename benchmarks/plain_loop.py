"""The training loop that one writes first, for comparison: bench_training.py measures it in the same run.

A `Dataset` that makes one window at a time, augmentation in Python on each window, a `DataLoader`, and
torch's own Transformer over every row of the window; the same data, labels, sizes, augmentation
probabilities, losses and optimiser as the project's trainer.
"""

from __future__ import annotations

import itertools
import random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from model.config import Config
from model.recordings import Recordings
from model.tokens import HEADS, Vocabulary
from model.windows import Windows

ENCODER_LAYERS = 2  # over the rows; the project's default has its layers over a summary of them


class WindowDataset(Dataset[dict[str, Tensor]]):
    """One window an item: slice, centre by its recording, scale, augment, encode its line."""

    def __init__(self, data: Recordings, windows: Windows, vocabulary: Vocabulary, config: Config) -> None:
        self.data, self.windows, self.vocabulary, self.config = data, windows, vocabulary, config
        self.means, scales = [], []
        for recording in data.recordings:
            rows = data.signals[recording.start : recording.start + recording.rows]
            self.means.append(rows.mean(0))
            scales.append(rows.std(0))
        self.scale = np.maximum(np.mean(scales, axis=0), 1e-6)
        self.longest = max(len(vocabulary.encode(line)) for line in data.lines) + 2

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        recording = self.data.recordings[int(self.windows.recording[i])]
        first = int(self.windows.start[i]) - self.config.context_before
        rows = np.arange(first, int(self.windows.start[i]) + self.config.window + self.config.context_after)
        rows = np.clip(rows, recording.start, recording.start + recording.rows - 1)
        x = np.array(self.data.signals[rows], dtype=np.float32)
        x = (x - self.means[int(self.windows.recording[i])]) / self.scale
        x = self.augment(x * self.data.present[int(self.windows.recording[i])])
        line = self.data.lines[int(self.windows.line[i])]
        ids = [1, *self.vocabulary.encode(line), 2]
        ids += [0] * (self.longest - len(ids))
        return {"x": torch.tensor(x, dtype=torch.float32), "ids": torch.tensor(ids)}

    def augment(self, x: np.ndarray) -> np.ndarray:
        """All of the config's augmentations on one window (time, channel)."""
        config, (time_, channels) = self.config, x.shape
        if config.time_warp and random.random() < config.time_warp_probability:
            speed = 1 + config.time_warp * np.sin(np.linspace(0, 2 * np.pi, time_) + random.random() * 6)
            row = np.cumsum(speed)
            row = (row - row[0]) / (row[-1] - row[0]) * (time_ - 1)
            x = np.stack([np.interp(row, np.arange(time_), x[:, c]) for c in range(channels)], axis=1)
        if random.random() < config.shift_probability:
            by = random.randint(-config.shift_max, config.shift_max)
            x = x[np.clip(np.arange(time_) - by, 0, time_ - 1)]
        if random.random() < config.noise_probability:
            x = x + np.random.normal(0, config.noise_std, x.shape)
        if random.random() < config.scale_probability:
            x = x * random.uniform(1 - config.scale_range, 1 + config.scale_range)
        x = x * (np.random.random(channels) >= config.feature_dropout) / (1 - config.feature_dropout)
        if config.cutout_rows and random.random() < config.cutout_probability:
            start = random.randint(0, time_ - config.cutout_rows)
            x[start : start + config.cutout_rows] = 0
        return x


class PlainNetwork(nn.Module):
    """torch's Transformer encoder over all rows and decoder over the line's tokens, with four heads."""

    def __init__(self, channels: int, vocabulary: Vocabulary, config: Config, longest: int) -> None:
        super().__init__()
        width = config.d_model
        options = (width, config.heads, 4 * width, config.dropout)
        self.stem = nn.Linear(channels, width)
        rows = config.context_before + config.window + config.context_after
        self.row = nn.Parameter(0.02 * torch.randn(rows, width))
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(*options, batch_first=True), ENCODER_LAYERS
        )
        self.token = nn.Embedding(len(vocabulary.tokens), width, padding_idx=0)
        self.step = nn.Parameter(0.02 * torch.randn(longest, width))
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(*options, batch_first=True), config.decoder_layers
        )
        self.heads = nn.ModuleList(nn.Linear(width, vocabulary.head_sizes[h]) for h in HEADS)

    def forward(self, x: Tensor, ids: Tensor) -> dict[str, Tensor]:
        memory = self.encoder(self.stem(x) + self.row)
        length = ids.shape[1]
        causal = nn.Transformer.generate_square_subsequent_mask(length)
        hidden = self.decoder(
            self.token(ids) + self.step[:length], memory, tgt_mask=causal, tgt_is_causal=True
        )
        return {head: layer(hidden) for head, layer in zip(HEADS, self.heads, strict=True)}


class PlainLoop:
    """The loop itself; `run(steps)` goes on where the last call ended."""

    def __init__(self, data: Recordings, windows: Windows, vocabulary: Vocabulary, config: Config) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        dataset = WindowDataset(data, windows, vocabulary, config)
        loader = DataLoader(dataset, config.batch_size, shuffle=True, drop_last=True)
        self.network = PlainNetwork(len(data.channels), vocabulary, config, dataset.longest)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), config.learning_rate)
        self.factors = torch.as_tensor(vocabulary.factor_table)
        self.batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def run(self, steps: int) -> int:
        """Trains for so many steps; returns the windows they held."""
        done = 0
        for batch in itertools.islice(self.batches, steps):
            self.step(batch)
            done += len(batch["ids"])
        return done

    def step(self, batch: dict[str, Tensor]) -> None:
        """Forward, loss, backward, clip, step."""
        ids = batch["ids"]
        logits = self.network(batch["x"], ids[:, :-1])
        wanted = self.factors[ids[:, 1:]].masked_fill((ids[:, 1:] == 0)[..., None], -1)
        loss = sum(
            F.cross_entropy(
                logits[head].flatten(0, 1),
                wanted[..., column].flatten(),
                ignore_index=-1,
                label_smoothing=self.config.label_smoothing,
            )
            for column, head in enumerate(HEADS)
        )
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.grad_clip)
        self.optimizer.step()
