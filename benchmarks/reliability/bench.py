"""A study that is run, watched and checked: what every scenario of the reliability harness is made of."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from reliability.processes import MARK, agents, end, environment, is_agent, marked, start, wait_for

from tuner.storage.access import open_records
from tuner.storage.databases import NoStudiesYet

AGENT = b"TUNER_AGENT="  # variable of agents and of all that they start
SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"

OBJECTIVE = f'''
import subprocess, sys, time

def train(config, report, checkpoint):
    """A rising curve; half of the trials are poor and get pruned, one in ten fails."""
    x = config["x"]
    state, begin = checkpoint / "epochs", 0
    if config["keeps"] and state.exists():
        begin = int(state.read_text())
    if config["helper"]:  # it ignores SIGTERM, and has left the session of the agent
        subprocess.Popen([sys.executable, "-S", "-c", "{SLEEP}"], start_new_session=True)
    for epoch in range(begin, 6):
        time.sleep(config["pause"])
        if config["keeps"]:
            state.with_suffix(".new").write_text(str(epoch + 1))
            state.with_suffix(".new").replace(state)
        report(epoch, {{"score": x * (epoch + 1) / 6}})
    if 0.5 < x < 0.55:
        raise ValueError("an unlucky configuration")
    return {{"score": x}}
'''
SCRIPT = f"""
import argparse, json, subprocess, sys, time

parser = argparse.ArgumentParser()
for name, kind in {{"x": float, "pause": float, "helper": str, "keeps": str}}.items():
    parser.add_argument(f"--{{name}}", type=kind)
given = parser.parse_args()
if given.helper.lower() == "true":
    subprocess.Popen([sys.executable, "-S", "-c", "{SLEEP}"], start_new_session=True)
for epoch in range(6):
    time.sleep(given.pause)
    print(json.dumps({{"epoch": epoch, "score": given.x * (epoch + 1) / 6}}), flush=True)
if 0.5 < given.x < 0.55:
    sys.exit("an unlucky configuration")
"""
STUDY = """
name: {name}
method: random
run_cap: {trials}
metric: {{name: score, goal: maximize}}
parameters:
  x: {{min: 0.0, max: 1.0}}
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
TUNER = """
import sys
from tuner.__main__ import main
from tuner.run.request import Request
made, term = Request.__init__, float(sys.argv.pop(1))
Request.__init__ = lambda self, *given, **named: made(self, *given, **{"term": term, **named})
sys.exit(main(sys.argv[1:]))
"""
Finished = dict[int, tuple[str, float, float]]  # state, value and x of finished trials by number


