"""Trials that run somebody's script, unmodified, as a child process: what `wandb agent` does, with no server.

The script gets its parameters as arguments (`macros`) and through `wandb.config`; its `wandb.log` is
streamed here as it happens (`child/`), so a trial is pruned in the middle. A script without W&B prints
JSON lines (`{"val/acc": 0.5}`). Everything lands in the run folder: `config.json`, `metrics.jsonl` (a line
for each W&B step), `output.log`, `result.json`. The script's own W&B run is offline; `tuner sync` uploads it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuner.base.errors import InputError, Pruned, TrainingFailed, nearest
from tuner.base.files import write_json
from tuner.base.run_folder import CONFIG, Report, RunFolder
from tuner.base.wandb_files import environment, wandb_folder
from tuner.workloads import child_process, macros
from tuner.workloads.child_metrics import Stream, is_finite
from tuner.workloads.child_process import ChildProcess
from tuner.workloads.script_defaults import defaults_in
from tuner.workloads.workload import Inputs, Say, Workload

if TYPE_CHECKING:
    from ruamel.yaml import YAML

    from tuner.definition.study_file import StudyFile

OUTPUT = "output.log"
EVENTS = "events.jsonl"  # what the hook in the script writes; its content ends up in metrics.jsonl
PARAMETERS = "parameters.yaml"  # WANDB_SWEEP_PARAM_PATH
ARGUMENTS = "arguments.json"  # ${args_json_file}
POLL_SECONDS = 0.05
HOOK = Path(__file__).resolve().parent / "child"


class ScriptWorkload(Workload):
    """Runs the script of a study file with `program:` or `command:`, once a trial."""

    own_tracking = True

    def inputs(self, chosen: Path | None, results: Path, say: Say) -> Inputs:
        program = self._program
        if program is None:
            return Inputs()
        return Inputs(program.name, hashlib.sha256(program.read_bytes()).hexdigest())

    def defaults(self) -> Mapping[str, Any] | None:
        """What the script's own parser or `wandb.init(config=…)` would give the searched parameters."""
        program = self._program
        if program is None or program.suffix != ".py":
            return None
        return defaults_in(program, {parameter.name for parameter in self.file.space.searched})

    def seeded(self, config: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """A script gets a seed only where the study file says that it takes one."""
        name = self.file.seed or ("seed" if "seed" in config else None)
        return {} if name is None else {name: seed}

    def run(
        self, config: Mapping[str, Any], report: Report, *, run_folder: Path, inputs: Path | None
    ) -> Mapping[str, float]:
        return script_of(self.file)(config, report, run_folder=run_folder)

    @property
    def _program(self) -> Path | None:
        """The script's file; None where the command names none that is there.

        Raises:
            InputError: the program is neither in the file's folder nor in the current one.
        """
        folder = folder_of(self.file)
        module = macros.module_in(self.file.command, self.file.program)
        words = [
            self.file.program,
            module and f"{module.replace('.', '/')}.py",
            *(str(part) for part in self.file.command or ()),
        ]
        return next((folder / word for word in words if word and (folder / word).is_file()), None)


def script_of(study_file: StudyFile, *, results: Path | None = None) -> Script:
    """The script of a study file with `program:` or `command:`.

    Args:
        results: the results folder; by default the one that each trial's run folder lies in.

    Raises:
        InputError: the program is neither in the file's folder nor in the current one.
    """
    return Script(
        study=study_file.name,
        program=study_file.program,
        command=tuple(study_file.command) if study_file.command else None,
        folder=folder_of(study_file),
        metric=study_file.metric.name,
        goal=study_file.metric.goal,
        required=study_file.metric.declared,
        project=study_file.raw.get("project"),
        entity=study_file.raw.get("entity"),
        results=results,
    )


def folder_of(file: StudyFile) -> Path:
    """Where the script of a study runs.

    Raises:
        InputError: the folder, or the program, is not there.
    """
    if file.folder is None:
        return working_folder(file.path, file.program, file.command)
    folder = (Path(file.path).resolve().parent / file.folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{file.path}: 'tuner.folder': {folder} is not there")
    return folder


def working_folder(path: Path | None, program: str | None, command: Any) -> Path:
    """Where the script runs: the study file's folder, or the current one where only that has the program.

    `wandb agent` runs it in the current folder; a sweep file found deep in a repository often counts on that.
    """
    beside = Path(path).resolve().parent if path else Path.cwd()
    module = macros.module_in(command, program)
    if module is not None and (_has_module(Path.cwd(), module) or module == program):
        return beside if _has_module(beside, module) else Path.cwd()
    if not macros.uses(command, "program"):
        files = [str(part) for part in command or () if str(part).endswith((".py", ".sh"))]
        here = any((Path.cwd() / file).is_file() for file in files)
        return Path.cwd() if here and not any((beside / file).is_file() for file in files) else beside
    if program is None:
        raise InputError(f"{path}: the command has ${{program}} but the file names no 'program'")
    for folder in (beside, Path.cwd()):
        if (folder / program).is_file():
            return folder
    raise InputError(f"{path}: program '{program}' is neither in {beside} nor in {Path.cwd()}")


def _has_module(folder: Path, name: str) -> bool:
    """Whether Python, started in `folder`, finds there what `-m name` runs."""
    place = folder / name.replace(".", "/")
    return place.is_dir() or place.with_suffix(".py").is_file()


@dataclass(frozen=True)
class Script:
    """Runs one configuration of a script.

    Attributes:
        metric: the name that pruning and the result look at; `required`: a script that never logs it failed.
        folder: where the script runs.
        variables: added to the script's environment.
    """

    study: str
    program: str | None
    command: tuple[Any, ...] | None
    folder: Path
    metric: str
    goal: Literal["minimize", "maximize"] = "minimize"
    required: bool = True
    project: str | None = None
    entity: str | None = None
    results: Path | None = None
    grace: float = child_process.GRACE_SECONDS
    variables: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, config: Mapping[str, Any], report: Report, *, run_folder: Path) -> dict[str, float]:
        """Runs the script to its end.

        Args:
            report: called with the number of values of the metric so far (from 0) and all numbers logged so
                far, as soon as a new value comes. What it raises ends the script.
            run_folder: the trial's final folder, `<results>/runs/<study>/<number>`.

        Returns:
            The last value of everything logged; of the metric the best, which W&B's Bayes search takes too.

        Raises:
            Pruned: from `report`; the folder is kept, its state "pruned".
            TrainingFailed: the script failed, or never logged the metric; the folder is kept.
        """
        run = _Run(self, dict(config), run_folder)
        with RunFolder(run_folder) as kept:
            run.prepare(kept)
            try:
                status = run.follow(kept, report)
            except Pruned:
                run.finish(kept, "pruned")
                raise
            problem = run.problem(kept, status)
            run.finish(kept, "failed" if problem else "complete", error=problem)
        if problem:
            raise TrainingFailed(problem)
        return run.metrics()

    def module_folders(self) -> list[str]:
        """Where the script's imports look, beside where Python itself looks: $PYTHONPATH.

        With $PYTHONSAFEPATH, Python leaves out the script's own folder. Its modules are still meant to come
        before those that are installed, this project's among them.
        """
        own = []
        if os.environ.get("PYTHONSAFEPATH"):
            own = [str((self.folder / (self.program or "")).parent), str(self.folder)]
        return [*own, *filter(None, [os.environ.get("PYTHONPATH")])]


class _Run:
    """One trial of an external program, from its files to its result."""

    def __init__(self, script: Script, config: dict[str, Any], final: Path) -> None:
        self.script = script
        self.config = config
        self.number = int(final.name) if final.name.isdigit() else None
        self.wandb = wandb_folder(script.results or final.resolve().parents[2], script.study)
        self.status: int | None = None
        self.started = time.monotonic()

    def prepare(self, kept: RunFolder) -> None:
        """Writes the files that the script reads."""
        path = kept.path.resolve()
        write_json(path / CONFIG, self.config)
        values = {name: {"value": value} for name, value in self.config.items()}
        with (path / PARAMETERS).open("w", encoding="utf-8") as file:
            _yaml().dump(values, file)
        (path / ARGUMENTS).write_text(macros.as_json(self.config), encoding="utf-8")
        self.stream = Stream(path / EVENTS, path / OUTPUT, self.script.metric)

    def follow(self, kept: RunFolder, report: Report) -> int:
        """Runs the script and passes its metrics on as they come; returns its exit status."""
        path = kept.path.resolve()
        script = self.script
        command = macros.expand(
            script.command,
            program=script.program,
            config=self.config,
            json_file=path / ARGUMENTS,
            environment=os.environ,
        )
        child = ChildProcess(
            command,
            folder=script.folder,
            environment=self._environment(path),
            output=path / OUTPUT,
            grace=script.grace,
        )
        with child:
            try:
                while self.status is None:
                    self.status = child.wait(POLL_SECONDS)
                    self._pass_on(kept, report)
            except Pruned:
                self.status = child.stop()
                self._pass_on(kept, None)
                raise
            finally:
                self._keep_rows(kept, all_of_it=True)
        return self.status

    def _pass_on(self, kept: RunFolder, report: Report | None) -> None:
        """Reads what the script logged since the last time; without `report` it is only kept."""
        for summary in self.stream.read(all_of_it=self.status is not None):
            if report is not None:
                report(self.stream.history.iterations - 1, _numbers(summary))
        self._keep_rows(kept)

    def _keep_rows(self, kept: RunFolder, *, all_of_it: bool = False) -> None:
        history = self.stream.history
        for row in history.take_complete(all_of_it=all_of_it):
            epoch = history.iterations if row.iteration is None else row.iteration
            kept.log(epoch, {"_step": row.step, **row.data})

    def _environment(self, path: Path) -> dict[str, str]:
        """The agent's own environment, and what makes W&B in the script work without a server."""
        self.wandb.mkdir(parents=True, exist_ok=True)
        own = {
            "WANDB_MODE": "offline",
            "WANDB_SWEEP_PARAM_PATH": str(path / PARAMETERS),
            "WANDB_RUN_GROUP": self.script.study,
            "WANDB_NAME": f"{self.script.study}-{path.name.partition('.')[0]}",
            "WANDB_X_SERVICE_WAIT": "120",  # seconds; W&B's 30 are not enough on an overloaded machine
            "WANDB_CONSOLE": "off",  # the output is in output.log, once
            "TUNER_EVENTS": str(path / EVENTS),
            "TUNER_RUN_FOLDER": str(path),
            "PYTHONPATH": os.pathsep.join([str(HOOK), *self.script.module_folders()]),
            # a script in a command of its own finds a `python` even where no environment is activated
            "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]),
        }
        if self.number is not None:
            own |= {"TUNER_TRIAL": str(self.number), "WANDB_TAGS": f"trial-{self.number}"}
        if self.script.project:
            own["WANDB_PROJECT"] = self.script.project
        if self.script.entity:
            own["WANDB_ENTITY"] = self.script.entity
        if macros.reads_environment(self.script.command):
            own["WANDB_X_DISABLE_META"] = (
                "true"  # it would keep the arguments, and with them a variable's value
            )
        return {"PYTHONUNBUFFERED": "1"} | environment(self.wandb) | own | dict(self.script.variables)

    def problem(self, kept: RunFolder, status: int) -> str | None:
        """What went wrong, or None."""
        if status != 0:
            output = child_process.tail(kept.path / OUTPUT)
            last = (
                f": {output.splitlines()[-1]}\nits last lines:\n{output}"
                if output
                else " and printed nothing"
            )
            return f"the script ended with {child_process.describe_exit(status)}{last}"
        metric, summary = self.script.metric, self.stream.history.summary
        if not self.script.required or self.stream.history.values or is_finite(summary.get(metric)):
            return None
        if metric in summary:
            return f"the script logged '{metric}' only as {summary[metric]!r}: no finite value to compare"
        names = ", ".join(sorted(_numbers(summary))) or "nothing"
        hint = nearest(metric, summary)
        hook = f" ({'; '.join(self.stream.problems)})" if self.stream.problems else ""
        return f"the script never logged '{metric}'{hint} (it logged: {names}){hook}"

    def metrics(self) -> dict[str, float]:
        """The summary's numbers, the metric at its best."""
        found = _numbers(self.stream.history.summary)
        best = self._best()
        if best is not None:
            found[self.script.metric] = best[0]
        return found

    def _best(self) -> tuple[float, int] | None:
        """The metric's best value, and its iteration."""
        sign = 1 if self.script.goal == "minimize" else -1
        values = self.stream.history.values
        candidates = [(sign * value, step) for step, value in enumerate(values)]
        last = self.stream.history.summary.get(self.script.metric)
        if is_finite(last):
            candidates.append((sign * last, max(0, len(values) - 1)))
        if not candidates:
            return None
        value, step = min(candidates)
        return sign * value, step

    def finish(self, kept: RunFolder, state: str, *, error: str | None = None) -> None:
        """Writes the result and moves the folder to its place, without what served the script alone."""
        environment_then = {**os.environ, **self.script.variables}
        child_process.remove_secrets(kept.path / OUTPUT, environment_then)
        for name in (EVENTS, PARAMETERS, ARGUMENTS):
            (kept.path / name).unlink(missing_ok=True)
        best = self._best()
        result = {
            "state": state,
            "metrics": self.metrics(),
            "summary": self.stream.history.summary,
            "best_epoch": best[1] if best else None,
            "iterations": self.stream.history.iterations,
            "seconds": round(time.monotonic() - self.started, 3),
            "exit_status": self.status,
            "command": [str(part) for part in self.script.command or macros.DEFAULT_COMMAND],
            "program": self.script.program,
            "wandb_runs": [os.path.relpath(folder, self.wandb) for folder in self.stream.run_folders],
        }
        if error:
            result["error"] = error
        kept.finish(result)


def _yaml() -> YAML:
    """A writer of YAML 1.1: W&B reads with PyYAML, to which the 1e-05 of YAML 1.2 is a text."""
    from ruamel.yaml import YAML

    writer = YAML(typ="safe", pure=True)
    writer.version = (1, 1)
    return writer


def _numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in summary.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
