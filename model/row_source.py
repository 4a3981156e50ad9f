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
        """Width of a row as the network sees it."""
        return self.offset.shape[1] + (POSITION_FEATURES if self.position is not None else 0)

    def batch(self, start: Tensor, recording: Tensor) -> tuple[Tensor, Tensor]:
        """Windows at rows `start` (batch,) of the recordings `recording` (batch,), both int64.

        Returns:
            x (batch, time, channel) float32 and present (batch, channel) bool, both the caller's to change.
        """
        flat = self._rows(start + self.delay[recording], recording)
        row = flat.view(len(start), -1)
        x = self.signals.index_select(0, flat).view(*row.shape, -1)
        x.sub_(self.offset[recording][:, None]).mul_(self.factor[recording][:, None]).clamp_(-CLIP, CLIP)
        present = self.present[recording]
        if self.position is not None:
            # The controller's own clock: what it says of a row is not late.
            position = self.position.index_select(0, self._rows(start, recording))
            x = torch.cat([x, position.view(*row.shape, -1)], dim=2)
            present = torch.cat([present, present.new_ones(len(present), POSITION_FEATURES)], dim=1)
        return x, present

    def _rows(self, start: Tensor, recording: Tensor) -> Tensor:
        """(batch · time,) rows seen from `start` (batch,), kept inside each window's recording."""
        row = start[:, None] + self.seen
        first, last = self.first[recording][:, None], self.last[recording][:, None]
        return torch.minimum(torch.maximum(row, first), last).flatten()

    def windows(self, windows: Windows, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """`batch` for the windows at `index`."""
        start = torch.from_numpy(windows.start[index])
        return self.batch(start, torch.from_numpy(windows.recording[index]))


POSITION_WAVES = (64.0, 16.0, 4.0, 1.0)  # millimetres: from the size of the bed to a tool's step-over
POSITION_FEATURES = 3 * (1 + 2 * len(POSITION_WAVES))


def position_features(position: np.ndarray) -> np.ndarray:
    """(rows, 3) millimetres → (rows, POSITION_FEATURES) float32: itself, and sines at several wavelengths.

    Values of lines differ by fractions of a millimetre on a bed of 160: one linear input could not tell them
    apart (Fourier features: Tancik et al., 2020). Unknown positions are 0.
    """
    angle = 2 * np.pi * position[:, :, None] / np.array(POSITION_WAVES, dtype=np.float32)
    features = np.concatenate(
        [position / 30.0, *np.moveaxis(np.sin(angle), 2, 0), *np.moveaxis(np.cos(angle), 2, 0)], 1
    )
    return np.nan_to_num(features, nan=0.0).astype(np.float32)


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