@dataclass
class Bench:
    """A folder with a study in it, and the processes that run it."""

    folder: Path
    name: str = "reliability"
    trials: int = 30
    agents: int = 2
    pause: float = 0.02
    term: float = 60.0  # seconds of a lease
    helper: bool = False
    keeps: bool = False  # trials have checkpoints, and are paused and resumed
    script: bool = False  # trials run a script, not a function
    environment: dict[str, str] = field(default_factory=dict)
    database: str = ""  # URL; "": an SQLite file in the results folder
    wandb: str = "off"
    executor: str = "local"
    address: str = ""  # of a cluster

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # what runs on a cluster has the mark of the cluster, whose folder holds the studies' folders
        self.mark = str(self.folder.parent if self.address else self.folder)
        (self.folder / "objective.py").write_text(SCRIPT if self.script else OBJECTIVE)
        self.file = self.folder / f"{self.name}.yaml"
        self.file.write_text(
            STUDY.format(
                name=self.name,
                trials=self.trials,
                pause=self.pause,
                helper=str(self.helper).lower(),
                keeps=str(self.keeps).lower(),
                sampler="freeze_thaw" if self.keeps else "random",
                program="program: objective.py" if self.script else "",
                objective="" if self.script else 'objective: "objective.py:train"',
            )
        )

    @property
    def url(self) -> str:
        return self.database or f"sqlite:///{self.folder / 'results' / 'studies.db'}"

    def start(self, *, agents: int | None = None) -> subprocess.Popen[bytes]:
        """A supervisor with its agents; its output goes to `output.log`."""
        command = [sys.executable, "-P", "-c", TUNER, str(self.term), "study", self.file]
        command += ["--agents", str(agents or self.agents), "--wandb", self.wandb]
        command += ["--results", "results", "--executor", self.executor]
        command += ["--address", self.address] if self.address else []
        storage = {"TUNER_STORAGE": self.database} if self.database else {}
        own = environment(**{MARK: self.mark}, **storage, **self.environment)
        return start(command, self.folder, own)

    def orphans(self) -> list[int]:
        """Processes of this bench that still run a minute after its end: a busy machine takes its time.

        Of a cluster that goes on: agents and what they started.
        """
        more = [AGENT] if self.address else []
        wait_for(lambda: not marked(self.mark, *more), seconds=60)
        return marked(self.mark, *more)

    def finish(self) -> int:
        """Runs the study to its end; returns the exit status, -1 if that takes half an hour."""
        process = self.start()
        try:
            return process.wait(1800)
        except subprocess.TimeoutExpired:
            return -1
        finally:
            end(process)

    def error(self) -> str:
        """The line with which a supervisor gave up, if one did."""
        return next((line for line in self.output().splitlines() if line.startswith("error:")), "")

    def output(self) -> str:
        return (self.folder / "output.log").read_text()

    @cached_property
    def _records(self) -> Any:
        return open_records(self.url, waits=True)

    def found(self) -> list[Any]:
        """All trials, none before the study is made; waits for a storage that is being started again."""
        try:
            self._records.refresh()
            return optuna.load_study(study_name=self.name, storage=self._records).get_trials(deepcopy=False)
        except (NoStudiesYet, KeyError):
            return []

    def running_agents(self, supervisor: int) -> list[int]:
        """Process ids of agents: the children of a local supervisor; on a cluster those that hold a trial."""
        if not self.address:
            return agents(supervisor)
        running = [trial for trial in self.found() if trial.state.name == "RUNNING"]
        held = {int(trial.user_attrs["lease"]["pid"]) for trial in running if "lease" in trial.user_attrs}
        return sorted(pid for pid in held if is_agent(pid))

    def states(self) -> Counter[str]:
        """How many trials are in each state."""
        return Counter(trial.state.name for trial in self.found())

    def finished(self) -> Finished:
        """Every trial that has ended well."""
        return {
            trial.number: (trial.state.name, trial.value, trial.params["x"])
            for trial in self.found()
            if trial.state.name in ("COMPLETE", "PRUNED")
        }

    def problems(self, *, seen: Finished | None = None) -> list[str]:
        """What is wrong at the end of the study; empty when nothing is."""
        states, finished, found = self.states(), self.finished(), []
        if len(finished) != self.trials:
            found.append(f"{len(finished)} finished, wanted {self.trials}")
        found += [f"{states[state]} left {state}" for state in ("RUNNING", "WAITING") if states[state]]
        if changed := lost(seen or {}, finished):
            found.append(f"finished trials lost or changed: {changed}")
        if twice := doubled(x for _, _, x in finished.values()):
            found.append(f"{twice} configurations finished twice")
        return found


def lost(seen: Finished, finished: Finished) -> list[int]:
    """The numbers of trials that were seen as finished and are not, or in another way."""
    return [number for number, what in seen.items() if finished.get(number) != what]


def doubled(values: Any) -> int:
    """How many more values there are than different ones."""
    found = list(values)
    return len(found) - len(set(found))


@dataclass(frozen=True)
class Outcome:
    """A scenario's end: problems (none: passed) and figures in words."""

    problems: list[str]
    figures: str
    skipped: bool = False
