"""Batches of windows cut from the shared arrays by index: no copy of the data set, no loop over windows."""

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

    A window is labelled by its `config.window` rows. What the network sees starts `config.context_before`
    rows earlier and ends `config.context_after` rows later, all of it moved by the recording's delay; rows
    beyond the ends of a recording repeat its first or last row.

    Args:
        delays: rows by which each recording's sensors come late, by index; missing ones count as 0.
    """

    def __init__(
        self, data: Recordings, scaler: Scaler, config: Config, *, delays: Mapping[int, int] | None = None
    ) -> None:
        offset, factor = scaler.offsets(data)
        self.signals = _as_tensor(data.signals)  # (rows, channels), still on disk
        self.position: Tensor | None = None
        if config.machine_position:
            position = np.nan_to_num(np.asarray(data.position), nan=0.0)
            self.position = torch.from_numpy((position - POSITION_CENTRE) / POSITION_SCALE)
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
        """Width of a row as the network sees it."""
        return self.offset.shape[1] + (3 if self.position is not None else 0)

    def batch(self, start: Tensor, recording: Tensor) -> tuple[Tensor, Tensor]:
        """Windows at rows `start` (batch,) of the recordings `recording` (batch,), both int64.

        Returns:
            x (batch, time, channel) float32 and present (batch, channel) bool, both the caller's to change.
        """
        row = start[:, None] + self.delay[recording][:, None] + self.seen
        row = torch.minimum(torch.maximum(row, self.first[recording][:, None]), self.last[recording][:, None])
        flat = row.flatten()
        x = self.signals.index_select(0, flat).view(*row.shape, -1)
        x.sub_(self.offset[recording][:, None]).mul_(self.factor[recording][:, None]).clamp_(-CLIP, CLIP)
        present = self.present[recording]
        if self.position is not None:
            x = torch.cat([x, self.position.index_select(0, flat).view(*row.shape, 3)], dim=2)
            present = torch.cat([present, present.new_ones(len(present), 3)], dim=1)
        return x, present

    def windows(self, windows: Windows, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """`batch` for the windows at `index`."""
        start = torch.from_numpy(windows.start[index])
        return self.batch(start, torch.from_numpy(windows.recording[index]))


POSITION_CENTRE = np.array([40.0, 40.0, -20.0], dtype=np.float32)  # millimetres: the middle of a desktop mill
POSITION_SCALE = np.array([30.0, 30.0, 10.0], dtype=np.float32)


def delays_of(
    data: Recordings, registration: Registration | None, which: Sequence[int] | None = None
) -> dict[int, int]:
    """The delay of each recording, found from its sensors; all 0 without a registration."""
    if registration is None:
        return {}
    return {i: registration.delay(data, i) for i in (range(len(data.recordings)) if which is None else which)}


def _as_tensor(array: np.ndarray) -> Tensor:
    """A tensor over the memory of `array`, which may be a read-only map: nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(array))
