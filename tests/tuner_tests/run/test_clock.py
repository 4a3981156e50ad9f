"""The wall clock jumps by an hour while trials run: nothing that decides anything is measured with it."""

import itertools
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from reliability.faulty import Faulty

from tuner.search import stopping

HOUR = timedelta(hours=1)


class JumpingClock(datetime):
    """`datetime` whose `now` is an hour ahead and an hour back by turns."""

    _jumps = itertools.cycle([HOUR, -HOUR, timedelta()])

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime(2026, 1, 5, 12) + next(cls._jumps)


@pytest.mark.usefixtures("agents_in_this_process")
def test_a_study_ends_as_it_would_and_its_durations_are_no_less_than_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sql_queue", "second_record", "study_store"):
        monkeypatch.setattr(f"tuner.storage.{module}.datetime", JumpingClock)
    study = Faulty(tmp_path)
    assert study.run() == 0, study.said
    assert study.problems({}) == []
    assert study.command(["status", "faulty", "--json"]) == 0
    assert json.loads(study.said)[0]["cost"]["seconds"] >= 0
    assert study.command(["report", "faulty", "--output", str(tmp_path / "report.html")]) == 0, study.said


def ended(state: TrialState, number: int, at: timedelta) -> FrozenTrial:
    trial = create_trial(
        state=state,
        value=1.0 if state is TrialState.COMPLETE else None,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0.0, 1.0)},
        user_attrs={"error": "out of memory"} if state is TrialState.FAIL else {},
    )
    trial.number = number
    trial.datetime_complete = datetime(2026, 1, 5, 12) + at
    return trial


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_failures_before_a_jump_are_not_the_latest(jump: timedelta) -> None:
    failed = [ended(TrialState.FAIL, number, HOUR) for number in range(3)]
    assert "in a row failed" in str(stopping.failures(failed))
    complete = [ended(TrialState.COMPLETE, number, HOUR + jump) for number in range(3, 6)]
    assert stopping.failures([*failed, *complete]) is None
    assert "in a row failed" in str(stopping.failures([*complete, *failed]))
