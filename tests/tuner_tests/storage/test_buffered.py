"""How often the other agents' trials are read: the longer a reading takes, the less often."""

import time

import pytest
from optuna.study import StudyDirection

from tuner.storage import records as buffered


@pytest.mark.parametrize(
    ("reading_seconds", "fresh_seconds"),
    [(0.005, buffered.FRESH_SECONDS), (0.1, 0.1 / buffered.READING_SHARE), (20.0, buffered.STALE_SECONDS)],
)
def test_reading_takes_a_small_share_of_the_time(records, monkeypatch, reading_seconds, fresh_seconds):
    study_id = records.create_new_study([StudyDirection.MINIMIZE], "a study")
    now, readings = 1000.0, 0

    def read(*_, **__):
        nonlocal now, readings
        now, readings = now + reading_seconds, readings + 1
        return []

    monkeypatch.setattr(records._backend, "get_all_trials", read)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    records.get_all_trials(study_id)
    now += 0.99 * fresh_seconds
    records.get_all_trials(study_id)
    assert readings == 1
    now += 0.02 * fresh_seconds
    records.get_all_trials(study_id)
    assert readings == 2
