"""What is said while a study runs: whole lines where nobody watches, and only when there is news."""

import io
from collections.abc import Callable
from typing import Any, cast

from optuna.trial import Trial
from rich.console import Console

from tuner.base.words import duration
from tuner.definition.study_file import StudyFile
from tuner.run.events import AgentState, Event, StudyRun
from tuner.show.live import LiveView, PlainView, make_view
from tuner.storage import study_store
from tuner.storage.records import Records


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def agent(**state: Any) -> AgentState:
    return AgentState(0, cast(Any, None), 0.0, **state)


def test_plain_lines_tell_progress_best_and_time_left(
    records: Records, make_study: Callable[..., StudyFile]
) -> None:
    output, clock, study_file = io.StringIO(), Clock(), make_study()
    study, total = study_store.open_study(records, study_file, study_store.Origin({}))
    view = PlainView(Console(file=output, width=200), clock=clock)
    view.begin(StudyRun(study, records, study_file, total, 1))
    view.tick([agent(doing="running", number=0, epoch=2)])

    trial = Trial(study, records.claim(study._study_id, user_attrs={})._trial_id)
    study_file.space.suggest(trial)
    study.tell(trial, 0.5)
    clock.now = 10
    view.event(Event("end", 0, {"number": 0, "outcome": "complete", "value": 0.5, "message": ""}))
    view.tick([])
    clock.now = 20
    view.tick([])
    view.event(Event("died", 0, {"number": 1, "how": "killed by SIGKILL"}))

    assert output.getvalue().splitlines() == [
        "study small: 0 of 6 trials, 1 agent",
        "0/6 trials · 0 pruned · 0 failed · best none yet · trial 0 epoch 3",
        "trial 0 complete score 0.5000",
        "1/6 trials · 0 pruned · 0 failed · best score 0.5000 (trial 0) · 50 s left",
        "1/6 trials · 0 pruned · 0 failed · best score 0.5000 (trial 0) · 1 min 40 s left",
        "agent 0 died with trial 1 (killed by SIGKILL); a new agent replaces it",
    ]


def test_the_live_table_shows_each_agents_trial_and_epoch(
    records: Records, make_study: Callable[..., StudyFile]
) -> None:
    output, study_file = io.StringIO(), make_study()
    study, total = study_store.open_study(records, study_file, study_store.Origin({}))
    view = make_view(Console(file=output, width=100, force_terminal=True))
    assert isinstance(view, LiveView)
    view.begin(StudyRun(study, records, study_file, total, 2))
    view.tick([agent(doing="running", number=7, epoch=3, value=0.25)])
    view.end()
    shown = output.getvalue()
    for part in ("agent", "epoch", "7", "4", "0.2500", "0/6 trials"):
        assert part in shown


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(s) for s in (5.4, 95, 7_260)] == ["5 s", "1 min 35 s", "2 h 1 min"]
