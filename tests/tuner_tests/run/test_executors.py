"""One contract for every place where agents run: processes here, Dask workers, Ray actors."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from reliability.clusters import cluster
from rich.console import Console

from tuner.definition.study_file import StudyFile
from tuner.definition.values import Resources
from tuner.run.executors import choice
from tuner.run.executors.choice import ExecutorChoice
from tuner.run.launch import Result
from tuner.run.launch import run as run_request
from tuner.run.request import Request
from tuner.run.supervisor import Event
from tuner.show.live import PlainView
from tuner.storage import leases
from tuner.storage.access import open_records

MakeStudy = Callable[..., StudyFile]


@pytest.fixture(scope="module")
def dask_address() -> Iterator[str]:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray of two CPUs that belongs to a process of its own and ends with it."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with cluster("ray", tmp_path_factory.mktemp("ray"), places=2) as address:
        yield address


@pytest.fixture(params=["local", "dask", "ray"])
def place(request: pytest.FixtureRequest) -> ExecutorChoice:
    address = None if request.param == "local" else request.getfixturevalue(f"{request.param}_address")
    return ExecutorChoice(request.param, address)


class Watching(PlainView):
    """Does something once, when the first trial is under way; remembers the agents."""

    def __init__(self, once: Callable[[], None]) -> None:
        super().__init__(Console(file=io.StringIO()))
        self._once: Callable[[], None] | None = once
        self.kinds: set[str] = set()
        self.agents: list[int] = []

    def event(self, event: Event) -> None:
        super().event(event)
        self.kinds.add(event.kind)
        if event.kind == "ready":
            self.agents.append(event.content["owner"]["pid"])
        if event.kind == "start" and self._once is not None:
            self._once, once = None, self._once
            once()

    def left(self) -> bool:
        """Whether every agent's process is gone."""
        return all(leases.process_start(pid) is None for pid in self.agents)


def study(url: str) -> optuna.Study:
    return optuna.load_study(study_name="small", storage=open_records(url))


def run(
    file: StudyFile,
    url: str,
    place: ExecutorChoice,
    once: Callable[[], None] = lambda: None,
    **options: object,
) -> tuple[Result, Watching]:
    view = Watching(once)
    results = Path(file.path).parent / "results"
    request = Request(file, url, results, wandb="off", executor=place, agents=2, overrides=options)
    result = run_request(request, view)
    deadline = time.monotonic() + 60
    while not view.left():
        assert time.monotonic() < deadline, "an agent stayed behind"
        time.sleep(0.05)
    return result, view


@pytest.mark.slow
def test_a_killed_worker_costs_its_trial_alone_and_exactly_n_are_finished(
    make_study: MakeStudy, url: str, place: ExecutorChoice
) -> None:
    def kill() -> None:
        found = study(url)
        _, _, lease = open_records(url).queue.running(found._study_id)[0]
        assert lease is not None
        worker = int(Path(f"/proc/{lease['pid']}/stat").read_text().rpartition(")")[2].split()[1])
        if place.kind != "local":  # there the parent is this process
            os.kill(worker, signal.SIGKILL)
        os.kill(lease["pid"], signal.SIGKILL)

    result, view = run(make_study(), url, place, kill, pause=0.15)
    assert result.fine
    assert {"start", "epoch", "end", "died", "leave"} <= view.kinds
    states = [trial.state.name for trial in study(url).get_trials(deepcopy=False)]
    assert sorted(states) == ["COMPLETE"] * 6 + ["FAIL"]


@pytest.mark.slow
@pytest.mark.parametrize(("pause", "times"), [(0.3, 1), (30.0, 2)])
def test_ctrl_c_leaves_no_trial_running(
    make_study: MakeStudy, url: str, place: ExecutorChoice, pause: float, times: int
) -> None:
    """Once: the epoch is finished first. Twice: at once, however long it takes."""

    def interrupt() -> None:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)

    result, _ = run(make_study(), url, place, interrupt, pause=pause)
    assert result.interrupted
    states = [trial.state.name for trial in study(url).get_trials(deepcopy=False)]
    assert "WAITING" in states
    assert not {"RUNNING", "FAIL"} & set(states)


@pytest.mark.slow
def test_an_error_of_the_objective_fails_the_trial_with_its_traceback(
    make_study: MakeStudy, url: str, place: ExecutorChoice
) -> None:
    result, _ = run(make_study(), url, place, mode="error")
    assert not result.fine
    assert "ValueError: no good" in result.reason
    trials = study(url).get_trials(deepcopy=False)
    assert {trial.state.name for trial in trials} == {"FAIL"}
    assert all("objective.py" in trial.user_attrs["traceback"] for trial in trials)


@pytest.mark.parametrize(("cpus", "agents", "threads"), [(8, 2, 4), (2, 2, 2), (None, 4, 2), (None, 20, 1)])
def test_agents_together_have_no_more_threads_than_the_machine_has_cores(
    monkeypatch: pytest.MonkeyPatch, cpus: int | None, agents: int, threads: int
) -> None:
    """More would wait for each other: a decoder's study took sixteen times as long."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    asked: dict[str, object] = {}
    monkeypatch.setattr(choice, "LocalExecutor", lambda **options: asked.update(options))
    choice.open_executor(ExecutorChoice(), agents=agents, total=None, resources=Resources(cpus=cpus))
    assert asked["threads"] == threads
