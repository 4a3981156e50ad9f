"""`study all`: the guide's studies in its order, each from the confirmed winner before it.

Nothing is remembered but what the storage and the run folders hold: a campaign that is started again skips
what is done and goes on with the rest, at whatever point it was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import optuna
from rich.console import Console
from rich.table import Table

from model.config import Config
from tuner.artifacts.run_store import Place
from tuner.base.errors import WorkFailed
from tuner.base.words import duration
from tuner.campaign import on_bundle
from tuner.claims import retrain
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import CAMPAIGN, StudyFile
from tuner.run import probe
from tuner.run.launch import Request, TimeIsUp, agents_for, as_begun, data_for, launch
from tuner.show.live import View
from tuner.storage.access import find_records, open_records, storage_errors
from tuner.storage.stored import CONFIRMED, load_study
from tuner.workloads.objective import ModelObjective

FIRST_SEED = 1000  # seeds of retrainings are above those that studies search
CONFIRMED_TOP = 3  # configurations retrained before a winner is believed
BUNDLE = "campaign"
MEMBERS = 10


@dataclass(frozen=True)
class Campaign:
    """A run of the campaign's studies, in order. `request`: the options that all of them share."""

    request: Request
    make_view: Callable[[], View]
    console: Console
    files: Sequence[StudyFile]

    @classmethod
    def of_the_guide(cls, request: Request, make_view: Callable[[], View], console: Console) -> Campaign:
        """The shipped studies in the guide's order."""
        return cls(request, make_view, console, [load_study_file(name) for name in CAMPAIGN])

    def run(self) -> None:
        """Runs what is not done yet.

        Raises:
            KeyboardInterrupt: the user stopped a study.
            WorkFailed: a study stopped for an error.
        """
        deadline = None if self.request.timeout is None else time.monotonic() + self.request.timeout
        request = self._as_begun()
        try:
            for number, file in enumerate(self.files, 1):
                self._say(f"[bold]{number}/{len(self.files)} {file.name}[/]: {file.purpose}")
                self._stage(replace(request, study_file=file), deadline)
        except TimeIsUp as left:
            self._say(str(left))
            return
        self._say("the campaign is done; next: python -m tuner status, python -m inference decode FILE.csv")

    def _as_begun(self) -> Request:
        """The request with what the campaign was begun with, where it says nothing of its own.

        `as_begun` does this for one study; here it reaches the studies that no agent has seen yet. Studies
        of a bundle have values of their own, which are none of the campaign's.
        """
        request = self.request
        with storage_errors(request.url):
            records = None if request.fresh else find_records(request.url)
            if records is None:
                return request
            names = set(optuna.get_all_study_names(records))
            begun = [file for file in self.files if file.name in names and file.on != "bundle"]
            if not begun:
                return request
            place = Place.of(load_study(records, begun[-1].name))
        if request.artifacts is None and place is not None:
            request = replace(request, artifacts=place.url)
        return as_begun(replace(request, study_file=begun[-1]), self.make_view())

    def _stage(self, request: Request, deadline: float | None) -> None:
        """One study, and for one that trains the confirmation of its winner."""
        if request.study_file.on == "bundle":
            self._bundle()
            on_bundle.tune(request, self.console, bundle=BUNDLE)
            return
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        launch(replace(request, timeout=left), self.make_view()).check(request.study_file.name)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        confirm(replace(request, timeout=left), self.make_view(), self.console)

    def show(self) -> None:
        """Prints the timeline, with an estimate from a probe of the default configuration."""
        hours = 0.0
        config = {**Config().to_dict(), **self.request.overrides}
        first = replace(self.request, study_file=self.files[0])
        data = data_for(first, self.make_view())
        agents = agents_for(first, None)
        measured = probe.measure(ModelObjective(data), config, agents=agents)
        table = Table(box=None, padding=(0, 2), header_style="bold")
        for heading in ("", "study", "runs", "epochs a run", "estimate", "asks"):
            table.add_column(heading)
        for number, file in enumerate(self.files, 1):
            runs = file.run_cap or 0
            if file.on == "bundle":
                table.add_row(str(number), file.name, str(runs), "none: on a bundle", "minutes", file.purpose)
                continue
            epochs = int(self.request.overrides.get("epochs", file.max_epochs or Config().epochs))
            mean = probe.expected_epochs(file.pruner, epochs)
            confirming = CONFIRMED_TOP * len(file.seeds) * measured.trial(epochs)
            seconds = (runs * measured.trial(mean) + confirming) / agents
            hours += seconds / 3600
            table.add_row(
                str(number), file.name, str(runs), f"{mean:.1f} of {epochs}", duration(seconds), file.purpose
            )
        self.console.print(table)
        self.console.print(
            f"in all about {hours:.1f} hours ({measured.epoch:.1f} s an epoch, measured now)", markup=False
        )

    def _bundle(self) -> None:
        """The ensemble of the campaign's networks, built once."""
        if (self.request.results / "ensembles" / BUNDLE / "bundle.json").exists():
            return
        trained = [file.name for file in self.files if file.on == "train"]
        build = ["ensemble", "build", "--k", str(MEMBERS), "--name", BUNDLE, "--study", *trained]
        on_bundle.run_module(build, self.request, self.console)

    def _say(self, line: str) -> None:
        self.console.print(line)


def confirm(request: Request, view: View, console: Console) -> None:
    """Retrains a study's best on other seeds and records the one that is best on average.

    Raises:
        KeyboardInterrupt: the user stopped it.
        WorkFailed: it stopped for an error.
    """
    file = request.study_file
    with storage_errors(request.url):
        study = load_study(open_records(request.url), file.name)
        if study.user_attrs.get(CONFIRMED):
            return
        best = retrain.candidates(study, file, request.results, top=CONFIRMED_TOP)
    if not best:
        raise WorkFailed(f"{file.name}: no trial completed, so there is no winner to go on from")
    seeds = [{"seed": FIRST_SEED + seed} for seed in file.seeds]
    again = retrain.study_of(file, best, seeds, suffix="confirm")
    result = launch(replace(request, study_file=again, base={}, trials=None, fresh=False), view)
    result.check(again.name)
    with storage_errors(request.url):
        records = open_records(request.url)
        found = retrain.with_results(best, len(seeds), load_study(records, again.name), file)
        chosen = retrain.winner(found, file)
        record = {
            "number": chosen.number,
            "mean": chosen.mean,
            "candidates": [
                {"number": c.number, "score": c.score, "again": list(c.again.values()), "mean": c.mean}
                for c in found
            ],
        }
        load_study(records, file.name).set_user_attr(CONFIRMED, record)
    console.print(
        f"confirmed winner of {file.name}: trial {chosen.number}, {file.metric.name} {chosen.mean:.4f} on "
        f"average (in the study {chosen.score:.4f}; of {len(found)} retrained)",
        markup=False,
        soft_wrap=True,
    )
