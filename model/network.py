"""The network: reads a window of sensors, writes the tokens of a line, each as four factors (type, …).

Shapes: B windows, T rows, C channels, S memory vectors, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from model.config import Config
from model.dropout import Dropout
from model.linear import Linear

MAX_TOKENS = 32  # positions of a line, BOS included
SEGMENT_ROWS = 8  # rows per mean in the summary
SUMMARY_TOKENS = 4
SUMMARY_DROPOUT = 0.2
FIRST_GAIN = 0.1  # initial LayerScale of encoder layers (Touvron et al., 2021)
STATISTICS = 6  # per channel, see Encoder.statistics
EDGE_ROWS = 8  # the means of the first and last rows of a segment are statistics


class Positions:
    """The positions of a batch of lines that hold a token; layers compute only these (P of B · L).

    Half of the positions are padding: lines have 4 tokens on average, and the longest one decides.

    Args:
        real: (B, L) bool.
    """

    def __init__(self, real: Tensor) -> None:
        self.shape = real.shape
        self.index = real.flatten().nonzero()[:, 0]

    def pack(self, x: Tensor) -> Tensor:
        """x, whose first dimensions hold B · L elements and the last D, → (P, D)."""
        return x.reshape(-1, x.shape[-1]).index_select(0, self.index)

    def spread(self, x: Tensor) -> Tensor:
        """x (P, D) → (B, L, D), 0 at padding."""
        empty = x.new_zeros(self.shape.numel(), x.shape[-1])
        return empty.index_copy(0, self.index, x).view(*self.shape, -1)


class Attention(nn.Module):
    """Multi-head scaled dot-product attention of x over `memory`; keys and values can be cached.

    The attention weights have no dropout: torch would not use its fused kernel. The output has dropout.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key_value = Linear(width, 2 * width)
        self.out = Linear(width, width)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, D) → keys and values, each (B, heads, S, D / heads)."""
        key, value = self.key_value(memory).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def forward(self, x: Tensor, kept: tuple[Tensor, Tensor]) -> Tensor:
        """x (B, L, D) attends to the cached keys and values."""
        mixed = F.scaled_dot_product_attention(self._split(self.query(x)), *kept)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def packed_keys_values(self, x: Tensor, here: Positions) -> tuple[Tensor, Tensor]:
        """`keys_values` of x (P, D) at the positions `here`, each (B, heads, L, D / heads)."""
        key, value = here.spread(self.key_value(x)).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def packed(
        self, x: Tensor, kept: tuple[Tensor, Tensor], here: Positions, *, causal: bool = False
    ) -> Tensor:
        """x (P, D) attends from the positions `here`. Lines that share a window share its keys and values."""
        query = here.spread(self.query(x)).reshape(len(kept[0]), -1, x.shape[-1])
        mixed = F.scaled_dot_product_attention(self._split(query), *kept, is_causal=causal)
        return self.out(here.pack(mixed.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _feed_forward(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(Linear(width, 2 * width), nn.GELU(), Dropout(dropout), Linear(2 * width, width))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward block, pre-norm, with LayerScale."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.feed_forward = _feed_forward(width, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.drop = Dropout(dropout)
        self.gains = nn.Parameter(torch.full((2, width), FIRST_GAIN))

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, D) → (B, S, D)."""
        y = self.norms[0](x)
        x = x + self.gains[0] * self.drop(self.attention(y, self.attention.keys_values(y)))
        return x + self.gains[1] * self.drop(self.feed_forward(self.norms[1](x)))


@dataclass(frozen=True)
class LayerCache:
    """Keys and values of a decoder layer: of the windows and, one row per line, of the tokens so far.

    `window` (rows,) is the window of each line; None: one line per window.
    """

    memory: tuple[Tensor, Tensor]
    tokens: tuple[Tensor, Tensor] | None
    window: Tensor | None = None

    def reorder(self, rows: Tensor) -> LayerCache:
        """The cache of `rows` (N,), for beams that were copied or dropped."""
        tokens = None if self.tokens is None else (self.tokens[0][rows], self.tokens[1][rows])
        return LayerCache(self.memory, tokens, rows if self.window is None else self.window[rows])

    def of_rows(self) -> tuple[Tensor, Tensor]:
        """The keys and values of each line's window."""
        keys, values = self.memory
        return self.memory if self.window is None else (keys[self.window], values[self.window])


