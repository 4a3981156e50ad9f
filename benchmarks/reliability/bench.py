"""A study that is run, watched and checked: what every scenario of the reliability harness is made of."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DRIVE = Path(__file__).with_name("drive.py")


MARK = "TUNER_BENCH"  # variable of all processes of a bench: who has it at the end is an orphan
BLOCKED = -1
AGENT = b"TUNER_AGENT="  # variable of agents and of all that they start

OBJECTIVE = '''
import os, subprocess, sys, time

SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"

def train(config, report, checkpoint):
    """A rising curve; half of the trials are poor and get pruned, one in ten fails."""
    x = config["x"]
    state, begin = checkpoint / "epochs", 0
    if config["keeps"] and state.exists():
        begin = int(state.read_text())
    if config["helper"]:  # it ignores SIGTERM, and has left the session of the agent
        subprocess.Popen([sys.executable, "-S", "-c", SLEEP], start_new_session=True)
    for epoch in range(begin, 6):
        time.sleep(config["pause"])
        if config["keeps"]:
            state.with_suffix(".new").write_text(str(epoch + 1))
            state.with_suffix(".new").replace(state)
        report(epoch, {"score": x * (epoch + 1) / 6})
    if 0.5 < x < 0.55:
        raise ValueError("an unlucky configuration")
    return {"score": x}
'''

SCRIPT = """
import argparse, json, subprocess, sys, time

SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
parser = argparse.ArgumentParser()
for name, kind in {"x": float, "pause": float, "helper": str, "keeps": str}.items():
    parser.add_argument(f"--{name}", type=kind)
given = parser.parse_args()
if given.helper.lower() == "true":
    subprocess.Popen([sys.executable, "-S", "-c", SLEEP], start_new_session=True)
for epoch in range(6):
    time.sleep(given.pause)
    print(json.dumps({"epoch": epoch, "score": given.x * (epoch + 1) / 6}), flush=True)
if 0.5 < given.x < 0.55:
    sys.exit("an unlucky configuration")
"""


STUDY = """
name: {name}
method: {method}
run_cap: {trials}
metric: {{name: score, goal: maximize}}
parameters:
  x: {values}
  pause: {{value: {pause}}}
  helper: {{value: {helper}}}
  keeps: {{value: {keeps}}}
{program}
tuner:
  {objective}
  max_epochs: 6
  sampler: {sampler}
  pruner: {{type: hyperband, min_resource: 1, max_resource: 6, eta: 3}}
