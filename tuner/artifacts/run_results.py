"""The runs of a study for notebooks and scripts. Read from disk, with the names of W&B's public API.

import tuner

runs = tuner.results("loss_weighting")
print(runs.best_config)
for run in sorted(runs, key=lambda run: run.summary.get("val/overall_acc", 0), reverse=True)[:10]:
    print(run.name, run.summary["val/overall_acc"], run.config)
runs.to_pandas()
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from tuner.base import extras
from tuner.base.command_line import RESULTS_VARIABLE, STORAGE_VARIABLE
from tuner.base.errors import InputError
from tuner.base.files import read_object
from tuner.base.run_folder import CONFIG, METRICS, RESULT, if_readable, read_metrics
from tuner.storage import attributes

if TYPE_CHECKING:
    import optuna
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """One trial.

    Attributes:
        name: `<study>-<number>`, as in W&B.
        state: complete, pruned, failed, interrupted, paused or running.
        config: the complete configuration.
        summary: its metrics. For a complete trial: those at its end, and its score.
        folder: its run folder; None if it has none yet.
    """

    name: str
    number: int
    state: str
    config: dict[str, Any] = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    folder: Path | None = field(default=None, repr=False)

    def history(self) -> list[dict[str, Any]]:
        """The logged metrics, one dict per epoch. For scripts: one per W&B step."""
        path = None if self.folder is None else self.folder / METRICS
        return (path and if_readable(read_metrics, path)) or []


@dataclass(frozen=True)
class Results(Sequence[Run]):
    """The runs of one study, a sequence ordered by number. `runs` is the same, for W&B's name.

    Attributes:
        winner: the number of the best run, as `tuner best` says it; None: none is complete and meets the
            constraints.
    """

    name: str
    runs: tuple[Run, ...] = field(repr=False)
    winner: int | None = None

    @property
    def best(self) -> Run:
        """The best run. Raises InputError if there is none."""
        for run in self.runs:
            if run.number == self.winner:
                return run
        raise InputError(f"study '{self.name}': no run is complete and meets the constraints")

    @property
    def best_config(self) -> dict[str, Any]:
        """The configuration of the best run."""
        return self.best.config

    def __len__(self) -> int:
        return len(self.runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Run]: ...

    def __getitem__(self, index: int | slice) -> Run | Sequence[Run]:
        return self.runs[index]

    def to_pandas(self) -> pd.DataFrame:
        """A table with one row per run: number, name, state, `config.…` and the metrics.

        Raises InputError if pandas is not installed.
        """
        return data_frame([
            {"number": run.number, "name": run.name, "state": run.state}
            | {f"config.{name}": value for name, value in run.config.items()}
            | run.summary
            for run in self.runs
        ])  # fmt: skip


def data_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """`rows` as a data frame. Raises InputError if pandas is not installed."""
    frame: pd.DataFrame = extras.need("notebook", "a data frame").DataFrame(rows)
    return frame


def load(study: str, *, results: Path | str | None = None, storage: str | None = None) -> Results:
    """The runs of `study`. Raises InputError if there is no such study.

    Args:
        results: the results folder (default: $TUNER_RESULTS or `results`).
        storage: URL of the studies' storage (default: $TUNER_STORAGE or the one in the results folder).
    """
    from tuner.search import ranking
    from tuner.storage.access import default_url, open_records
    from tuner.storage.allocate import state_of
    from tuner.storage.study import load_study, stored_file

    root = Path(results or os.environ.get(RESULTS_VARIABLE, "results"))
    url = storage or os.environ.get(STORAGE_VARIABLE) or default_url(root)
    found = load_study(open_records(url), study)
    trials = found.get_trials(deepcopy=False)
    file = stored_file(found)
    folder = root / "runs" / study
    runs = (
        _run(study, trial, state, folder / str(trial.number), file.space)
        for trial in trials
        if (state := state_of(trial)) != "waiting"
    )
    winner = ranking.winner(ranking.ranked(trials, file), found.attrs, file)
    return Results(study, tuple(runs), None if winner is None else winner.number)


def _run(study: str, trial: optuna.trial.FrozenTrial, state: str, folder: Path, space: Any) -> Run:
    """A trial, read from its run folder. Without a folder (yet): from the storage."""
    result = if_readable(read_object, folder / RESULT)
    config = None if result is None else if_readable(read_object, folder / CONFIG)
    metrics = attributes.METRICS.of(trial) if result is None else result.get("metrics", {})
    return Run(
        name=f"{study}-{trial.number}",
        number=trial.number,
        state=state,
        config=space.config_of(trial.params) if config is None else config,
        summary={**metrics, "state": state},
        folder=None if result is None else folder,
    )
