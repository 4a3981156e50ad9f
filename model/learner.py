"""What a run learns with: network, optimiser, losses, augmentation, random generators; epochs and steps."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from model import checkpoint as checkpoints
from model import losses
from model.augment import Augment, mixup, oversample, rare_windows
from model.config import Config
from model.data_layout import board_of
from model.devices import Placement
from model.line_losses import LineLosses
from model.microbatches import Microbatches
from model.network import Network
from model.optimizers import WeightAverage, clip_gradients, make_optimizer, set_rate
from model.schedules import Schedule
from model.task import Task
from model.teacher import PARTS as STUDENT_PARTS
from model.teacher import Teacher, soft_loss
from model.tokens import PARAM_VALUE
from model.windows import Windows
from tuner.base.errors import TrainingFailed


class Learner:
    """A network in training.

    Args:
        teacher: another model to learn from instead of labels, or None.

    Attributes:
        windows: that are trained on.
        index: (draws,) the windows that epochs draw from, rare ones repeated.
    """

    def __init__(
        self, config: Config, task: Task, placement: Placement, teacher: Teacher | None = None
    ) -> None:
        self.config, self.task, self.placement = config, task, placement
        parts = ("train",) if teacher is None else STUDENT_PARTS
        self.windows = Windows.joined(*(task.parts[part] for part in parts))
        self.device = placement.device
        torch.manual_seed(config.seed)
        self.rng = np.random.default_rng([config.seed, 1])
        self.generator = torch.Generator(self.device).manual_seed(config.seed + 1)
        self.network = Network(
            config,
            channels=task.source.channels,
            head_sizes=task.vocabulary.head_sizes,
            tokens=len(task.vocabulary),
            operations=len(task.scaler.operations),
            recordings=len(task.data.recordings),
        ).to(self.device)
        placement.prepare(self.network)
        self.optimizer = make_optimizer(self.network, config)
        self.average = WeightAverage(self.network, config.ema) if config.ema else None
        self.grad_scaler = placement.grad_scaler()
        self.microbatches = Microbatches()
        self.augment = Augment(config, self.generator, boards=self._boards())
        self.weights = losses.loss_weights(config)
        counts = losses.class_counts(
            torch.from_numpy(task.table.factors[self.windows.line]), task.vocabulary.head_sizes
        )
        heads = losses.HeadLosses(config, counts=counts)
        self.lines = LineLosses(self.network.decoder, task, heads, teacher, device=self.device)
        self.index = self._train_index()
        self.schedule = Schedule(config, steps_per_epoch=math.ceil(len(self.windows) / config.batch_size))
        self.operation = torch.from_numpy(task.operation).to(self.device)

    def train_epoch(self, epoch: int) -> float:
        """Trains on as many windows as there are to train on; returns the mean loss of a step.

        Oversampling repeats rare windows in the set that is drawn from. The number of windows per epoch does
        not change, so that runs with different factors have equal steps and cost.
        """
        self.network.train()
        total = torch.zeros((), device=self.device)
        permutation = self.rng.permutation(self.index)[: len(self.windows)]
        for step, first in enumerate(range(0, len(permutation), self.config.batch_size)):
            total += self.train_step(epoch, step, permutation[first : first + self.config.batch_size])
        return float(total) / max(1, step + 1)

    def train_step(self, epoch: int, step: int, index: np.ndarray) -> Tensor:
        """One optimiser step on the windows `index`; returns the mean loss (detached)."""
        set_rate(self.optimizer, self.schedule.rate(epoch * self.schedule.steps_per_epoch + step))
        self.optimizer.zero_grad(set_to_none=True)
        loss_sum = torch.zeros((), device=self.device)

        def backward(part: Tensor, share: float) -> None:
            with self.placement.autocast():
                loss = self._loss(part.numpy())
            self.grad_scaler.scale(loss * share).backward()
            loss_sum.add_(loss.detach() * share)

        where = f"epoch {epoch}, step {step}"
        self.microbatches.run(
            torch.from_numpy(index),
            backward,
            drop_gradients=lambda: self.optimizer.zero_grad(set_to_none=True),
            where=where,
        )
        if not torch.isfinite(loss_sum):
            raise TrainingFailed(f"the loss is {float(loss_sum)} at {where}: try a smaller learning_rate")
        if self.config.grad_clip:
            self.grad_scaler.unscale_(self.optimizer)
            clip_gradients(self.network.parameters(), self.config.grad_clip)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        if self.average:
            self.average.update()
        return loss_sum

    def averaged(self) -> AbstractContextManager[None]:
        """The network has its averaged weights inside the block, where there are such."""
        return self.average.applied() if self.average else nullcontext()

    # -- one batch

    def _loss(self, index: np.ndarray) -> Tensor:
        """The weighted sum of all losses of a batch of training windows."""
        config = self.config
        start, recording, line = self._moved(index)
        source = self.task.source
        spare = math.ceil(self.augment.spare * len(source.seen))
        x, present = source.batch(torch.from_numpy(start), torch.from_numpy(recording), spare=spare)
        x, present = x.to(self.device), present.to(self.device)
        x = self.augment(x, present, spare=spare)
        mixture = mixup(x, present, alpha=config.mixup_alpha, generator=self.generator)
        seen, hidden = x, None
        if config.reconstruction_weight:
            seen, hidden = losses.hide_patches(
                x,
                share=config.reconstruction_mask,
                rows=config.reconstruction_patch,
                generator=self.generator,
            )
        memory = self.network.encode(seen)
        owner = torch.from_numpy(recording).to(self.device)
        terms = {
            **self.lines.terms(memory, start=start, recording=recording, line=line, mixture=mixture),
            "reconstruction": lambda: losses.reconstruction_loss(
                self.network.reconstruct(memory, x.shape[1]), x, _given(hidden), present
            ),
            "fingerprint": lambda: self._operation_loss(memory, start, recording),
            "invariance": lambda: losses.classification_loss(
                _given(self.network.recording)(losses.reverse_gradient(self.network.embedding(memory))), owner
            ),
            "contrastive": lambda: losses.contrastive_loss(
                self.network.embedding(memory),
                torch.from_numpy(line).to(self.device),
                temperature=config.contrastive_temperature,
            ),
        }
        return losses.combine(terms, self.weights)[0]

    def _operation_loss(self, memory: Tensor, start: np.ndarray, recording: np.ndarray) -> Tensor:
        logits, owner = self.network.operation_logits(memory), torch.from_numpy(recording)
        teacher = self.lines.teacher
        if teacher is None:
            return losses.classification_loss(logits, self.operation[owner.to(self.device)])
        answers = teacher.operation(torch.from_numpy(start), owner).to(self.device)
        everywhere = torch.zeros(len(answers), dtype=torch.int64, device=self.device)
        return soft_loss(logits, answers, everywhere, temperature=teacher.temperature)

    def _moved(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Start, recording and label of the training windows `index`, moved by up to `jitter_rows`."""
        windows = self.windows
        start, recording = windows.start[index], windows.recording[index]
        if not self.config.jitter_rows or self.config.track == "windows":
            return start, recording, windows.line[index]
        by = self.rng.integers(-self.config.jitter_rows, self.config.jitter_rows + 1, len(index))
        start = np.clip(start + by, self._first[recording], self._last[recording])
        return start, recording, self.task.labels[start]

    # -- what it is made of

    def _boards(self) -> Tensor:
        """(channel,) index of the board of each channel, -1 for motor currents and position."""
        channels, boards = self.task.data.channels, self.task.data.boards
        numbers = [boards.index(board_of(c)) if board_of(c) in boards else -1 for c in channels]
        numbers += [-1] * (self.task.source.channels - len(channels))
        return torch.tensor(numbers, device=self.device)

    def _train_index(self) -> np.ndarray:
        """The training windows that epochs draw from, rare ones repeated; also sets tables for batches."""
        task, config = self.task, self.config
        windows, vocabulary = self.windows, task.vocabulary
        recordings = task.data.recordings
        self._first = np.array([r.start for r in recordings])
        self._last = np.array([r.start + max(0, r.rows - config.window) for r in recordings])
        index = np.arange(len(windows))
        if config.oversampling_factor == 1:
            return index
        is_value = vocabulary.factor_table[:, 0] == PARAM_VALUE
        rare = rare_windows(task.table.targets[windows.line], is_value, share=config.rare_share)
        return oversample(index, rare, config.oversampling_factor)

    # -- the checkpoint

    def put(self, state: checkpoints.State) -> None:
        """Adds all that changes while the network learns."""
        state.tensors["noise_table"] = self.augment.noise_table
        state.values |= {
            "grad_scaler": self.grad_scaler.state_dict(),
            "schedule": self.schedule.state(),
            "microbatches": self.microbatches.parts,
        }
        state.put("network", self.network.state_dict())
        if self.average:
            state.values["average_steps"], averages = self.average.state()
            state.put("average", {str(i): average for i, average in enumerate(averages)})
        checkpoints.put_optimizer(state, self.optimizer)
        checkpoints.put_generators(state, self.rng, self.generator)

    def take(self, state: checkpoints.State) -> None:
        """Takes over what `put` added."""
        values = state.values
        self.network.load_state_dict(state.take("network"))
        checkpoints.take_optimizer(state, self.optimizer)
        checkpoints.take_generators(state, self.rng, self.generator)
        self.augment.noise_table = state.tensors["noise_table"].to(self.device)
        if self.average:
            averages = state.take("average")
            self.average.set_state(values["average_steps"], [averages[str(i)] for i in range(len(averages))])
        self.grad_scaler.load_state_dict(values["grad_scaler"])
        self.schedule.set_state(values["schedule"])
        self.microbatches.parts = values["microbatches"]


T = TypeVar("T")


def _given(value: T | None) -> T:
    assert value is not None, "exists if the loss has a weight"
    return value
