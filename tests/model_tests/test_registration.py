"""Registration finds, from sensors alone, by how many rows each recording's sensors come late."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.config import Config
from model.recordings import Recording, Recordings
from model.registration import MAX_DELAY, Registration, shape_of
from model.row_source import RowSource, delays_of
from model.scaler import Scaler

ROWS, CHANNELS = 400, 6


def recorded(delays: list[int], *, operations: list[str] | None = None, noise: float = 0.3) -> Recordings:
    """Recordings of the same motion, each late by its delay, with noise and offsets of its own."""
    names = operations or ["face"] * len(delays)
    rng = np.random.default_rng(0)
    motion = {name: smooth(rng.normal(size=(ROWS + 2 * MAX_DELAY, CHANNELS))) for name in sorted(set(names))}
    signals, recordings = [], []
    for i, (delay, name) in enumerate(zip(delays, names, strict=True)):
        seen = motion[name][MAX_DELAY - delay : MAX_DELAY - delay + ROWS]
        seen = seen + noise * rng.normal(size=seen.shape) + rng.normal(size=CHANNELS) * 5
        signals.append(seen)
        recordings.append(Recording(f"{name}_{i:03d}", name, i * ROWS, ROWS, ("board",)))
    return Recordings(
        name="made",
        folder=None,
        kind="recordings",
        content_hash="",
        channels=tuple(f"board.{c}" for c in range(CHANNELS)),
        boards=("board",),
        signals=np.concatenate(signals).astype(np.float32),
        present=np.ones((len(delays), CHANNELS), bool),
        position=np.zeros((ROWS * len(delays), 3), np.float32),
        line_ids=np.zeros(ROWS * len(delays), np.int32),
        lines=("G1 X1",),
        recordings=tuple(recordings),
    )


def smooth(x: np.ndarray) -> np.ndarray:
    """Motion that changes over some ten rows, as a machine's does."""
    kernel = np.hanning(25)[:, None]
    out = np.apply_along_axis(lambda c: np.convolve(c, kernel[:, 0], mode="same"), 0, x)
    return out / out.std(0)


def test_delays_of_train_are_found_up_to_what_all_share() -> None:
    delays = [0, 12, -7, 30, 3]
    _, found = Registration.fit(recorded(delays), range(5))
    assert [found[i] - found[0] for i in range(5)] == pytest.approx(delays, abs=1)


def test_a_new_recording_is_placed_against_train() -> None:
    data = recorded([0, 4, -4, 2, 25])
    registration, found = Registration.fit(data, range(4))
    assert registration.delay(data, 4) - found[0] == pytest.approx(25, abs=1)


def test_each_recording_is_compared_with_the_operation_it_resembles() -> None:
    data = recorded([0, 5, 9, 0, -6, 3, 17], operations=["face"] * 3 + ["pocket"] * 4)
    registration, found = Registration.fit(data, range(6))
    assert registration.delay(data, 6) - found[3] == pytest.approx(17, abs=1)


def test_missing_channels_do_not_disturb() -> None:
    data = recorded([0, 8, -3, 20])
    present = data.present.copy()
    present[3, :3] = False
    signals = data.signals.copy()
    signals[3 * ROWS :, :3] = 0
    data = replace(data, present=present, signals=signals)
    registration, found = Registration.fit(data, range(3))
    assert registration.delay(data, 3) - found[0] == pytest.approx(20, abs=1)


def test_one_recording_of_a_lonely_operation_is_where_it_is() -> None:
    _, found = Registration.fit(recorded([11]), [0])
    assert found == {0: 0}


def test_a_recording_without_any_signal_is_not_moved() -> None:
    data = recorded([0, 6, 2, 0])
    silent = replace(data, present=np.array([[True] * CHANNELS] * 3 + [[False] * CHANNELS]))
    registration, _ = Registration.fit(data, range(3))
    assert not shape_of(silent, 3).any()
    assert abs(registration.delay(silent, 3)) <= MAX_DELAY


def test_arrays_give_the_same_registration_back() -> None:
    data = recorded([0, 9, -5, 14])
    registration, _ = Registration.fit(data, range(3))
    again = Registration.from_arrays(registration.to_arrays())
    assert again.delay(data, 3) == registration.delay(data, 3)


def test_registered_windows_of_two_recordings_show_the_same_motion() -> None:
    data = recorded([0, 10, -10, 4], noise=0.0)
    registration, found = Registration.fit(data, range(4))
    config = Config(window=32, stride=16, context_after=0, registration=True)
    scaler = Scaler.fit(data, range(4), normalization="recording", prefix_rows=20)
    source = RowSource(data, scaler, config, delays=found)
    import torch

    x, _ = source.batch(torch.tensor([100, ROWS + 100]), torch.tensor([0, 1]))
    plain, _ = RowSource(data, scaler, config).batch(torch.tensor([100, ROWS + 100]), torch.tensor([0, 1]))
    assert (x[0] - x[1]).abs().mean() < 0.2 < (plain[0] - plain[1]).abs().mean()
    assert delays_of(data, None) == {}
    assert delays_of(data, registration, [1])[1] == pytest.approx(found[1], abs=1)
