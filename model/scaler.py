"""Scales raw rows for the network: mean about 0, deviation about 1, absent channels 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model.recordings import Recordings
from tuner.base.errors import InputError

CLIP = 6.0  # standard deviations; larger values are glitches of a board


@dataclass(frozen=True)
class Scaler:
    """Statistics of `train`, and how the channels of a recording are centred.

    normalization: "global" uses the mean of train; "recording" the mean and deviation of the recording itself
    (offsets differ between recordings); "prefix" the mean of its first `prefix_rows` rows (possible live).
    mean, deviation: per channel over train. within: median over train recordings of the deviation within one
    recording.
    """

    channels: tuple[str, ...]
    operations: tuple[str, ...]
    normalization: str
    prefix_rows: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    within: tuple[float, ...]

    @classmethod
    def fit(cls, data: Recordings, train: Sequence[int], *, normalization: str, prefix_rows: int) -> Scaler:
        """Fits the statistics on the train recordings only."""
        means, deviations, weights = [], [], []
        for i in train:
            r = data.recordings[i]
            x = np.asarray(data.signals[r.live], dtype=np.float64)
            here = data.present[i]
            means.append(np.where(here, x.mean(axis=0), np.nan))
            deviations.append(np.where(here, x.std(axis=0), np.nan))
            weights.append(len(x))
        mean_each, deviation_each = np.array(means), np.array(deviations)
        weight = np.array(weights, dtype=float)[:, None] * ~np.isnan(mean_each)
        total = np.maximum(weight.sum(axis=0), 1)
        mean = np.nansum(mean_each * weight, axis=0) / total
        second = np.nansum((deviation_each**2 + (mean_each - mean) ** 2) * weight, axis=0) / total
        seen = ~np.isnan(deviation_each).all(axis=0)
        within = np.zeros(len(mean))
        within[seen] = np.nanmedian(deviation_each[:, seen], axis=0)
        return cls(
            channels=data.channels,
            operations=tuple(sorted({data.recordings[i].operation for i in train})),
            normalization=normalization,
            prefix_rows=prefix_rows,
            mean=tuple(mean.tolist()),
            deviation=tuple(np.sqrt(second).tolist()),
            within=tuple(within.tolist()),
        )

    def offsets(self, data: Recordings) -> tuple[np.ndarray, np.ndarray]:
        """Offset and factor of each recording: the input is (row - offset) · factor.

        Returns:
            offset and factor, both (recordings, channels) float32. The factor is 0 if a channel is absent or
            constant in train.

        Raises:
            InputError: `data` has other channels.
        """
        if data.channels != self.channels:
            raise InputError(
                f"{data.name}: its {len(data.channels)} channels are not the {len(self.channels)} that the "
                "network was trained on"
            )
        count = len(data.recordings)
        offset = np.tile(np.array(self.mean, dtype=np.float64), (count, 1))
        scale = np.tile(
            np.array(self.within if self.normalization != "global" else self.deviation), (count, 1)
        )
        for i, r in enumerate(data.recordings):
            if self.normalization == "global" or r.rows == 0:
                continue
            rows = r.live
            if self.normalization == "prefix":
                rows = slice(r.start, min(rows.stop, r.start + self.prefix_rows))
            x = np.asarray(data.signals[rows], dtype=np.float64)
            offset[i] = x.mean(axis=0)
            if self.normalization == "recording":
                # A channel that is almost constant in this recording is not scaled up to deviation 1.
                scale[i] = np.maximum(x.std(axis=0), 0.25 * scale[i])
        usable = data.present & (scale > 1e-9)
        factor = np.where(usable, 1 / np.where(usable, scale, 1), 0)
        return offset.astype(np.float32), factor.astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """As plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Scaler:
        """The inverse of `to_json`. InputError if a key is missing or unknown, or a type is wrong."""
        try:
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
            found = cls(**values)
            numbers = np.array([found.mean, found.deviation, found.within], dtype=np.float64)
            names = (*found.channels, *found.operations)
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"not a scaler: {error}") from None
        if numbers.shape != (3, len(found.channels)) or not all(isinstance(name, str) for name in names):
            raise InputError("not a scaler: its channels and numbers do not fit together")
        if not np.isfinite(numbers).all():
            raise InputError("not a scaler: its numbers are not finite")
        return found
