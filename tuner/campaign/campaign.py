"""Runs the steps of a campaign file: studies and commands.

The campaign itself stores nothing. It reads from the storage and the results folder which steps are done. So
it can be stopped at any point, and the same command continues.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuner.artifacts.run_store import StoreLocation
from tuner.base.errors import WorkFailed
from tuner.campaign.confirm import confirm
from tuner.claims.hypotheses import Settling
from tuner.definition.campaign_file import HYPOTHESES, CampaignFile, Step
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.run import launch
from tuner.run.events import View
from tuner.run.launch import LeftEarly
from tuner.run.plan import data_of
from tuner.run.request import Request
from tuner.storage.access import find_records
from tuner.storage.study import find_study
from tuner.workloads.registry import workload_of

PROGRAMS = ("tuner", "gcode-tuner")  # a command that starts with one of these words runs this program
ENGINE = str(Path(__file__).resolve().parents[2])  # added to `sys.path` of such commands


@dataclass(frozen=True)
class Campaign:
    """A run of a campaign file.

    Attributes:
        results: the results folder.
        request_for: makes the request for a study, with the options that all studies share.
        macros: the words that replace `${name}` in a step, in addition to `${results}` and `${studies}`.
    """

    file: CampaignFile
    results: Path
    request_for: Callable[[StudyFile], Request]
    make_view: Callable[[], View]
    say: Callable[[str], None]
    macros: Mapping[str, Sequence[str]] = field(default_factory=dict)
    timeout: float | None = None

    def run(self) -> bool:
        """Runs the steps that are not done. Returns False if it was left early.

        Raises:
            KeyboardInterrupt: the user stopped a step.
            WorkFailed: a step failed.
        """
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        begun = self.begun()
        try:
            for number, step in enumerate(self.file.steps, 1):
                position = f"{number}/{len(self.file.steps)}"
                if step.study is None:
                    self._command(step, position)
                elif step.study == HYPOTHESES:
                    self.say(f"{position} {step.why or 'claims of the studies that are still open'}")
                    self._claims(step, begun, deadline)
                else:
                    file = self.study(step)
                    self.say(f"{position} {file.name}: {step.why or file.purpose}")
                    self._study(self.request(step, file, begun), deadline)
        except LeftEarly as left:
            self.say(str(left))
            return False
        self.say("the campaign is done")
        return True

    @property
    def trained(self) -> list[Step]:
        """The steps with studies that share the campaign's data."""
        return [s for s in self.file.steps if s.study and s.study != HYPOTHESES and not s.data]

    def study(self, step: Step) -> StudyFile:
        """The study file of a step: a file next to the campaign file, or a shipped study."""
        assert step.study is not None
        beside = self.file.path.parent / step.study
        return load_study_file(beside if beside.is_file() else step.study)

    def request(self, step: Step, file: StudyFile, begun: Mapping[str, Any]) -> Request:
        """The request for a step's study. `begun` has the values for options that are not given."""
        request = self.request_for(file)
        if step.data is not None:
            return replace(request, data=Path(*self._expanded([step.data])))
        told = {name: value for name, value in begun.items() if not getattr(request, name)}
        return replace(request, **told)

    def begun(self) -> dict[str, Any]:
        """The `overrides`, `data` and `artifacts` of the campaign's first start; empty if there was none.

        Later studies then use the same `--set`, data and artefact store. Studies with their own inputs
        (`data` in the step) are ignored here.
        """
        shared = [self.study(step) for step in self.trained]
        if not shared:
            return {}
        url = self.request_for(shared[0]).url
        records = find_records(url, waits=True, say=self.say)
        begun = [study for file in shared if (study := find_study(records, file.name))]
        if records is None or not begun:
            return {}
        origin, store = begun[-1].origin, StoreLocation.of(begun[-1])
        records.close()
        overrides = dict(origin.get("overrides") or {})
        return {"overrides": overrides, "data": data_of(origin), "artifacts": store and store.url}

    def _study(self, request: Request, deadline: float | None) -> None:
        """Runs a study and confirms its winner, unless repeated runs always give the same score."""
        launch.run(replace(request, timeout=_left(deadline)), self.make_view()).check(request.study_file.name)
        if not workload_of(request.study_file).deterministic:
            confirm(replace(request, timeout=_left(deadline)), self.make_view, self.say)

    def _claims(self, step: Step, begun: Mapping[str, Any], deadline: float | None) -> None:
        """Decides the open claims of the campaign's studies, within the budget of the step."""
        file = self.study(self.trained[0]) if self.trained else None
        if file is None:
            return
        asked = self.request(self.trained[0], file, begun)
        limits = [limit for limit in (step.budget, _left(deadline)) if limit is not None]
        Settling(
            asked.url,
            self.results,
            request_for=lambda paired: replace(self.request_for(paired), artifacts=asked.artifacts),
            make_view=self.make_view,
            say=self.say,
            chosen=asked.data,
            overrides=asked.overrides,
            budget=min(limits, default=None),
        ).run()

    def _command(self, step: Step, position: str) -> None:
        """Prints and runs a command, unless what it creates already exists.

        Raises:
            KeyboardInterrupt: the user stopped it.
            WorkFailed: it failed. Its own error was printed before.
        """
        if step.creates is not None:  # in the results folder; `./…` is in the current folder
            creates = Path(step.creates) if step.creates.startswith("./") else self.results / step.creates
            if creates.exists():
                return
        words = self._expanded(step.run)
        shown = " ".join(words)
        self.say(f"{position} {step.why}\n   $ {shown}" if step.why else f"{position} $ {shown}")
        status = subprocess.run(started(words), check=False).returncode
        if status == 130:
            raise KeyboardInterrupt
        if status:
            raise WorkFailed(f"this command failed: {shown}")

    def _expanded(self, words: Sequence[str]) -> list[str]:
        """Replaces macros in words. If a word is only a macro, several words or none can replace it."""
        trained = [self.study(step).name for step in self.trained]
        known = {"results": [str(self.results)], "studies": trained, **self.macros}
        found: list[str] = []
        for word in words:
            if word.startswith("${") and word[2:-1] in known:
                found += known[word[2:-1]]
                continue
            for name, values in known.items():
                word = word.replace(f"${{{name}}}", " ".join(values))
            found.append(word)
        return found


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def started(words: Sequence[str]) -> list[str]:
    """The arguments of a command's process. Replaces `tuner` and `python` by those that run now."""
    if words[0] in PROGRAMS:
        start = f"import sys; sys.path.append({ENGINE!r}); from tuner.__main__ import main; sys.exit(main())"
        return [sys.executable, "-P", "-c", start, *words[1:]]
    return [sys.executable, *words[1:]] if words[0] == "python" else list(words)
