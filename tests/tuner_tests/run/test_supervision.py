"""The supervision loop alone, over agents that are scripts of what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.definition.study_file import StudyFile
from tuner.run.agent.order import Order, Work
from tuner.run.supervisor import Event, Supervisor
from tuner.tracking.tracker import Tracker

READY = {"event": "ready", "owner": {"pid": 1}}
DONE = {"event": "leave", "reason": "6 trials finished", "fine": True}
REFUSED = {"event": "refused", "reason": "worker on far: no data set at /data"}


class Script:
    """An agent that says a line a turn, then ends with `how`; `forever`: once it is told to stop."""

    def __init__(self, *lines: dict[str, Any], how: str = "exit status 0", forever: bool = False) -> None:
        self._lines = [dict(line) for line in lines]
        self._how = how
        self._forever = forever
        self.closed = False

    def messages(self) -> list[dict[str, Any]]:
        return [self._lines.pop(0)] if self._lines else []

    def ended(self) -> str | None:
        return None if self._lines or self._forever else self._how

    def stop(self) -> None:
        self._forever = False

    def kill(self) -> None:
        self._lines, self._forever = [], False

    def close(self) -> None:
        self.closed = True


class Places:
    """An executor with a number of places, which `grow` after some turns."""

    def __init__(self, scripts: list[Script], *, places: int = 10, grow: int = 0, after: int = 0) -> None:
        self.scripts = scripts
        self.started: list[Script] = []
        self._places, self._grow, self._after = places, grow, after

    def agents(self, total: int | None) -> int | None:
        return None

    def full(self, running: int) -> str | None:
        return None if self.scripts and running < self._places else "no worker is free"

    def start(self, order: Order, index: int) -> Script:
        self.started.append(self.scripts.pop(0))
        return self.started[-1]

    def wait(self, seconds: float) -> None:
        self._after -= 1
        if self._after == 0:
            self._places += self._grow

    def close(self) -> None: ...


Supervise = Callable[[Places, int | None], tuple[Supervisor, list[Event]]]


@pytest.fixture
def shown() -> list[tuple[int | None, float | None]]:
    """What agents are shown to have reached, after each of their epochs."""
    return []


@pytest.fixture
def supervise(
    make_study: Callable[..., StudyFile], tmp_path: Path, shown: list[tuple[int | None, float | None]]
) -> Supervise:
    """Runs the loop over some places; returns the supervisor and what the view was told."""
    file = make_study()
    order = Order(
        Work(file, "", tmp_path),
        total=6,
        tracker=Tracker("W&B off"),
        pruner=file.pruner,
        base={},
        overrides={},
    )

    def run(places: Places, agents: int | None) -> tuple[Supervisor, list[Event]]:
        events: list[Event] = []

        def on_event(event: Event) -> None:
            shown.extend((agent.epoch, agent.value) for agent in supervisor.agents if event.kind == "epoch")
            events.append(event)

        supervisor = Supervisor(order, places, agents=agents, on_event=on_event)
        supervisor.run()
        return supervisor, events

    return run


def test_an_agent_whose_place_does_not_serve_is_left_out_while_others_work(supervise: Supervise) -> None:
    places = Places([Script(REFUSED), Script(READY, READY, READY, DONE)])
    supervisor, events = supervise(places, 2)
    assert supervisor.fine
    assert supervisor.reason == DONE["reason"]
    assert [event.content["reason"] for event in events if event.kind == "refused"] == [REFUSED["reason"]]
    assert len(places.started) == 2  # it is not started again


def test_an_epoch_that_was_not_evaluated_is_shown_with_the_value_before_it(
    supervise: Supervise, shown: list[tuple[int | None, float | None]]
) -> None:
    said = [(0, 0.5), (1, None), (2, 0.7)]
    epochs = [{"event": "epoch", "number": 0, "epoch": epoch, "value": value} for epoch, value in said]
    supervise(Places([Script(READY, {"event": "start", "number": 0}, *epochs, DONE)]), 1)
    assert shown == [(0, 0.5), (1, 0.5), (2, 0.7)]


@pytest.mark.parametrize("agents", [1, 3])
def test_a_study_whose_agents_are_all_refused_ends_with_the_reason(supervise: Supervise, agents: int) -> None:
    supervisor, events = supervise(Places([Script(REFUSED) for _ in range(agents)]), agents)
    assert not supervisor.fine
    assert supervisor.reason == REFUSED["reason"]
    assert "died" not in {event.kind for event in events}


def test_a_place_that_comes_later_gets_an_agent(supervise: Supervise) -> None:
    places = Places([Script(READY, READY, READY, READY, DONE), Script(DONE)], places=0, grow=2, after=3)
    supervisor, events = supervise(places, None)
    assert supervisor.fine
    assert len(places.started) == 2
    assert [event.content["why"] for event in events if event.kind == "waits"] == ["no worker is free"]


def test_an_agent_that_dies_is_replaced_and_one_of_many_quick_deaths_gives_up(supervise: Supervise) -> None:
    places = Places([Script(READY, how="killed by SIGSEGV"), Script(DONE)])
    supervisor, events = supervise(places, 1)
    assert supervisor.fine
    assert [event.content["how"] for event in events if event.kind == "died"] == ["killed by SIGSEGV"]

    supervisor, _ = supervise(Places([Script(how="exit status 1") for _ in range(9)]), 1)
    assert not supervisor.fine
    assert supervisor.reason == "agents keep dying (exit status 1)"


def test_every_agent_is_let_go_of_when_the_executor_fails(supervise: Supervise) -> None:
    class Broken(Places):
        def wait(self, seconds: float) -> None:
            raise OSError("the cluster is gone")

    places = Broken([Script(READY, forever=True), Script(READY, forever=True)])
    with pytest.raises(OSError, match="cluster is gone"):
        supervise(places, 2)
    assert [script.closed for script in places.started] == [True, True]
