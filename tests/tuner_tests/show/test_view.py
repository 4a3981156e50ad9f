"""What is said while a study runs: whole lines where nobody watches, and only when there is news."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from optuna.trial import Trial
from rich.console import Console

from tuner.base.words import duration
from tuner.definition.pruner_settings import PrunerSettings
from tuner.definition.sampler import FREEZE_THAW
from tuner.definition.study_file import StudyFile
from tuner.run.events import AgentState, Event, StudyRun
from tuner.show.console import STATES
from tuner.show.live import LiveView, PlainView, fitted, make_view
from tuner.show.progress import Progress
from tuner.storage import study_store
from tuner.storage.records import Records


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def agent(**state: Any) -> AgentState:
    return AgentState(0, cast(Any, None), **state)


MakeStudy = Callable[..., StudyFile]


@pytest.fixture
def run(records: Records, make_study: MakeStudy) -> StudyRun:
    """A study of six trials, of 18 epochs each, and two agents."""
    study_file = make_study()
    return StudyRun(study_store.open_study(records, study_file, study_store.Origin({})), 2, 18)


def ended(run: StudyRun, value: float, *, epochs: int = 0) -> Event:
    """A trial that has just ended after some reports, and the event that tells of it."""
    trial = Trial(run.study, run.study.records.claim(run.study._study_id, user_attrs={})._trial_id)
    run.study.file.space.suggest(trial)
    for epoch in range(1, epochs + 1):
        trial.report(value, epoch)
    run.study.tell(trial, value)
    return Event("end", 0, {"number": trial.number, "outcome": "complete", "value": value, "message": ""})


def reported(number: int, epoch: int, value: float) -> Event:
    return Event("epoch", 0, {"number": number, "epoch": epoch, "value": value})


def test_a_log_has_a_line_when_something_ends_else_every_few_minutes(run: StudyRun) -> None:
    output, clock = io.StringIO(), Clock()
    view = PlainView(Console(file=output, width=60), clock=clock)
    view.begin(run)
    view.event(Event("start", 0, {"number": 0}))
    for now in range(1, 400):  # seconds
        clock.now = now
        view.tick([agent(doing="running", number=0, epoch=None if now < 10 else 2)])
    view.event(ended(run, 0.5))
    clock.now = 400
    view.tick([])
    clock.now = 410
    view.tick([])
    view.event(Event("died", 0, {"number": 1, "how": "killed by SIGKILL"}))

    lines = output.getvalue().splitlines()
    best = lines[-2]
    assert lines == [
        "study small: 6 trials, 2 agents",
        "0/6 trials · no complete trial yet · wall 3 min 1 s · trial 0 epoch 3/18",
        "0/6 trials · no complete trial yet · wall 6 min 2 s · trial 0 epoch 3/18",
        "trial 0 complete: score 0.5000 · 1/6 trials · wall 6 min 40 s · about 33 min 20 s left",
        best,
        "agent 0 died (killed by SIGKILL): trial 1 is interrupted; a new agent replaces it",
    ]
    assert best.startswith("  best score 0.5000 (trial 0): x=")


def test_that_a_trial_ended_is_said_before_that_it_is_the_best(run: StudyRun) -> None:
    output, clock = io.StringIO(), Clock()
    view = PlainView(Console(file=output, width=60), clock=clock)
    view.begin(run)
    end = ended(run, 0.5)
    clock.now = 2
    view.tick([agent(doing="running", number=0)])  # the storage has its value, its agent has not told yet
    view.event(end)
    view.tick([])
    said = [line.split()[:2] for line in output.getvalue().splitlines()[1:]]
    assert said == [["trial", "0"], ["best", "score"]]


@pytest.mark.parametrize("verbose", [False, True])
def test_a_paused_trial_is_no_line_and_a_choice_says_why(run: StudyRun, verbose: bool) -> None:
    output = io.StringIO()
    view = PlainView(Console(file=output, width=60), verbose=verbose, clock=Clock())
    view.begin(run)
    why = "the most promising (31 % likely to beat 0.9 by epoch 12)"
    view.event(Event("end", 0, {"number": 0, "outcome": "paused", "value": 0.5, "message": ""}))
    view.event(Event("start", 0, {"number": 0, "why": why, "done": 2}))
    view.event(Event("start", 0, {"number": 4, "why": why, "done": 0}))
    view.event(Event("start", 0, {"number": 5, "why": "", "done": 0}))
    view.tick([])
    said = why if verbose else "the most promising"
    assert output.getvalue().splitlines()[1:] == [
        f"continuing trial 0, paused at epoch 2: {said}",
        f"starting trial 4: {said}",
    ]


def test_an_error_is_said_once(run: StudyRun) -> None:
    output = io.StringIO()
    view = PlainView(Console(file=output, width=60), clock=Clock())
    view.begin(run)
    for number in range(3):
        content = {"number": number, "outcome": "failed", "value": None, "message": f"KeyError: 'x{number}'"}
        view.event(Event("end", 0, {**content, "log": "results/logs/small.log"}))
    reason = "3 trials in a row failed with the same error: KeyError: 'x2'"
    view.event(Event("stopping", -1, {"reason": reason, "fine": False, "interrupted": False, "grace": 30}))
    assert output.getvalue().splitlines()[1:] == [
        "trial 0 failed: KeyError: 'x0' (see results/logs/small.log) · 0/6 trials · wall 0 s",
        "the study stops: agents finish their epoch, for at most 30 s",
    ]
    assert view.brief(reason) == "3 trials in a row failed with the same error"
    assert view.brief("the disk is full") == "the disk is full"
    assert view.brief("3 trials in a row failed: KeyError: 'y'") == "3 trials in a row failed: KeyError: 'y'"


@pytest.mark.parametrize(
    ("reason", "interrupted", "again"),
    [("stopped by you", True, "; Ctrl-C again ends them at once"), ("time is up", False, "")],
)
def test_only_after_ctrl_c_another_one_is_offered(
    run: StudyRun, reason: str, interrupted: bool, again: str
) -> None:
    output = io.StringIO()
    view = PlainView(Console(file=output, width=60), clock=Clock())
    view.begin(run)
    content = {"reason": reason, "fine": True, "interrupted": interrupted, "grace": 30}
    view.event(Event("stopping", -1, content))
    assert output.getvalue().splitlines()[1:] == [
        f"{reason}: agents finish their epoch, for at most 30 s{again}"
    ]


def test_the_time_left_is_estimated_once_a_trial_has_ended_and_since_the_first_began(run: StudyRun) -> None:
    clock = Clock()
    progress = Progress(run, clock)
    clock.now = 10  # seconds that the agents take to start
    progress.note(Event("start", 0, {"number": 0}))
    clock.now = 40
    at_work = [agent(doing="running", number=0, epoch=8), agent(doing="running", number=1, epoch=8)]
    assert progress.left(at_work) is None
    ended(run, 0.5)
    progress.count()
    assert progress.left([]) == pytest.approx(150)  # one of six trials took 30 s
    assert progress.times([]) == ["wall 40 s", "about 2 min 30 s left"]


def test_the_time_left_counts_epochs_and_what_the_pruner_stops(run: StudyRun) -> None:
    clock = Clock()
    pruner = PrunerSettings("successive_halving", min_resource=6, max_resource=18, eta=3)
    run.study.file = replace(run.study.file, pruner=pruner)
    progress = Progress(run, clock)
    ended(run, 0.5, epochs=18)
    progress.count()
    clock.now = 36
    # 10 epochs a trial are expected, and the one that has ended had 18: five more of 14 are left
    assert progress.left([]) == pytest.approx(5 * 14 * 2)
    assert progress.left([agent(number=1, epoch=13)]) == pytest.approx((5 * 14 - 14) * 36 / 32)


def test_a_study_that_pauses_trials_is_done_when_its_epochs_are_used(run: StudyRun) -> None:
    clock = Clock()
    changed = {"sampler": FREEZE_THAW, "epoch_budget": 60, "run_cap": 6, "max_epochs": 18}
    run.study.file = replace(run.study.file, **changed)
    progress = Progress(run, clock)
    trial = Trial(run.study, run.study.records.claim(run.study._study_id, user_attrs={})._trial_id)
    trial.report(0.5, 2)
    ended(run, 0.5, epochs=18)
    progress.count()
    clock.now = 30
    assert progress.left([]) == pytest.approx(30 * 40 / 20)  # the trial has paused
    at_work = [agent(number=trial.number, epoch=5), agent(number=2, epoch=8)]
    assert progress.left(at_work) == pytest.approx(30 * 27 / 33)


def test_without_a_known_length_the_longest_trial_gives_it(run: StudyRun) -> None:
    progress = Progress(replace(run, epochs=None), Clock())
    assert progress.epoch_words(agent(number=0, epoch=2)) == "3"
    ended(run, 0.5, epochs=5)
    progress.count()
    assert [progress.epoch_words(agent(number=0, epoch=epoch)) for epoch in (2, 7)] == ["3/5", "8"]


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (40, "agent trial epoch score"),
        (80, "agent trial epoch score curve time"),
        (200, "agent trial epoch score curve time parameters"),
    ],
)
def test_narrow_terminals_get_fewer_columns_and_whole_words(run: StudyRun, width: int, columns: str) -> None:
    output, clock = io.StringIO(), Clock()
    view = make_view(Console(file=output, width=width, force_terminal=True, color_system=None))
    assert isinstance(view, LiveView)
    view.begin(run)
    view._clock = clock
    view.event(ended(run, 0.5))
    view.event(Event("start", 0, {"number": 7}))
    for epoch, value in enumerate((0.1, 0.2, 0.25)):
        view.event(reported(7, epoch, value))
    view.tick([agent(doing="running", number=7, epoch=2, value=0.25), AgentState(1, cast(Any, None))])
    picture = io.StringIO()
    Console(file=picture, width=width).print(view._picture())
    view.end()

    lines = [line.rstrip() for line in picture.getvalue().splitlines()]
    heading = next(i for i, line in enumerate(lines) if line.startswith("agent"))
    assert lines[heading].split() == columns.split()
    assert lines[heading + 1].split()[:4] == ["0", "7", "3/18", "0.2500"]
    assert ("▁▆█" in lines[heading + 1]) == (width > 40)
    assert lines[heading + 2] == "1 starting"
    assert "1 complete" in lines[heading - 2]
    assert lines[heading - 1].startswith("best score 0.5000 (trial 0):")
    assert max(map(len, lines)) <= width
    assert "trial 0 complete: score 0.5000" in output.getvalue()


def test_a_study_whose_agents_have_all_left_is_still_drawn(run: StudyRun) -> None:
    view = make_view(Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None))
    view.begin(run)
    view.event(ended(run, 0.5))
    view.tick([])
    assert isinstance(view, LiveView)
    picture = io.StringIO()
    Console(file=picture, width=200).print(view._picture())
    view.end()
    assert "agent  trial  epoch  score  curve  time  parameters" in picture.getvalue()


def test_parts_are_never_cut() -> None:
    assert [fitted(["a=1", "long=2"], width) for width in (10, 9, 5, 4)] == [
        "a=1 long=2",
        "a=1 …",
        "a=1 …",
        "…",
    ]


def test_states_have_the_colours_of_okabe_and_ito() -> None:
    assert [STATES[state] for state in ("complete", "pruned", "failed", "running")] == [
        "#009E73", "#E69F00", "#D55E00", "#56B4E9",
    ]  # fmt: skip


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(s) for s in (5.4, 95, 7_260)] == ["5 s", "1 min 35 s", "2 h 1 min"]