"""


@dataclass
class Bench:
    """A folder with a study in it, and the processes that run it."""

    folder: Path
    name: str = "reliability"
    trials: int = 30
    agents: int = 2
    pause: float = 0.02
    term: float = 60.0
    method: str = "random"
    helper: bool = False
    keeps: bool = False  # trials have checkpoints, and are paused and resumed
    script: bool = False  # trials run a script, not a function
    environment: dict[str, str] = field(default_factory=dict)
    database: str = ""  # URL; "": an SQLite file in the results folder
    wandb: str = "off"
    executor: str = "local"
    address: str = ""  # of a cluster
    mark: str = ""  # value of MARK in all its processes; "": its folder
    _records: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mark = self.mark or str(self.folder)
        (self.folder / "objective.py").write_text(SCRIPT if self.script else OBJECTIVE)
        points = [point / 100 for point in range(1, self.trials + 1)]
        values = f"{{values: {points}}}" if self.method == "grid" else "{min: 0.0, max: 1.0}"
        text = STUDY.format(
            name=self.name,
            method=self.method,
            trials=self.trials,
            pause=self.pause,
            helper=str(self.helper).lower(),
            keeps=str(self.keeps).lower(),
            sampler="freeze_thaw" if self.keeps else "grid" if self.method == "grid" else "random",
            values=values,
            program="program: objective.py" if self.script else "",
            objective="" if self.script else 'objective: "objective.py:train"',
        )
        (self.folder / f"{self.name}.yaml").write_text(text)

    @property
    def url(self) -> str:
        return self.database or f"sqlite:///{self.folder / 'results' / 'studies.db'}"

    def start(self, *, agents: int | None = None) -> subprocess.Popen[str]:
        """A supervisor with its agents; its output goes to `output.log`."""
        command = [sys.executable, str(DRIVE), str(self.folder / f"{self.name}.yaml")]
        command += ["--agents", str(agents or self.agents), "--term", str(self.term)]
        command += ["--executor", self.executor, "--address", self.address, "--wandb", self.wandb]
        with (self.folder / "output.log").open("a") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **self._own()},
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def _own(self) -> dict[str, str]:
        return {MARK: self.mark, "TUNER_STORAGE": self.database, **self.environment}

    def orphans(self) -> list[int]:
        """Processes of this bench that still run, a moment after its end.

        Of a cluster that goes on: agents and what they started.
        """
        marks = [f"{MARK}={self.mark}\0".encode(), AGENT if self.address else b""]
        deadline = time.monotonic() + 10
        while True:
            found = [
                int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if _has(path, marks)
            ]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def finish(self, *, agents: int | None = None, timeout: float = 1800) -> int:
        """Runs the study to its end; returns the exit status, BLOCKED if it does not come to it."""
        process = self.start(agents=agents)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return BLOCKED
        finally:
            end(process)

    def error(self) -> str:
        """The line with which a supervisor gave up, if one did."""
        return next((line for line in self.output().splitlines() if line.startswith("error:")), "")

    def output(self) -> str:
        return (self.folder / "output.log").read_text()

    def trials_in_storage(self) -> list[Any]:
        """All trials; waits for a storage that is being started again."""
        from tuner.storage.access import waiting

        return waiting(self.url, self._trials)

    def _trials(self) -> list[Any]:
        import optuna

        from tuner.storage.access import open_records

        if self._records is None:
            self._records = open_records(self.url)
        self._records.refresh()
        study = optuna.load_study(study_name=self.name, storage=self._records)
        return study.get_trials(deepcopy=False)

    def running_agents(self, supervisor: int) -> list[int]:
        """Process ids of agents: the children of a local supervisor; on a cluster those that hold a trial."""
        if not self.address:
            return children(supervisor)
        if not self.states():
            return []
        running = [trial for trial in self.trials_in_storage() if trial.state.name == "RUNNING"]
        held = {int(trial.user_attrs["lease"]["pid"]) for trial in running if "lease" in trial.user_attrs}
        return sorted(pid for pid in held if _is_agent(pid))

    def states(self) -> Counter[str]:
        """How many trials are in each state; empty before the study is made. Asks SQLite, which is quick."""
        query = "SELECT state, count(*) FROM trials NATURAL JOIN studies WHERE study_name = ? GROUP BY state"
        path = self.folder / "results" / "studies.db"
        if self.database:
            return self._states_on_server()
        if not path.exists():
            return Counter()
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
            try:
                return Counter(dict(connection.execute(query, (self.name,)).fetchall()))
            except sqlite3.OperationalError:
                return Counter()

    def _states_on_server(self) -> Counter[str]:
        from tuner.storage.databases import NoStudiesYet

        try:
            return Counter(trial.state.name for trial in self.trials_in_storage())
        except (NoStudiesYet, KeyError):
            return Counter()

    def finished(self) -> dict[int, tuple[str, float, float]]:
        """State, value and x of every finished trial by number."""
        return {
            trial.number: (trial.state.name, trial.value, trial.params["x"])
            for trial in self.trials_in_storage()
            if trial.state.name in ("COMPLETE", "PRUNED")
        }

    def problems(self, *, seen: dict[int, tuple[str, float, float]] | None = None) -> list[str]:
        """What is wrong at the end of the study; empty when nothing is."""
        states, finished, found = self.states(), self.finished(), []
        if len(finished) != self.trials:
            found.append(f"{len(finished)} finished, wanted {self.trials}")
        for state in ("RUNNING", "WAITING"):
            if states[state]:
                found.append(f"{states[state]} left {state}")
        lost = [number for number, what in (seen or {}).items() if finished.get(number) != what]
        if lost:
            found.append(f"finished trials lost or changed: {lost}")
        twice = [x for x, count in Counter(x for _, _, x in finished.values()).items() if count > 1]
        if twice:
            found.append(f"{len(twice)} configurations finished twice")
        return found


@dataclass(frozen=True)
class Outcome:
    """A scenario's end: problems (none: passed) and figures in words."""

    problems: list[str]
    figures: str
    skipped: bool = False


def _has(environment: Path, marks: list[bytes]) -> bool:
    try:
        found = environment.read_bytes() + b"\0"
        return all(mark in found for mark in marks)
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Process ids of a supervisor's agents: its server's children, or its own where it has none."""
    own = [child for child in _children(pid) if _is_agent(child)]
    servers = [child for child in own if b"forkserver" in _command(child)]
    return [agent for server in servers for agent in _children(server)] if servers else own


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""


def parent(pid: int) -> int | None:
    """The process that started another: a Dask worker or Ray actor, of an agent there."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def descendants(pid: int) -> list[int]:
    """The processes that come from another."""
    found, new = list[int](), [pid]
    while new:
        more = _children(new[0])
        found, new = [*found, *more], [*new[1:], *more]
    return found


def runs(pid: int, file: str) -> bool:
    """Whether a process is a Python that runs `file`."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"-I" not in words and any(word.endswith(file.encode()) for word in words[:4])


def _is_agent(pid: int) -> bool:
    return any(word in _command(pid) for word in (b"spawn_main", b"forkserver"))


def end(process: subprocess.Popen[str]) -> None:
    """Ends a supervisor and its agents, whatever state they are in."""
    for pid in [*children(process.pid), process.pid]:
        send(pid, signal.SIGKILL)
    process.wait()


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_for(what: Callable[[], Any], *, seconds: float = 600) -> Any:
    """Waits until `what` is true, and gives what it was then."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(0.05)
    return found
