"""Runs an unmodified script as a trial, in a child process, as `wandb agent` does, but without a server.

The script gets its parameters as arguments (`macros`) and through `wandb.config`. Its `wandb.log` calls
arrive here at once (`child/`), so a trial can be pruned while it runs. A script without W&B prints JSON lines
(`{"val/acc": 0.5}`). All results are in the run folder: `config.json`, `metrics.jsonl` (one line per W&B
step), `output.log`, `result.json`. The script's own W&B run is offline unless the study's runs go online;
`tuner sync` uploads it. Secrets in the script's output are blanked (`masking`).
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tuner.base.endings import Paused, Pruned, TrialTooLong
from tuner.base.errors import TrainingFailed, nearest
from tuner.base.files import make_folder, read_object, scratch_folder, write_json, writing
from tuner.base.run_folder import CONFIG, RESULT, Report, RunFolder, check, if_readable, read_metrics
from tuner.base.wandb_files import MODES, environment, identity, wandb_folder
from tuner.base.words import is_finite
from tuner.definition.metric import Metric
from tuner.workloads import child_process, macros
from tuner.workloads.child_process import ChildProcess
from tuner.workloads.history import History, means, numbers
from tuner.workloads.masking import Mask
from tuner.workloads.stream import Counts, LoggedRun, Stream, pairs_in

HOOK = Path(__file__).resolve().parent / "child"
EVENTS = "events.jsonl"  # what the hook in the script writes; its content ends up in metrics.jsonl
OUTPUT = "output.log"
OTHER_METRICS = "metrics-{}.jsonl"  # of a run that does not count
PARAMETERS = "parameters.yaml"  # WANDB_SWEEP_PARAM_PATH
ARGUMENTS = "arguments.json"  # ${args_json_file}
POLL_SECONDS = 0.05
_PYTHON = re.compile(r"(.*/)?python[0-9.]*")
MAX_NOTES = 5
DYING_SECONDS = 5.0  # between the death of a script's main thread and the end of its process
ONLINE = {"WANDB_INIT_TIMEOUT": "20", "WANDB_FINISH_TIMEOUT": "60"}  # seconds, for a server that went away


@dataclass(frozen=True)
class Script:
    """Runs one configuration of a script.

    Attributes:
        metric: the name that pruning and the result look at; `required`: a script that never logs it failed.
        folder: where the script runs.
        wandb: how its W&B runs are written.
        counts: which of several W&B runs in one trial counts. pairs: printed lines with the metric are read.
        variables: added to the script's environment.
    """

    study: str
    program: str | None
    command: tuple[Any, ...] | None
    folder: Path
    metric: Metric
    project: str | None = None
    entity: str | None = None
    results: Path | None = None
    wandb: Literal["online", "offline", "off"] = "offline"
    counts: Counts = "first"
    pairs: bool = False
    grace: float = child_process.GRACE_SECONDS
    variables: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self,
        config: Mapping[str, Any],
        report: Report,
        *,
        run_folder: Path,
        checkpoint: Path | None = None,
    ) -> dict[str, float]:
        """Runs the script to its end.

        Args:
            report: called with the number of values of the metric so far (from 0) and all numbers logged so
                far, as soon as a new value comes. What it raises ends the script.
            run_folder: the trial's final folder, `<results>/runs/<study>/<number>`.
            checkpoint: the trial's checkpoint, `$TUNER_CHECKPOINT_DIR`.

        Returns:
            The last value of everything logged; of the metric its score (`Metric.score`).

        Raises:
            Pruned: from `report`; the folder is kept, its state "pruned".
            TrainingFailed: the script failed, or never logged the metric; the folder is kept.
        """
        files = RunFolder(run_folder, checkpoint=checkpoint)
        with files as kept, scratch_folder() as scratch:
            run = _Run(self, dict(config), kept, scratch, checkpoint)
            try:
                status = run.follow(report)
            except (Pruned, Paused) as error:
                run.finish("pruned" if isinstance(error, Pruned) else "paused")
                raise
            except TrialTooLong as error:
                run.finish("failed", error=str(error))
                raise
            problem = run.problem(status)
            run.finish("failed" if problem else "complete", error=problem)
        if problem:
            raise TrainingFailed(problem)
        return run.metrics()


class _Run:
    """One trial of an external program, from its files to its result."""

    def __init__(
        self, script: Script, config: dict[str, Any], kept: RunFolder, scratch: Path, checkpoint: Path | None
    ) -> None:
        self.script, self.config, self.kept, self.scratch = script, config, kept, scratch
        self.before = kept.before  # rows of an interrupted run, which this one goes on from
        self.shift = 0  # of the steps of this run, by what came before
        self.path = kept.path.resolve()
        self.wandb = wandb_folder(script.results or kept.final.resolve().parents[2], script.study)
        self.passed = macros.variables(script.command)
        self.environment = self._environment(checkpoint)
        self.stream = Stream(
            scratch / EVENTS,
            self.path / OUTPUT,
            script.metric,
            counts=script.counts,
            pairs=script.pairs,
            mask=Mask(self.environment, self.passed).data,
        )
        self.status: int | None = None
        self.hung = False
        self.started = time.monotonic() - _seconds_before(kept.final)

    def _environment(self, checkpoint: Path | None) -> dict[str, str]:
        """All variables of the script: W&B's, and the copies that the hook trusts (`sitecustomize.py`)."""
        name = self.kept.final.name  # a trial's number; where it has several runs, seed or fold behind it
        trial = name if name[:1].isdigit() else None  # else a probe
        script, mode = self.script, MODES[self.script.wandb]
        make_folder(self.wandb)
        run = identity(self.wandb).run_id(trial or "probe")
        modules = [str(HOOK)]
        if os.environ.get("PYTHONSAFEPATH"):
            # Python leaves out the script's folder, whose modules still come before those that are installed
            modules += [str((script.folder / (script.program or "")).parent), str(script.folder)]
        found = {
            "PYTHONUNBUFFERED": "1",
            **(ONLINE if mode == "online" else {}),
            **environment(self.wandb),
            "TUNER_EVENTS": str(self.scratch / EVENTS),
            "TUNER_RUN_FOLDER": str(self.path),
            "TUNER_MAIN": "",  # the first Python process of the trial says that it is that
            "PYTHONPATH": os.pathsep.join([*modules, *filter(None, [os.environ.get("PYTHONPATH")])]),
            # a script in a command of its own finds a `python` even where no environment is activated
            "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]),
            "WANDB_MODE": mode,
            "WANDB_SWEEP_ID": script.study,  # W&B in the script takes the study's name for the id of a sweep
            "WANDB_RUN_ID": run,
            "WANDB_SWEEP_PARAM_PATH": str(self.path / PARAMETERS),
            "WANDB_RUN_GROUP": script.study,
            "WANDB_NAME": script.study if trial is None else f"{script.study}-{trial}",
            "WANDB_X_SERVICE_WAIT": "120",  # seconds; W&B's 30 are not enough on an overloaded machine
            "WANDB_CONSOLE": "off",  # the output is in output.log, once
            "TUNER_WANDB_MODE": mode,
            "TUNER_WANDB_DIR": str(self.wandb),
            "TUNER_SWEEP_ID": script.study,
            "TUNER_RUN_ID": run,
        }
        if trial is not None:
            found |= {"TUNER_TRIAL": trial, "WANDB_TAGS": f"trial-{trial}"}
        if script.project:
            found["WANDB_PROJECT"] = script.project
        if script.entity:
            found["WANDB_ENTITY"] = script.entity
        if self.passed:
            found["WANDB_X_DISABLE_META"] = "true"  # it would keep the arguments, which may be secrets
        if checkpoint is not None:
            found["TUNER_CHECKPOINT_DIR"] = str(checkpoint)
        if self.before:
            step = max(int(row["_step"]) for row in self.before) + 1
            found |= {"WANDB_RESUME": "allow", "TUNER_RESUMED_STEP": str(step)}
        return found | dict(script.variables)

    def follow(self, report: Report) -> int:
        """Runs the script and passes its metrics on as they come; returns its exit status."""
        script = self.script
        write_json(self.path / CONFIG, self.config)
        with writing(self.path):
            (self.path / PARAMETERS).write_text(macros.as_sweep(self.config), encoding="utf-8")
            (self.path / ARGUMENTS).write_text(macros.as_json(self.config), encoding="utf-8")
        command = macros.expand(
            script.command,
            program=script.program,
            config=self.config,
            json_file=self.path / ARGUMENTS,
            environment=os.environ,
        )
        child = ChildProcess(
            command,
            folder=script.folder,
            environment=self.environment,
            output=self.path / OUTPUT,
            scratch=self.scratch,
            passed=self.passed,
            grace=script.grace,
        )
        died_at: float | None = None  # when the script's main thread was seen to be dead
        with child:
            try:
                while self.status is None:
                    self.status = child.wait(POLL_SECONDS)
                    self._pass_on(report)
                    if self.stream.died is not None:  # what the script started may keep its process alive
                        died_at = died_at or time.monotonic()
                    if self.status is None and died_at and time.monotonic() - died_at > DYING_SECONDS:
                        self.hung, self.status = True, child.stop()
                    elif self.status is None:
                        check(report)
            except Pruned:
                self.status = child.stop()
                self._pass_on(None)
                raise
            except Exception:
                self.status = child.stop(signal.SIGINT)
                with contextlib.suppress(Exception):  # what it reported meanwhile counts, if it goes on
                    self._pass_on(_quiet(report))
                raise
            finally:
                self._keep_rows(all_of_it=True)
                self._settle()
        return self.status

    def _pass_on(self, report: Report | None) -> None:
        """Reads what the script logged since the last time; without `report` it is only kept."""
        for summary in self.stream.read(all_of_it=self.status is not None):
            self._go_on()
            if report is not None:
                report(self.stream.history.iterations - 1, numbers(summary))
        self._keep_rows()

    def _keep_rows(self, *, all_of_it: bool = False) -> None:
        """Writes rows that are complete: of the run that counts to `metrics.jsonl`, of others beside it."""
        if all_of_it:
            self._go_on()
        if not self.kept.before:  # else the first value of the metric will tell where this run goes on
            for row in _rows(self.stream.history, all_of_it=all_of_it, shift=self.shift):
                self.kept.log(row.pop("epoch"), row)
        for run in self.stream.others:
            if rows := _rows(run.history, all_of_it=all_of_it):
                path = self._rows_of(run)
                with writing(path), path.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(row) + "\n" for row in rows)

    def _go_on(self) -> None:
        """Puts the rows of the interrupted run before those of this one, once."""
        if before := self.kept.before:
            count, self.shift = self.stream.history.go_on(before)
            self.kept.log_anew(before[:count])

    def _settle(self) -> None:
        """Where another run than the first turns out to count, its rows take the place of that one's."""
        before = self.stream.counted
        chosen = self.stream.settle()
        if chosen is None:
            return
        if before is not None:
            with writing(self._rows_of(before)):
                self._rows_of(before).write_bytes(self.kept.metrics_file.read_bytes())
        theirs = self._rows_of(chosen)
        self.kept.log_anew(read_metrics(theirs) if theirs.exists() else [])
        theirs.unlink(missing_ok=True)

    def _rows_of(self, run: LoggedRun) -> Path:
        return self.path / OTHER_METRICS.format(run.number)

    def problem(self, status: int) -> str | None:
        """What went wrong, or None."""
        if self.hung:  # or slow to end, on a busy machine: the message says no more than what is sure
            trace = (self.stream.died or "").rstrip()
            cause = child_process.cause_in(trace.splitlines())
            other = self._other_python() if "ModuleNotFoundError" in cause else ""
            return (
                f"the script failed{other}: {cause}\nits last lines:\n{trace}\n"
                f"its process was still there {DYING_SECONDS:.0f} s later, and was ended"
            )
        if status != 0:
            output = child_process.tail(self.path / OUTPUT)
            lines = output.splitlines()
            said = "; its last line:" if status < 0 else ":"
            last = " and printed nothing"
            if lines:
                last = f"{said} {lines[-1] if status < 0 else child_process.cause_in(lines)}"
            if len(lines) > 1:
                last += f"\nits last lines:\n{output}"
            other = self._other_python() if "ModuleNotFoundError" in last else ""
            verb = "was" if status < 0 else "ended with"
            return f"the script {verb} {child_process.how_it_ended(status)}{other}{last}"
        metric, summary = self.script.metric.name, self.stream.history.summary
        if not self.script.metric.declared or self.stream.history.score is not None:
            return None
        if metric in summary:
            return f"the script logged '{metric}' only as {summary[metric]!r}: no finite value to compare"
        names = ", ".join(sorted(numbers(summary))) or "nothing"
        hint = nearest(metric, summary)
        hook = f" ({'; '.join(self.stream.problems)})" if self.stream.problems else ""
        printed = self._printed()
        if not (summary or printed or hook):
            printed = f'; log it (`wandb.log`), or print it as JSON, a line each time: {{"{metric}": 0.5}}'
        return f"the script never logged '{metric}'{hint} (it logged: {names}){printed}{hook}"

    def _printed(self) -> str:
        """Where the script printed a value of the metric, or others: the line, and what reads it."""
        metric = self.script.metric.name
        lines = child_process.tail(self.path / OUTPUT).splitlines()[::-1]
        found = [(line, pairs) for line in lines if (pairs := pairs_in(line.encode()))]
        line, pairs = next((one for one in found if metric in one[1]), found[0] if found else ("", {}))
        if not pairs or (metric not in pairs and self.stream.history.summary):  # what it logged says more
            return ""
        printed = f"; it printed {line.strip()[:80]!r}, "
        if self.script.pairs:
            return f"{printed}in which these are read: {', '.join(pairs)}"
        rename = ""
        if metric not in pairs:
            rename = f"metric: {{name: {difflib.get_close_matches(metric, pairs, 1, 0)[0]}}} and "
        return f"{printed}which this reads: {rename}tuner: {{metrics_from: stdout}}"

    def _other_python(self) -> str:
        """Where the command starts another Python than this one, which may lack the script's packages."""
        word = next((str(word) for word in self.script.command or () if _PYTHON.fullmatch(str(word))), None)
        found = word and shutil.which(word, path=self.environment.get("PATH"))
        if found is None or Path(found).parent == Path(sys.executable).parent:
            return ""
        return f" in {found}; '${{interpreter}}' in the command is the Python of tuner, {sys.executable}"

    def metrics(self) -> dict[str, float]:
        """The summary's numbers, and the metric's score; their mean over all runs, where that counts."""
        if self.script.counts != "mean":
            return self.stream.history.metrics
        found = [
            metrics
            for run in self.stream.alike
            if self.script.metric.name in (metrics := run.history.metrics)
        ]
        return means(found) if found else self.stream.history.metrics

    def notes(self) -> list[str]:
        """What one should know of the trial, a line each."""
        found = self.stream.problems[:MAX_NOTES]
        count = len(self.stream.alike)
        if count > 1 and self.script.counts == "mean":
            found.insert(0, f"{count} W&B runs: their mean is used")
        elif count > 1 and self.stream.counted is not None:
            which = self.stream.counted
            place = self.stream.alike.index(which) + 1
            found.insert(0, f"{count} {which.logger} runs: number {place} is used ({which.key})")
        return found

    def finish(self, state: str, *, error: str | None = None) -> None:
        """Writes the result and moves the folder to its place, without what served the script alone."""
        for name in (PARAMETERS, ARGUMENTS):
            (self.path / name).unlink(missing_ok=True)
        folders = dict.fromkeys(run.folder for run in self.stream.runs.values() if run.folder)
        if self.before:
            folders = {}  # they lack what came before: `tuner sync` makes one run of all rows
        result = {
            "state": state,
            "metrics": self.metrics(),
            "summary": self.stream.history.summary,
            "iterations": self.stream.history.iterations,
            "seconds": round(time.monotonic() - self.started, 3),
            "exit_status": self.status,
            "command": [str(part) for part in self.script.command or macros.DEFAULT_COMMAND],
            "program": self.script.program,
            "wandb_runs": [os.path.relpath(folder, self.wandb) for folder in folders],
        }
        if notes := self.notes():
            result["notes"] = notes
        if error:
            result["error"] = error
        self.kept.finish(result)


def _seconds_before(final: Path) -> float:
    """What a paused trial, which is resumed now, has taken so far."""
    result = if_readable(read_object, final / RESULT) or {}
    seconds = result.get("seconds") if result.get("state") == "paused" else None
    return float(seconds) if is_finite(seconds) else 0.0


def _quiet(report: Report) -> Report:
    """`report` for a trial that has been stopped already."""

    def told(epoch: int, metrics: Mapping[str, float]) -> None:
        with contextlib.suppress(Exception):
            report(epoch, metrics)

    return told


def _rows(history: History, *, all_of_it: bool, shift: int = 0) -> list[dict[str, Any]]:
    """The rows that became complete, as lines of `metrics.jsonl`."""
    return [
        {
            "epoch": row.at if row.iteration is None else row.iteration,
            "_step": row.step + shift,
            **row.data,
        }
        for row in history.take_complete(all_of_it=all_of_it)
    ]
