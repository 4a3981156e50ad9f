"""A study in this process one of whose writes fails; then the same command again."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from reliability.bench import Outcome
from reliability.faults import KINDS, Faults, Kind
from reliability.in_this_process import InThisProcess

OBJECTIVE = '''
def train(config, report, checkpoint):
    """Two epochs; keeps its state as a trial should that may be interrupted."""
    path = checkpoint / "epoch"
    for epoch in range(int(path.read_text()) if path.exists() else 0, 2):
        path.with_suffix(".new").write_text(str(epoch + 1))
        path.with_suffix(".new").replace(path)
        report(epoch, {"score": config["x"] * (epoch + 1)})
    return {"score": 2 * config["x"]}
'''
STUDY = """
name: faulty
method: grid
metric: {name: score, goal: maximize}
parameters:
  x: {values: [0.1, 0.2, 0.3]}
tuner: {objective: "objective.py:train", max_epochs: 2}
"""
LIVES = itertools.count()


class Faulty:
    """A study of three trials in a folder.

    Its agents run in this process (`InThisProcess`). Each run counts as a process of its own, which has died
    when it left a trial running.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.said = ""
        (folder / "objective.py").write_text(OBJECTIVE)
        (folder / "faulty.yaml").write_text(STUDY)

    def run(self, faults: Faults | None = None) -> int:
        """`tuner study`; its exit status. `said` is what it wrote to the terminal."""
        command = ["study", str(self.folder / "faulty.yaml"), "--wandb", "off", "--agents", "1"]
        return self.command(command, faults)

    def command(self, words: Sequence[str], faults: Faults | None = None) -> int:
        """Any command of the tuner on this study's results."""
        from tuner.__main__ import main
        from tuner.storage.leases import Owner
        from tuner.workloads import function

        own, life = Owner.this_process, next(LIVES)
        heard = io.StringIO()
        owner = mock.Mock(
            side_effect=lambda *, mark="": dataclasses.replace(own(mark=mark), started=f"life {life}")
        )
        with (
            mock.patch.object(Owner, "this_process", owner),
            mock.patch.object(function, "look_at", _looked_at),
            mock.patch.dict("os.environ", {"TUNER_RESULTS": str(self.results)}),
            contextlib.redirect_stderr(heard),
            contextlib.redirect_stdout(heard),
            faults.active() if faults is not None else contextlib.nullcontext(),
        ):
            status = main(list(words))
        self.said = heard.getvalue()
        return status

    def finished(self) -> dict[int, tuple[str, Any, dict[str, Any]]]:
        """State, value and parameters of the trials that have ended well, by number."""
        import optuna

        from tuner.storage.access import default_url, find_records

        records = find_records(default_url(self.results))
        if records is None or "faulty" not in optuna.get_all_study_names(records):
            return {}
        study = optuna.load_study(study_name="faulty", storage=records)
        return {
            trial.number: (trial.state.name, trial.value, trial.params)
            for trial in study.get_trials(deepcopy=False)
            if trial.state.name in ("COMPLETE", "PRUNED")
        }

    def problems(self, before: dict[int, Any], *, lasting: bool = False) -> list[str]:
        """What is wrong with the study at its end.

        Args:
            before: `finished` before its last run.
            lasting: the disk stayed full. The line of an epoch whose state the trial had kept may be missing.
        """
        finished, found = self.finished(), []
        if sorted(params["x"] for _, _, params in finished.values()) != [0.1, 0.2, 0.3]:
            found.append(f"finished: {finished}")
        if lost := {number for number, what in before.items() if finished.get(number) != what}:
            found.append(f"lost or changed: {lost}")
        runs = self.results / "runs" / "faulty"
        for number in finished:
            for name in ("config.json", "result.json", "trial.json"):
                try:
                    json.loads((runs / str(number) / name).read_text())
                except (OSError, ValueError) as error:
                    found.append(f"trial {number}: {name}: {error}")
            lines = (runs / str(number) / "metrics.jsonl").read_text().splitlines()
            epochs = [json.loads(line)["epoch"] for line in lines]
            if epochs != [0, 1] and not (lasting and set(epochs) < {0, 1}):
                found.append(f"trial {number}: metrics.jsonl has {lines}")
        left = [*(self.results / "checkpoints").glob("*/*"), *self.results.rglob(".*")]
        for number in finished:  # `gc` removes the partial folders of lost trials
            left += runs.glob(f"{number}.partial-*")
        return found + [f"left behind: {path.relative_to(self.results)}" for path in left]


def fail(folder: Path, at: int, kind: Kind, *, lasting: bool = False) -> tuple[list[str], Faults]:
    """Runs the study with a write that fails, then again without; what is wrong, and what was written."""
    study = Faulty(folder)
    faults = Faults(folder, at, kind, lasting)
    status = study.run(faults)
    lines = [line for line in study.said.splitlines() if line.startswith("error:")]
    found = []
    if "Traceback" in study.said:
        found.append(f"a traceback: {study.said[-1500:]}")
    if len(lines) != (status != 0):
        found.append(f"exit status {status} with {lines or study.said[-500:]}")
    before = study.finished()
    status = study.run()
    if status:
        found.append(f"the same command again ended with {status}: {study.said[-500:]}")
    return found + study.problems(before, lasting=lasting), faults


def faults(folder: Path, *, every: int = 1) -> Outcome:
    """Each write of the study, or each `every`-th, fails in every way; the same command then finishes."""
    with mock.patch("tuner.run.launch.open_executor", lambda *_, **__: InThisProcess()):
        whole = Faults(_new(folder / "whole"))
        Faulty(whole.folder).run(whole)
        problems = []
        ways: list[tuple[Kind, bool]] = [*((kind, False) for kind in KINDS), ("full", True)]
        failing = range(0, len(whole.places), every)
        for (kind, lasting), at in itertools.product(ways, failing):
            found, _ = fail(_new(folder / "one"), at, kind, lasting=lasting)
            problems += [f"{kind} {at} {whole.places[at]}: {problem}" for problem in found]
            shutil.rmtree(folder / "one")
    words = f"{len(failing)} of {len(whole.places)} writes, each failing in {len(ways)} ways"
    return Outcome(problems, f"{words}: {len(failing) * len(ways)} studies, {len(problems)} problems")


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _looked_at(name: str, *, folder: Path) -> dict[str, Any]:
    """What a process of its own finds out about the function: these need none."""
    file = folder / name.partition(":")[0]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"file": str(file), "digest": digest, "defaults": None}