class DecoderLayer(nn.Module):
    """Causal self-attention over the tokens, attention over the memory, feed-forward block, pre-norm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.itself = Attention(width, heads)
        self.across = Attention(width, heads)
        self.feed_forward = _feed_forward(width, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, here: Positions) -> Tensor:
        """x (P, D) at the positions `here`, memory (windows, S, D) → (P, D)."""
        y = self.norms[0](x)
        x = x + self.drop(self.itself.packed(y, self.itself.packed_keys_values(y, here), here, causal=True))
        y = self.norms[1](x)
        x = x + self.drop(self.across.packed(y, self.across.keys_values(memory), here))
        return x + self.drop(self.feed_forward(self.norms[2](x)))

    def step(self, x: Tensor, cache: LayerCache) -> tuple[Tensor, LayerCache]:
        """One token x (N, 1, D) after those in the cache."""
        y = self.norms[0](x)
        key, value = self.itself.keys_values(y)
        if cache.tokens is not None:
            key, value = torch.cat([cache.tokens[0], key], 2), torch.cat([cache.tokens[1], value], 2)
        x = x + self.itself(y, (key, value))
        x = x + self.drop(self.across(self.norms[1](x), cache.of_rows()))
        x = x + self.drop(self.feed_forward(self.norms[2](x)))
        return x, LayerCache(cache.memory, (key, value), cache.window)


class Encoder(nn.Module):
    """Window → memory: channel statistics and segment means through two wide layers, then attention.

    Measured on the public recordings (select, one seed, 25 epochs): this reaches 80 % exact lines. A
    convolution over frames with attention over all frames reaches 67 to 78 %. Some 60 recordings are too few
    to learn these statistics from rows, and a linear layer over segments knows the place in the window.
    """

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.config = config
        width, hidden = config.d_model, SUMMARY_TOKENS * config.d_model
        parts = 1 + (config.context_before > 0) + (config.context_after > 0)
        self.segments = -(-(config.context_before + config.window + config.context_after) // SEGMENT_ROWS)
        self.summary = nn.Sequential(
            Linear((parts * STATISTICS + self.segments) * channels, hidden),
            nn.GELU(),
            Dropout(SUMMARY_DROPOUT),
            Linear(hidden, hidden),
            nn.GELU(),
            Dropout(SUMMARY_DROPOUT),
            Linear(hidden, hidden),
        )
        self.layers = nn.ModuleList(
            EncoderLayer(width, config.heads, config.dropout) for _ in range(config.encoder_layers)
        )
        self.norm = nn.LayerNorm(width)

    def features(self, x: Tensor) -> Tensor:
        """x (B, T, C) → what the first layer reads, (B, features). No weight has a part in it."""
        return torch.cat([self.statistics(x), row_means(x, SEGMENT_ROWS).flatten(1)], dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """The features of windows (B, features) → memory (B, S, D), S = SUMMARY_TOKENS."""
        memory = self.summary(features).unflatten(1, (SUMMARY_TOKENS, -1))
        for layer in self.layers:
            if self.config.gradient_checkpointing and self.training:
                memory = checkpoint(layer, memory, use_reentrant=False)
            else:
                memory = layer(memory)
        return self.norm(memory)

    def statistics(self, x: Tensor) -> Tensor:
        """(B, segments · 6 · C): mean, deviation, minimum, maximum, means of first and last rows."""
        before, window, after = self.config.context_before, self.config.window, self.config.context_after
        parts = x.split([n for n in (before, window, after) if n], dim=1)
        out = []
        for part in parts:
            edge = min(EDGE_ROWS, part.shape[1])
            mean = part.mean(1)
            # Over a middle dimension, std() takes 20 times as long and aminmax() 3 times.
            deviation = (part - mean[:, None]).square_().mean(1).sqrt_()
            low, high = part.amin(1), part.amax(1)
            out += [mean, deviation, low, high, part[:, :edge].mean(1), part[:, -edge:].mean(1)]
        return torch.cat(out, dim=1)


def row_means(x: Tensor, rows: int) -> Tensor:
    """(B, T, C) → (B, ceil(T / rows), C): means of `rows` rows; the last mean is padded with the last row."""
    missing = -x.shape[1] % rows
    if missing:
        x = torch.cat([x, x[:, -1:].expand(-1, missing, -1)], dim=1)
    return x.unflatten(1, (-1, rows)).mean(2)


class Decoder(nn.Module):
    """Tokens so far → logits of the four heads for the next token."""

    def __init__(self, config: Config, head_sizes: Mapping[str, int], tokens: int) -> None:
        super().__init__()
        width = config.d_model
        self.embed = nn.Embedding(tokens, width)
        self.place = nn.Parameter(torch.randn(MAX_TOKENS, width) * 0.02)
        self.layers: Sequence[DecoderLayer] = nn.ModuleList(  # type: ignore[assignment]
            DecoderLayer(width, config.heads, config.dropout) for _ in range(config.decoder_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.sizes = {name: max(1, n) for name, n in head_sizes.items()}
        self.heads = Linear(width, sum(self.sizes.values()))  # all four at once
        self.checkpointing = config.gradient_checkpointing

    def forward(self, memory: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        """memory (B, S, D), tokens (B, L) starting with BOS → logits {head: (B, L, classes)}."""
        states = self.states(memory, tokens, Positions(torch.ones_like(tokens, dtype=torch.bool)))
        return {head: logits.view(*tokens.shape, -1) for head, logits in self.logits(states).items()}

    def states(self, memory: Tensor, tokens: Tensor, here: Positions) -> Tensor:
        """What the heads read at the positions `here` of the lines: (P, D).

        Args:
            memory: (windows, S, D).
            tokens: (B, L) starting with BOS, B = windows · k: the k lines of a window follow each other.
        """
        x = here.pack(self.embed(tokens) + self.place[: tokens.shape[1]])
        for layer in self.layers:
            if self.checkpointing and self.training:
                x = checkpoint(layer, x, memory, here, use_reentrant=False)
            else:
                x = layer(x, memory, here)
        return self.norm(x)

    def head(self, name: str, states: Tensor) -> Tensor:
        """The logits of one head: states (P, D) → (P, classes)."""
        sizes = list(self.sizes.values())
        place = list(self.sizes).index(name)
        return F.linear(states, self.heads.weight.split(sizes)[place], self.heads.bias.split(sizes)[place])

    def logits(self, states: Tensor) -> dict[str, Tensor]:
        """The logits of all heads: states (…, D) → {head: (…, classes)}."""
        logits = self.heads(states).split(list(self.sizes.values()), dim=-1)
        return dict(zip(self.sizes, logits, strict=True))

    def begin(self, memory: Tensor) -> list[LayerCache]:
        """The caches before the first token."""
        return [LayerCache(layer.across.keys_values(memory), None) for layer in self.layers]

    def step(self, caches: list[LayerCache], tokens: Tensor) -> tuple[dict[str, Tensor], list[LayerCache]]:
        """tokens (N,), the last of each row → logits {head: (N, classes)} of the next one, new caches."""
        so_far = 0 if caches[0].tokens is None else caches[0].tokens[0].shape[2]
        x = (self.embed(tokens) + self.place[so_far])[:, None]
        new = []
        for layer, cache in zip(self.layers, caches, strict=True):
            x, kept = layer.step(x, cache)
            new.append(kept)
        return self.logits(self.norm(x[:, 0])), new


class Network(nn.Module):
    """Encoder, decoder, and heads for the auxiliary losses that have a weight."""

    def __init__(
        self,
        config: Config,
        *,
        channels: int,
        head_sizes: Mapping[str, int],
        tokens: int,
        operations: int,
        recordings: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(config, channels)
        self.decoder = Decoder(config, head_sizes, tokens)
        self.operation = Linear(config.d_model, operations)
        self.rows: Linear | None = None
        if config.reconstruction_weight:
            self.rows = Linear(SUMMARY_TOKENS * config.d_model, self.encoder.segments * channels)
        self.recording: Linear | None = None
        if config.invariant_fingerprint and recordings:
            self.recording = Linear(config.d_model, recordings)

    def encode(self, x: Tensor) -> Tensor:
        """x (B, T, C) → memory (B, S, D)."""
        return self.encoder(self.encoder.features(x))

    def embedding(self, memory: Tensor) -> Tensor:
        """(B, S, D) → (B, D): one vector per window, for the auxiliary losses."""
        return memory.mean(1)

    def operation_logits(self, memory: Tensor) -> Tensor:
        """(B, S, D) → (B, operations)."""
        return self.operation(self.embedding(memory))

    def reconstruct(self, memory: Tensor, time: int) -> Tensor:
        """(B, S, D) → predicted segment means of the window, repeated to (B, time, C)."""
        assert self.rows is not None, "made when reconstruction has a weight"
        segments = self.rows(memory.flatten(1)).unflatten(1, (self.encoder.segments, -1))
        return segments.repeat_interleave(SEGMENT_ROWS, dim=1)[:, :time]


def parameter_count(network: nn.Module) -> int:
    """The number of trained parameters."""
    return sum(p.numel() for p in network.parameters())
