"""Adds imported runs to a study, as finished trials that its sampler learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner.base.errors import ALIASES, InputError, nearest
from tuner.base.wandb_files import identity_if_kept, wandb_folder
from tuner.definition.distributions import Constant
from tuner.definition.metric import Metric
from tuner.definition.study_file import StudyFile
from tuner.plugins.imports.rows import Row, number, reports
from tuner.storage import changes, optuna_private
from tuner.storage.attributes import GRID_POINT, IMPORTED, NOT_COUNTED, ORIGIN, VIOLATION, Attribute
from tuner.storage.records import Records
from tuner.storage.study import OpenStudy, stored_file
from tuner.storage.study_store import RETRAINED
from tuner.storage.trial_rows import Told
from tuner.workloads.history import SUMMARIES

RUN = Attribute[str]("import_digest", "")  # of an imported trial: digest of the run that it was


@dataclass(frozen=True)
class Brought:
    """What became of the runs: numbers of new trials, how many were there already, and why others are not."""

    numbers: tuple[int, ...]
    before: int
    left_out: Mapping[str, int]
    named: Mapping[str, str]


class Names:
    """Finds a study's parameters and metrics under the names that somebody else gave them.

    Args:
        mapped: their name → the study's name, as the user says.

    Raises:
        InputError: a name of `mapped` is none of the runs', or none of the study's.
    """

    def __init__(self, file: StudyFile, rows: Sequence[Row], mapped: Mapping[str, str]) -> None:
        known = {name for row in rows for name in (*row.config, *row.metrics)}
        ours = [*(p.name for p in file.space.parameters), *(m.name for m in file.objectives)]
        ours += [constraint.metric for constraint in file.constraints]
        for theirs, own in mapped.items():
            if own not in ours:
                raise InputError(
                    f"--map {theirs}={own}: study '{file.name}' has no '{own}'{nearest(own, ours)}"
                )
            if theirs not in known:
                raise InputError(f"--map {theirs}={own}: no run has '{theirs}'{nearest(theirs, known)}")
        self._told = {own: theirs for theirs, own in mapped.items()}
        self.used: dict[str, str] = {}

    def config(self, row: Row, names: Iterable[str]) -> dict[str, Any]:
        """The values of `names` that a run has."""
        return self._of(row.config, names)

    def metrics(self, row: Row, names: Iterable[str]) -> dict[str, Any]:
        """Its metrics: those of `names` under the study's names, the others as they are."""
        return {**row.metrics, **self._of(row.metrics, names)}

    def history(self, row: Row, name: str) -> dict[int, float]:
        """What it reported of a metric."""
        theirs = name if row.history and name in row.history[-1] else self.used.get(name, name)
        return reports(row.history, theirs) or (reports(row.history, "") if row.values else {})

    def summary(self, row: Row, metric: Metric, last: float | None) -> float | None:
        """A metric's value in the run's summary: `acc.max`, say, where the script defined it; else `last`."""
        theirs = f"{self.used.get(metric.name, metric.name)}."
        defined = {
            kind: value for kind in SUMMARIES if (value := number(row.metrics.get(theirs + kind))) is not None
        }
        kind = metric.summary_kind(defined)
        return last if kind is None else defined[kind]

    def _of(self, content: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
        found = {}
        for name in names:
            theirs = self._told.get(name) or next(
                (n for n in _candidates(name, content) if n in content), None
            )
            if theirs is not None and theirs in content:
                found[name] = content[theirs]
                if theirs != name:
                    self.used[name] = theirs
        return found


def _candidates(name: str, known: Iterable[str]) -> list[str]:
    """Names under which somebody may have kept `name`, the likeliest first."""
    same = [other for other in known if _plain(other) == _plain(name)]
    alias = [short for short, full in ALIASES.items() if full == name]
    return [name, *alias, *([ALIASES[name]] if name in ALIASES else []), *(same if len(same) == 1 else [])]


def _plain(name: str) -> str:
    return name.lower().replace("/", "_").replace(".", "_").replace("-", "_")


def bring(
    records: Records,
    study: OpenStudy,
    rows: Sequence[Row],
    *,
    mapped: Mapping[str, str],
    count: bool = False,
) -> Brought:
    """Adds the runs that fit the study's space and have its metric.

    Args:
        mapped: names of the runs → names of the study, beside those that are equal or usual.
        count: they count towards the number of trials that the study wants.

    Raises:
        InputError: a name in `mapped` is unknown.
    """
    file = stored_file(study)
    names = Names(file, rows, mapped)
    reader = _Reader(file, ORIGIN.of(study), names, count=count)
    left_out: Counter[str] = Counter()
    times: Counter[str] = Counter()
    new, before = [], 0
    with records.locked():
        records.refresh()
        there = {RUN.of(trial) for trial in study.everything()}
        for row in rows:
            digest = row.digest()
            times[digest] += 1
            digest += f"-{times[digest]}"  # two runs may be equal to the last digit
            if digest in there:
                before += 1
                continue
            told = reader.read(row, digest)
            if isinstance(told, str):
                left_out[told] += 1
            else:
                new.append(told)
        numbers = records.add_told(optuna_private.study_id(study), new) if new else []
    return Brought(tuple(numbers), before, dict(left_out.most_common()), names.used)


def without_own(rows: Sequence[Row], name: str, results: Path) -> list[Row]:
    """The rows; for those that are trials or retrainings of the study itself, that is their problem."""
    kept = [identity_if_kept(wandb_folder(results, name + suffix)) for suffix in ("", *RETRAINED)]
    return [
        replace(row, problem="it is a trial of this study")
        if any(each is not None and each.owns(row.source) for each in kept)
        else row
        for row in rows
    ]


class _Reader:
    """Makes trials of runs."""

    def __init__(self, file: StudyFile, origin: Mapping[str, Any], names: Names, *, count: bool) -> None:
        self._file, self._names, self._count = file, names, count
        base, overrides = origin.get("base") or {}, origin.get("overrides") or {}
        self._fixed = {**base, **overrides}
        constants = {
            p.name: p.distribution.value
            for p in file.space.parameters
            if isinstance(p.distribution, Constant)
        }  # a run that does not name them is taken to have them
        self._settings = changes.Settings({**constants, **self._fixed, **file.defaults}, overrides)
        self._distributions = file.space.distributions()
        self._points: dict[str, int] = {}
        if file.method == "grid":
            points = [file.space.params_for(config) for config in file.grid()]
            self._points = {repr(sorted(params.items())): index for index, params in enumerate(points)}

    def read(self, row: Row, digest: str) -> Told | str:
        """The trial, or why there is none."""
        if row.problem:
            return row.problem
        file, names = self._file, self._names
        wanted = [metric.name for metric in file.objectives]
        judged = [*wanted, *(constraint.metric for constraint in file.constraints)]
        metrics = names.metrics(row, judged)
        told: list[float | None] = list(row.values) or [number(metrics.get(name)) for name in wanted]
        history = names.history(row, wanted[0])
        if not row.values:
            told[0] = names.summary(row, file.metric, told[0])
        told[0] = file.metric.score(history.values(), told[0])
        values = [value for value in told if value is not None]
        if len(values) < len(wanted):
            return f"no value of '{wanted[told.index(None)]}'"
        config = names.config(row, [*(p.name for p in file.space.parameters), *self._fixed])
        own, _, reasons = changes.fitting(config, file.space, self._settings)
        if reasons:
            return self._reason(next(iter(reasons)), config)
        figures = {
            name: figure
            for name, value in metrics.items()
            if (figure := number(value)) is not None and (name not in row.config or name in judged)
        } | dict(zip(wanted, values, strict=True))
        attrs: dict[str, Any] = {
            IMPORTED: row.source,
            RUN: digest,
            "metrics": figures,
            "why": f"imported from {row.source}",
        }
        missed = file.violations(figures)
        if missed:
            attrs[VIOLATION] = sum(max(0.0, value) for value in missed.values())
        point = self._points.get(repr(sorted(own.items())))
        if self._points and point is None:
            return "it is not a point of the grid"
        if not self._count:
            attrs[NOT_COUNTED] = True
        elif point is not None:
            attrs[GRID_POINT] = point
        return Told(
            values,
            {n: (self._distributions[n].to_internal_repr(v), self._distributions[n]) for n, v in own.items()},
            attrs,
            {f"{optuna_private.CONSTRAINT}{name}": value for name, value in missed.items()},
            history,
        )

    def _reason(self, name: str, config: Mapping[str, Any]) -> str:
        """A line that all runs have in common which this parameter leaves out."""
        if name == "requires":
            return "it breaks 'requires'"
        if name not in config:
            return f"no value of '{name}'"
        described = next(
            (p.distribution.describe() for p in self._file.space.parameters if p.name == name), None
        )
        return f"'{name}' is not {described or f'{self._fixed.get(name)!r}, as in this study'}"
