"""Registration in time: finds by how many rows the sensors of a recording lag behind its G-code lines.

Boards and controller have their own clocks. In the recordings of one operation the sensor streams are almost
the same, but shifted against the controller by up to 60 rows. The shift differs between recordings and is the
same for all boards of one. A window of a late recording therefore shows the machine several lines before the
line of its label. Registration corrects this by one whole number of rows per recording. It is found by
cross-correlation of the sensors with the recordings of `train`; lines and position are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import uniform_filter1d

from model.recordings import Recordings

MAX_DELAY = 80  # rows searched in both directions
SMOOTH_ROWS = 5
TREND_ROWS = 201  # slower changes (warm-up, drift) are removed
ROUNDS = 4  # of alignment to the mean of the others
FEW = 3  # an operation with fewer recordings tries the templates of others
RESEMBLES = 0.2  # least mean correlation over channels to use such a template
TEMPLATE_CHANNELS = 96  # only the channels that repeat best are kept


@dataclass(frozen=True, eq=False)
class Registration:
    """The templates of the operations: the mean of their aligned train recordings.

    templates: (templates, rows, channels) float32, row 0 is `MAX_DELAY` rows before the start of a
    recording; 0 in channels that were not kept.
    """

    templates: np.ndarray

    @classmethod
    def fit(cls, data: Recordings, train: Sequence[int]) -> tuple[Registration, dict[int, int]]:
        """Aligns the train recordings of each operation with each other.

        An operation with few recordings uses the template of another operation if it is similar enough (a
        damaged part is cut by the same program as a good one), else its own.

        Returns:
            the registration, and the delay in rows of each train recording (median 0 per operation).
        """
        groups: dict[str, list[int]] = {}
        for i in train:
            groups.setdefault(data.recordings[i].operation, []).append(i)
        rows = max(data.recordings[i].rows for i in train) + 2 * MAX_DELAY
        templates: list[np.ndarray] = []
        delays: dict[int, int] = {}
        for operation in sorted(groups, key=lambda name: (-len(groups[name]), name)):
            shapes = {i: shape_of(data, i) for i in groups[operation]}
            if len(shapes) < FEW and templates:
                found = {i: _best(shape, templates) for i, shape in shapes.items()}
                if all(score > RESEMBLES for score, _ in found.values()):
                    delays.update({i: delay for i, (_, delay) in found.items()})
                    continue
            delay = relative_delays(shapes)
            delays.update(delay)
            templates.append(_template(shapes, delay, rows))
        return cls(np.stack(templates)), delays

    def delay(self, data: Recordings, recording: int) -> int:
        """The delay in rows of a recording against the most similar template."""
        return _best(shape_of(data, recording), self.templates)[1]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Compact arrays: float16 templates of the used channels, their indices, the number of channels."""
        used = np.flatnonzero(self.templates.any(axis=(0, 1)))
        return {
            "channels": used,
            "width": np.array(self.templates.shape[2]),
            "templates": np.ascontiguousarray(self.templates[:, :, used], dtype=np.float16),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Registration:
        """The inverse of `to_arrays`."""
        kept = arrays["templates"]
        templates = np.zeros((*kept.shape[:2], int(arrays["width"])), dtype=np.float32)
        templates[:, :, arrays["channels"]] = kept
        return cls(templates)


def shape_of(data: Recordings, recording: int) -> np.ndarray:
    """(rows, channels) float32: smoothed, detrended, unit variance per channel; 0 for absent channels."""
    return shape_of_signals(data.signals[data.recordings[recording].live], data.present[recording])


def shape_of_signals(signals: np.ndarray, present: np.ndarray) -> np.ndarray:
    """`shape_of` the rows `signals` (rows, channels), of which `present` (channels,) were measured."""
    x = np.asarray(signals, dtype=np.float32)
    x = uniform_filter1d(x, SMOOTH_ROWS, axis=0, mode="nearest")
    x -= uniform_filter1d(x, TREND_ROWS, axis=0, mode="nearest")
    deviation = x.std(axis=0)
    alive = (deviation > 1e-6) & present
    return np.where(alive, x / np.where(alive, deviation, 1), 0).astype(np.float32)


def _best(shape: np.ndarray, templates: Sequence[np.ndarray] | np.ndarray) -> tuple[float, int]:
    """The highest correlation with any template, and its delay."""
    lags = np.arange(0, 2 * MAX_DELAY + 1)
    best, found = -np.inf, 0
    for template in templates:
        score = _correlation(shape, template, lags=lags)
        k = int(score.argmax())
        if score[k] > best:
            best, found = float(score[k]), MAX_DELAY - k
    return best, found


def _correlation(shape: np.ndarray, reference: np.ndarray, *, lags: np.ndarray) -> np.ndarray:
    """(lags,) mean over channels of the correlation of `reference[t + lag]` with `shape[t]`.

    The mean over channels is taken of the spectra, so one inverse transform is enough.
    """
    used = np.flatnonzero(shape.any(axis=0) & reference.any(axis=0))
    if len(used) == 0:
        return np.zeros(len(lags))
    size = next_fast_len(len(shape) + len(reference) + int(np.abs(lags).max()), real=True)
    spectrum = np.einsum(
        "fc,fc->f",
        rfft(reference[:, used], size, axis=0),
        rfft(shape[:, used], size, axis=0).conj(),
        optimize=True,
    )
    return irfft(spectrum, size)[lags] / (len(shape) * len(used))


def relative_delays(shapes: dict[int, np.ndarray]) -> dict[int, int]:
    """Delays in rows of recordings of one operation, from the lag between each pair of them; median 0."""
    names = list(shapes)
    if len(names) == 1:
        return {names[0]: 0}
    lags = np.arange(-MAX_DELAY, MAX_DELAY + 1)
    size = next_fast_len(2 * max(len(s) for s in shapes.values()) + MAX_DELAY, real=True)
    spectra = {i: rfft(shape, size, axis=0) for i, shape in shapes.items()}
    lag = np.zeros((len(names), len(names)))
    for a in range(len(names)):
        for b in range(a + 1, len(names)):
            product = np.einsum("fc,fc->f", spectra[names[a]], spectra[names[b]].conj(), optimize=True)
            lag[a, b] = lags[irfft(product, size)[lags].argmax()]
            lag[b, a] = -lag[a, b]
    # The reference is the recording whose lags agree best with the lags between the others.
    wrong = [np.abs(lag - (lag[:, r][:, None] - lag[:, r][None, :])).sum() for r in range(len(names))]
    delay = lag[:, int(np.argmin(wrong))].copy()
    for _ in range(10):  # then each in turn moves to the median of what the others say
        before = delay.copy()
        for a in range(len(names)):
            delay[a] = np.median(np.delete(delay + lag[a], a))
        if np.array_equal(before, delay):
            break
    delay -= np.median(delay)
    return {name: round(float(d)) for name, d in zip(names, delay, strict=True)}


def _template(shapes: dict[int, np.ndarray], delay: dict[int, int], rows: int) -> np.ndarray:
    """(rows, channels) mean of the aligned shapes, in the channels that repeat best."""
    channels = next(iter(shapes.values())).shape[1]
    total = np.zeros((rows, channels), dtype=np.float32)
    count = np.zeros((rows, channels), dtype=np.float32)
    for i, shape in shapes.items():
        start = max(0, MAX_DELAY - delay[i])
        stop = min(rows, start + len(shape))
        total[start:stop] += shape[: stop - start]
        count[start:stop] += shape.any(axis=0)
    mean = total / np.maximum(count, 1)
    common = count.max(axis=0) >= 0.5 * len(shapes)
    repeats = np.where(common, mean.std(axis=0), 0)  # the mean of a channel that does not repeat is flat
    kept = np.argsort(-repeats, kind="stable")[:TEMPLATE_CHANNELS]
    out = np.zeros_like(mean)
    out[:, kept] = mean[:, kept]
    return out
