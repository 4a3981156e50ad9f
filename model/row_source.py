"""Cuts batches of windows from the memory-mapped arrays by index: no copy, no loop over windows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from model.config import Config
from model.recordings import Recordings
from model.registration import Registration
from model.scaler import CLIP, Scaler
from model.windows import Windows


class RowSource:
    """Scaled windows of one data set, as the network reads them.

    A window has `config.window` rows, which give its label. The network also sees `config.context_before`
    rows before and `config.context_after` rows after it, all moved by the delay of the recording. Rows beyond
    the ends of a recording repeat its first or last row.

    Args:
        delays: rows by which the sensors of each recording lag, by index; missing ones are 0.
    """

    def __init__(
        self, data: Recordings, scaler: Scaler, config: Config, *, delays: Mapping[int, int] | None = None
    ) -> None:
        offset, factor = scaler.offsets(data)
        self.signals = _as_tensor(data.signals)  # (rows, channels), still on disk
        self.position: Tensor | None = None
        if config.machine_position:
            self.position = torch.from_numpy(position_features(np.asarray(data.position)))
        self.offset, self.factor = torch.from_numpy(offset), torch.from_numpy(factor)
        self.present = torch.from_numpy(np.asarray(data.present) & (factor > 0))
        starts = np.array([r.start for r in data.recordings], dtype=np.int64)
        rows = np.array([r.rows for r in data.recordings], dtype=np.int64)
        self.first, self.last = torch.from_numpy(starts), torch.from_numpy(starts + np.maximum(rows, 1) - 1)
        self.delay = torch.zeros(len(starts), dtype=torch.int64)
        for i, delay in (delays or {}).items():
            self.delay[i] = delay
        self.seen = torch.arange(-config.context_before, config.window + config.context_after)

    @property
    def channels(self) -> int:
        """The number of input channels of the network."""
        return self.offset.shape[1] + (POSITION_FEATURES if self.position is not None else 0)

    def batch(self, start: Tensor, recording: Tensor, *, spare: int = 0) -> tuple[Tensor, Tensor]:
        """Windows at rows `start` (batch,) of the recordings `recording` (batch,), both int64.

        Args:
            spare: so many rows more before and after what the network sees.

        Returns:
            x (batch, time, channel) float32 and present (batch, channel) bool; the caller may change both.
        """
        flat = self._rows(start + self.delay[recording], recording, spare)
        row = flat.view(len(start), -1)
        x = self.signals.index_select(0, flat).view(*row.shape, -1)
        x.sub_(self.offset[recording][:, None]).mul_(self.factor[recording][:, None]).clamp_(-CLIP, CLIP)
        present = self.present[recording]
        if self.position is not None:
            # The position has the clock of the controller: it has no delay.
            position = self.position.index_select(0, self._rows(start, recording, spare))
            x = torch.cat([x, position.view(*row.shape, -1)], dim=2)
            present = torch.cat([present, present.new_ones(len(present), POSITION_FEATURES)], dim=1)
        return x, present

    def _rows(self, start: Tensor, recording: Tensor, spare: int) -> Tensor:
        """(batch · time,) rows seen from `start` (batch,), clipped to the recording."""
        seen = torch.arange(int(self.seen[0]) - spare, int(self.seen[-1]) + spare + 1) if spare else self.seen
        row = start[:, None] + seen
        first, last = self.first[recording][:, None], self.last[recording][:, None]
        return torch.minimum(torch.maximum(row, first), last).flatten()

    def windows(self, windows: Windows, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """`batch` for the windows at `index`."""
        start = torch.from_numpy(windows.start[index])
        return self.batch(start, torch.from_numpy(windows.recording[index]))


POSITION_WAVES = (64.0, 16.0, 4.0, 1.0)  # millimetres: from the size of the bed to the step-over of a tool
POSITION_FEATURES = 3 * (1 + 2 * len(POSITION_WAVES))


def position_features(position: np.ndarray) -> np.ndarray:
    """(rows, 3) millimetres → (rows, POSITION_FEATURES) float32: the position, and sines of it.

    Values differ by fractions of a millimetre on a bed of 160 mm; one linear input cannot separate them
    (Fourier features: Tancik et al., 2020). Unknown positions are 0.
    """
    angle = 2 * np.pi * position[:, :, None] / np.array(POSITION_WAVES, dtype=np.float32)
    features = np.concatenate(
        [position / 30.0, *np.moveaxis(np.sin(angle), 2, 0), *np.moveaxis(np.cos(angle), 2, 0)], 1
    )
    return np.nan_to_num(features, nan=0.0).astype(np.float32)


def delays_of(
    data: Recordings, registration: Registration | None, which: Sequence[int] | None = None
) -> dict[int, int]:
    """The delay of each recording, found from its sensors; {} without a registration."""
    if registration is None:
        return {}
    return {i: registration.delay(data, i) for i in (range(len(data.recordings)) if which is None else which)}


def _as_tensor(array: np.ndarray) -> Tensor:
    """A tensor that shares the memory of `array`, a possibly read-only map; nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(array))
