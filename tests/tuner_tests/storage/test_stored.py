"""What is read of stored trials."""

from datetime import datetime, timedelta
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.storage.study import training_seconds


def test_training_time_counts_no_pauses() -> None:
    begin, end = datetime(2026, 1, 7, 12, 0), datetime(2026, 1, 7, 13, 0)
    stint = ["agent", begin.isoformat(), (begin + timedelta(seconds=20)).isoformat()]
    again = ["agent", (end - timedelta(seconds=10)).isoformat(), end.isoformat()]

    def trial(**attrs: Any) -> FrozenTrial:
        made = create_trial(value=1.0, user_attrs=attrs)
        made.datetime_start, made.datetime_complete = begin, end
        return made

    assert training_seconds(trial()) == 3600
    assert training_seconds(trial(stints=[stint, again])) == 30
    assert training_seconds(trial(stints=[stint], seconds=12.5)) == 12.5
    assert training_seconds(create_trial(state=TrialState.WAITING)) == 0
