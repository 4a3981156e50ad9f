"""What a study has found, as an object for a notebook or a script."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from tuner.artifacts import run_results
from tuner.base.errors import InputError
from tuner.claims import judge, material
from tuner.claims.answer import Answer
from tuner.definition.study_file import StudyFile
from tuner.show.status import Rank, best_rows, best_table, best_trials
from tuner.show.summary import Summary
from tuner.storage.access import open_records
from tuner.storage.records import Records
from tuner.storage.study import OpenStudy, load_study

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


TOP = 3  # trials that are shown when a result is printed


@dataclass(frozen=True)
class Best:
    """The best trial. `folder`: its run folder; None where it left none here."""

    number: int
    value: float
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    folder: Path | None


@dataclass(frozen=True)
class StudyResult:
    """A study. It is read anew whenever it is asked, so it also shows what other processes have added.

    Attributes:
        reason: why the study was left, in words.
        results: the results folder. url: the storage.
    """

    name: str
    reason: str
    results: Path
    url: str = field(repr=False)

    @property
    def optuna(self) -> OpenStudy:
        """The study itself: `optuna.visualization`, `optuna.importance` and the like take it."""
        self._records.forget()
        return load_study(self._records, self.name)

    @property
    def best(self) -> Best:
        """The confirmed winner where there is one, else the best complete trial that meets the constraints.

        Raises:
            InputError: no trial has completed, or none meets the constraints.
        """
        trial = self._read().winner
        if trial is None or trial.value is None:
            raise InputError(f"study '{self.name}': {judge.of_study(self._read()).headline}")
        folder = self.results / "runs" / self.name / str(trial.number)
        where = folder if folder.is_dir() else None
        return Best(trial.number, trial.value, trial.config, trial.metrics, where)

    def verdict(self) -> Answer:
        """Whether the best configuration is better than the default: what `tuner verdict` says."""
        return judge.of_study(self._read())

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial: number, state, value, seconds, `config.…` of what was searched, the metrics.

        Raises:
            InputError: pandas is not installed.
        """
        return run_results.data_frame(
            [
                {"number": t.number, "state": t.state, "value": t.value, "seconds": t.seconds}
                | {f"config.{name}": value for name, value in t.params.items()}
                | dict(t.metrics)
                for t in self._read().trials
            ]
        )

    @property
    def runs(self) -> run_results.Results:
        """The same trials with their files and histories, as `tuner.results` gives them."""
        return run_results.load(self.name, results=self.results, storage=self.url)

    def plot_history(self) -> go.Figure:
        """The metric by trial number, and the best so far."""
        return self._plot("history")

    def plot_importances(self) -> go.Figure:
        """How much each parameter matters."""
        return self._plot("importances")

    def plot_parallel(self) -> go.Figure:
        """Each trial as a line over all parameters."""
        return self._plot("parallel")

    def plot_slices(self) -> go.Figure:
        """The metric over each of the most important parameters."""
        return self._plot("slices")

    def plot_curves(self) -> go.Figure:
        """The metric by epoch."""
        return self._plot("curves")

    def _plot(self, kind: str) -> go.Figure:
        """A chart of the report as a figure; InputError says why there is nothing to draw yet."""
        from tuner.show.report import figures, over_time, plots

        room = over_time if kind == "curves" else figures
        return plots.figure(getattr(room, kind)(self._read()))

    @cached_property
    def _records(self) -> Records:
        return open_records(self.url)

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens the storage itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_records"}

    def _read(self) -> material.Study:
        return material.read_study(self.optuna, self.results)

    def _shown(self) -> tuple[str, StudyFile, list[Rank]]:
        """What is printed of the study: a line, its file, and the best trials."""
        study = Summary.of(self.optuna)
        pruned = study.counts[TrialState.PRUNED]
        line = f"{self.name}: {self.reason}; {pruned} of {study.finished} pruned, {study.failed} failed"
        return line, study.source.file, best_trials(study, self.results, top=TOP)

    def __str__(self) -> str:
        from rich.console import Console

        line, file, ranks = self._shown()
        if not ranks:
            return f"{line}\nno trial has completed"
        console = Console(
            file=io.StringIO(), width=100_000, highlight=False, force_jupyter=False
        )  # nothing is cut off, or shown at once
        console.print(best_table(ranks, file, width=100))
        lines = console.file.getvalue().rstrip().splitlines()  # type: ignore[attr-defined]
        return "\n".join([line, *(line.rstrip() for line in lines), str(self.verdict())])

    def _repr_html_(self) -> str:
        from tuner.show.notebook import table

        line, file, ranks = self._shown()
        line = f"<div>{html.escape(line)}</div>"
        if not ranks:
            return f"{line}<div>no trial has completed</div>"
        heading, *rows = best_rows(ranks, file)
        return line + table(heading, rows) + self.verdict()._repr_html_()
