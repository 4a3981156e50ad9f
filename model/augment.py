"""Augmentation of training batches, in place, and oversampling of windows with rare values.

Augmentation runs in the inner loop. Each operation touches only the windows that it chose, and all operations
that multiply share one pass. Noise is cut from a table: drawing every value took five times as long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.config import Config

LEAST_SHARE = 0.01  # a mixture with a smaller share is skipped: that saves decoding two lines per window
NOISE_TABLE = 1 << 20  # normal values (4 MB); each window reads them from a random offset


class Augment:
    """The augmentation of one run, called on each training batch.

    Order: time warp and shift move rows; noise is added; scale, channel dropout and board dropout multiply
    (so that a silent or absent channel is exactly 0); cutout silences rows.

    Args:
        config: the probabilities and sizes; an operation whose size or probability is 0 is skipped.
        generator: on the device of the batches; the only source of randomness.
        boards: (channel,) int64, the board of each channel, -1 for channels without a board. Needed for
            board dropout.

    Attributes:
        noise_table: normal values, drawn when the first batch needs them; empty until then.
    """

    def __init__(self, config: Config, generator: torch.Generator, *, boards: Tensor | None = None) -> None:
        self.config = config
        self.generator = generator
        self.boards = boards
        self.noise_table = torch.empty(0, device=generator.device)

    @property
    def spare(self) -> float:
        """Rows before and after a window that its warp may show, as a share of the window."""
        return self.config.time_warp / 2 if self.config.time_warp_probability else 0.0

    def __call__(self, x: Tensor, present: Tensor, *, spare: int = 0) -> Tensor:
        """Augments x (batch, time, channel) float32 in place and returns it, without its `spare` rows at
        both ends, which only a time warp shows.

        `present` (batch, channel) bool marks the channels that a recording has; the others stay 0. Board
        dropout clears it in place for the boards that it drops.
        """
        config, generator = self.config, self.generator
        x = time_warp(
            x,
            limit=config.time_warp,
            probability=config.time_warp_probability,
            spare=spare,
            generator=generator,
        )
        shift(x, limit=config.shift_max, probability=config.shift_probability, generator=generator)
        self._noise(x)
        if config.board_dropout and self.boards is not None:
            drop_boards(present, self.boards, probability=config.board_dropout, generator=generator)
        factor = channel_factors(
            present,
            silent=config.feature_dropout,
            rescale=config.feature_dropout_rescale,
            generator=generator,
        )
        scale(factor, limit=config.scale_range, probability=config.scale_probability, generator=generator)
        x.mul_(factor[:, None, :])
        cutout(x, rows=config.cutout_rows, probability=config.cutout_probability, generator=generator)
        return x

    def _noise(self, x: Tensor) -> None:
        size = NOISE_TABLE + x[0].numel()
        if self.config.noise_std and self.config.noise_probability and len(self.noise_table) < size:
            self.noise_table = torch.randn(size, generator=self.generator, device=self.generator.device)
        noise(
            x,
            std=self.config.noise_std,
            probability=self.config.noise_probability,
            table=self.noise_table,
            generator=self.generator,
        )


def noise(x: Tensor, *, std: float, probability: float, table: Tensor, generator: torch.Generator) -> None:
    """Adds normal noise of `std` (in the channel's standard deviations) to the chosen windows.

    Each window reads its noise from `table` (normal values) at a random offset, as in evolution strategies
    (Salimans et al., 2017).
    """
    chosen = _choose(len(x), probability if std else 0.0, generator)
    if len(chosen) == 0:
        return
    flat = x.view(len(x), -1)
    stretches = table.unfold(0, flat.shape[1], 1)  # (starts, time · channel), a view
    start = torch.randint(len(stretches), (len(chosen),), generator=generator, device=x.device)
    flat.index_add_(0, chosen, stretches.index_select(0, start), alpha=std)


def shift(x: Tensor, *, limit: int, probability: float, generator: torch.Generator) -> None:
    """Shifts the chosen windows by -limit to limit rows; the row at the edge is repeated."""
    chosen = _choose(len(x), probability if limit else 0.0, generator)
    if len(chosen) == 0:
        return
    time = x.shape[1]
    by = torch.randint(-limit, limit + 1, (len(chosen), 1), generator=generator, device=x.device)
    row = (torch.arange(time, device=x.device) - by).clamp_(0, time - 1)  # (chosen, time)
    x.index_copy_(0, chosen, _rows(x, chosen, row))


def time_warp(
    x: Tensor, *, limit: float, probability: float, spare: int, generator: torch.Generator
) -> Tensor:
    """Shows the chosen windows at another feed: speed 1 + a + w cos(2πt/T + φ), |a| + |w| ≤ limit < 1.

    The middle row stays in place. Rows between two are interpolated linearly; beyond the `spare` rows at
    both ends the last one is repeated. Returns the batch without them; without such rows, x itself.
    """
    inner = x[:, spare : x.shape[1] - spare].contiguous() if spare else x
    chosen = _choose(len(x), probability if limit else 0.0, generator)
    if len(chosen) == 0:
        return inner
    time = inner.shape[1]
    draw = torch.rand(3, len(chosen), 1, generator=generator, device=x.device)
    pace = limit * (2 * draw[0] - 1)
    strength, phase = (limit - pace.abs()) * (2 * draw[1] - 1), 2 * math.pi * draw[2]
    middle = (time - 1) / 2
    late = torch.arange(time, device=x.device) - middle
    wave = 2 * math.pi / max(1, time - 1)
    swing = (torch.sin(wave * late + phase) - torch.sin(phase)) / wave
    row = spare + middle + (1 + pace) * late + strength * swing
    row.clamp_(0, x.shape[1] - 1)
    low = row.floor().long().clamp_(max=max(0, x.shape[1] - 2))
    high = (low + 1).clamp_(max=x.shape[1] - 1)
    warped = _rows(x, chosen, low).lerp_(_rows(x, chosen, high), (row - low)[..., None])
    inner.index_copy_(0, chosen, warped)
    return inner


def channel_factors(present: Tensor, *, silent: float, rescale: bool, generator: torch.Generator) -> Tensor:
    """(batch, channel): 0 for absent channels and, with probability `silent`, for others; else 1.

    With `rescale` the kept channels are multiplied by 1 / (1 - silent), as in dropout.
    """
    if not silent:
        return present.float()
    keep = torch.rand(present.shape, generator=generator, device=present.device) >= silent
    return (keep & present).float().mul_(1 / (1 - silent) if rescale else 1.0)


def scale(factor: Tensor, *, limit: float, probability: float, generator: torch.Generator) -> None:
    """Multiplies the factors (batch, channel) of chosen windows by one random number each, in 1 ± limit."""
    chosen = _choose(len(factor), probability if limit else 0.0, generator)
    if len(chosen) == 0:
        return
    by = 1 + limit * (2 * torch.rand(len(chosen), 1, generator=generator, device=factor.device) - 1)
    factor[chosen] *= by


def drop_boards(present: Tensor, boards: Tensor, *, probability: float, generator: torch.Generator) -> None:
    """Clears `present` (batch, channel) for all channels of a board, drawn per window and board."""
    count = int(boards.max()) + 1
    draw = torch.rand(len(present), count + 1, generator=generator, device=present.device)
    draw[:, count] = 1.0  # index -1: channels without a board are always kept
    present &= (draw >= probability)[:, boards]


def cutout(x: Tensor, *, rows: int, probability: float, generator: torch.Generator) -> None:
    """Sets `rows` consecutive rows of the chosen windows to 0 (the mean of each channel)."""
    chosen = _choose(len(x), probability if rows else 0.0, generator)
    if len(chosen) == 0:
        return
    time = x.shape[1]
    rows = min(rows, time)
    start = torch.randint(time - rows + 1, (len(chosen), 1), generator=generator, device=x.device)
    row = start + torch.arange(rows, device=x.device)
    x.view(-1, x.shape[2]).index_fill_(0, (chosen[:, None] * time + row).flatten(), 0.0)


@dataclass(frozen=True)
class Mixture:
    """A mixup: window i is share · itself + (1 - share) · window partner[i], and so is its loss."""

    share: float
    partner: Tensor  # (batch,) int64


def mixup(x: Tensor, present: Tensor, *, alpha: float, generator: torch.Generator) -> Mixture | None:
    """Mixes the windows of a batch in pairs, in place (Zhang et al., 2018). None: nothing was mixed.

    The share is drawn once per batch from Beta(alpha, alpha). Nothing is mixed if alpha is 0, or if one
    window of a pair would make up more than 99 % of the mixture (for alpha 0.2: four batches in ten). A
    channel counts as present in the mixture if either window has it.
    """
    if not alpha:
        return None
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    if min(share, 1 - share) < LEAST_SHARE:
        return None
    partner = torch.randperm(len(x), generator=generator, device=x.device)
    x.lerp_(x.index_select(0, partner), 1 - share)
    present |= present[partner]
    return Mixture(share, partner)


def oversample(index: np.ndarray, rare: np.ndarray, factor: int) -> np.ndarray:
    """`index` with rare windows repeated `factor` times: 2 rare of 10, factor 3 → 14.

    Args:
        index: (windows,) int; rare: (windows,) bool.
    """
    return np.concatenate([index, np.repeat(index[rare], factor - 1)])


def rare_windows(tokens: np.ndarray, is_value: np.ndarray, *, share: float) -> np.ndarray:
    """Which train windows have a label with a parameter value that is rare in train.

    The frequency of a window is that of the rarest value in its line. Windows up to the `share` quantile of
    these frequencies are rare: about that share of the windows with values, in any data set. The most
    frequent windows are never rare, nor are lines without values.

    Args:
        tokens: (windows, length) int, token ids of the labels, padded with ids that are not values.
        is_value: (vocabulary,) bool, whether a token is a parameter value.

    Returns:
        (windows,) bool.
    """
    value = is_value[tokens]
    counts = np.bincount(tokens[value], minlength=len(is_value))
    commonness = np.where(value, counts[tokens], np.iinfo(np.int64).max).min(
        axis=1, initial=np.iinfo(np.int64).max
    )
    valued = value.any(axis=1)
    if not valued.any() or share == 0:
        return np.zeros(len(tokens), dtype=bool)
    limit = np.quantile(commonness[valued], share, method="lower")
    return valued & (commonness <= limit) & (commonness < commonness[valued].max())


def _choose(batch: int, probability: float, generator: torch.Generator) -> Tensor:
    """The windows (ascending int64) that an operation with `probability` applies to."""
    if probability == 0:
        return torch.empty(0, dtype=torch.int64)
    return (torch.rand(batch, generator=generator, device=generator.device) < probability).nonzero()[:, 0]


def _rows(x: Tensor, chosen: Tensor, row: Tensor) -> Tensor:
    """Rows `row` (chosen, time) of the windows `chosen`: (chosen, time, channel), a copy."""
    flat = (chosen[:, None] * x.shape[1] + row).flatten()
    return x.view(-1, x.shape[2]).index_select(0, flat).view(*row.shape, -1)
