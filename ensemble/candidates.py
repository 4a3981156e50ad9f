"""Finds and ranks the finished runs that can enter an ensemble.

Reads only `result.json`, `trial.json` and file names. Test metrics are not used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.run_files import SCALER, VOCABULARY, WEIGHTS
from tuner.base.errors import InputError, nearest
from tuner.base.files import read_json
from tuner.base.run_folder import CONFIG, RESULT

TRIAL = "trial.json"
FALLBACK_METRIC = "val/exact_acc"  # comparable between studies: always in the 4-digit vocabulary
DISTILLED = "distilled-"  # prefix of the studies of distilled networks
VERIFIED = ".verify"  # suffix of the studies of `tuner verify`, on other splits
NEEDED = (CONFIG, WEIGHTS, VOCABULARY, SCALER, "predictions/calibrate.npz")


@dataclass(frozen=True)
class Candidate:
    """A finished run, from its small files.

    `violation` is the summed violation of the constraints of the study; 0 is feasible.
    """

    folder: Path
    study: str
    number: int
    objective: Mapping[str, Any]
    violation: float
    result: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`study/number`."""
        return f"{self.study}/{self.number}"

    @property
    def feasible(self) -> bool:
        """Whether all constraints of its study hold."""
        return self.violation <= 0

    @property
    def rank(self) -> tuple[bool, float, str, int]:
        """Sort key, best first: feasible runs, then by objective, then older runs."""
        value = float(self.objective["value"])
        better = -value if self.objective["goal"] == "maximize" else value
        return (not self.feasible, better, self.study, self.number)


@dataclass
class Skipped:
    """Run folders that were left out, by reason."""

    reasons: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        """Adds the run folder `name` under `reason`."""
        self.reasons.setdefault(reason, []).append(name)

    def lines(self, *, limit: int = 6) -> list[str]:
        """One line per reason: the names of at most `limit` folders, and the reason."""
        lines = []
        for reason, names in self.reasons.items():
            more = f" and {len(names) - limit} more" if len(names) > limit else ""
            lines.append(f"{', '.join(names[:limit])}{more}: {reason}")
        return lines

    def to_json(self) -> dict[str, list[str]]:
        """Reason → names."""
        return {reason: list(names) for reason, names in self.reasons.items()}


def find(
    results: Path, *, studies: Sequence[str] = (), metric: str | None = None
) -> tuple[list[Candidate], Skipped]:
    """All finished runs in `results/runs`, best first: those of `studies`, by default of all studies but
    distilled networks and the retrainings of `tuner verify` (they have other splits).

    Args:
        metric: rank by this `val/…` metric instead of the objective of the study. By default, runs of studies
            with different objectives are ranked by `val/exact_acc`.

    Raises:
        InputError: a study without runs; no usable run (the message says why); runs of different data or
            tracks (the message names two).
    """
    skipped = Skipped()
    found = [
        candidate
        for folder in _run_folders(results / "runs", studies)
        if (candidate := _read(folder, skipped)) is not None
    ]
    if not found:
        raise InputError(_nothing_usable(results / "runs", skipped))
    _require_same_data(found)
    objectives = {
        (c.objective["name"], c.objective["goal"]) for c in found if c.objective["value"] is not None
    }
    if metric is None and len(objectives) != 1:
        metric = FALLBACK_METRIC
    ranked = []
    for candidate in found:
        scored = candidate if metric is None else _by_metric(candidate, metric)
        if scored is None or scored.objective["value"] is None:
            skipped.add(candidate.name, f"has no {metric or 'objective value'}")
        else:
            ranked.append(scored)
    if not ranked:
        valid = sorted({name for c in found for name in c.result["metrics"]})
        hint = nearest(metric or "", valid)
        raise InputError(f"no run has the metric '{metric}'{hint} (they have: {', '.join(valid)})")
    return sorted(ranked, key=lambda candidate: candidate.rank), skipped


def _nothing_usable(root: Path, skipped: Skipped) -> str:
    if not skipped.reasons:
        return f"{root}: no runs yet; make some with `tuner study loss_weighting`"
    return f"{root}: no usable run. {'; '.join(skipped.lines())}"


def _run_folders(root: Path, studies: Sequence[str]) -> list[Path]:
    known = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for study in studies:
        if study not in known:
            have = f"there are: {', '.join(known)}" if known else "there are none yet"
            raise InputError(f"no runs of a study '{study}' in {root} ({have}){nearest(study, known)}")
    if not known:
        raise InputError(f"{root}: no runs yet; make some with `tuner study loss_weighting`")
    chosen = studies or [s for s in known if not s.startswith(DISTILLED) and not _is_of_other_splits(s)]
    folders = [path for study in chosen for path in (root / study).iterdir() if path.is_dir()]
    return sorted(folders, key=lambda path: (path.parent.name, len(path.name), path.name))


def _is_of_other_splits(study: str) -> bool:
    return study.partition("@")[0].endswith(VERIFIED)  # the text after @ is when the study was set aside


def _read(folder: Path, skipped: Skipped) -> Candidate | None:
    """The candidate in `folder`, or None after adding the reason to `skipped`."""
    name = f"{folder.parent.name}/{folder.name}"
    if not folder.name.isdigit():
        reason = "unfinished" if ".partial-" in folder.name else "not a run folder (expected a number)"
        skipped.add(name, reason)
        return None
    try:
        result = read_json(folder / RESULT)
        trial = read_json(folder / TRIAL) if (folder / TRIAL).is_file() else {}
        state = result["state"]
        if state != "complete":
            skipped.add(name, str(state))
            return None
        if result.get("fit_on", "train") != "train":
            skipped.add(name, "was fitted on the recordings that members and weights are chosen by")
            return None
        missing = [file for file in NEEDED if not (folder / file).is_file()]
        if missing:
            reason = f"no {missing[0]}"
            if {WEIGHTS, VOCABULARY} <= {*missing}:
                reason = "trained no network (a study of decoding, or of another program)"
            elif missing[0] == WEIGHTS:
                reason += " (weights are kept for a study's best runs only)"
            skipped.add(name, reason)
            return None
        return _candidate(folder, result, trial)
    except InputError as error:
        skipped.add(name, str(error))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        skipped.add(name, f"{RESULT} or {TRIAL} is not one of ours ({type(error).__name__}: {error})")
    return None


def _candidate(folder: Path, result: Mapping[str, Any], trial: Mapping[str, Any]) -> Candidate:
    """KeyError, TypeError or ValueError if the files are not as trainer and tuner write them."""
    metrics = {str(name): float(value) for name, value in result["metrics"].items() if value is not None}
    for key in ("parameters", "ms_per_window"):
        float(result.get(key) or 0)
    for key in ("data_hash", "split_hash", "track"):
        if not isinstance(result[key], str):
            raise TypeError(f"{key} is {result[key]!r}")
    given = trial.get("objective")
    objective = {
        "name": str(given["name"]) if given else FALLBACK_METRIC,
        "goal": str(given["goal"]) if given else "maximize",
        "value": given["value"] if given else metrics.get(FALLBACK_METRIC),
    }
    if objective["value"] is not None and not np.isfinite(float(objective["value"])):
        objective["value"] = None
    constraints = trial.get("constraints") or {}
    violation = sum(max(0.0, float(value)) for value in constraints.values())
    return Candidate(
        folder=folder,
        study=str(trial.get("study") or folder.parent.name),
        number=int(folder.name),
        objective=objective,
        violation=violation,
        result={**result, "metrics": metrics},
    )


def _by_metric(candidate: Candidate, metric: str) -> Candidate | None:
    """The candidate, ranked by another of its metrics; losses and errors are minimised."""
    value = candidate.result["metrics"].get(metric)
    if value is None or not np.isfinite(value):
        return None
    smaller = metric.endswith(("loss", "_mae", "_seconds"))
    objective = {"name": metric, "goal": "minimize" if smaller else "maximize", "value": value}
    return dataclasses.replace(candidate, objective=objective)


def _require_same_data(candidates: Sequence[Candidate]) -> None:
    """InputError that names two runs with different data or tracks, if there are any."""
    first = candidates[0]
    for key, what in (("data_hash", "data"), ("track", "tracks")):
        for other in candidates[1:]:
            one, two = str(first.result[key]), str(other.result[key])
            if one != two:
                raise InputError(
                    f"runs of different {what} do not combine: {first.name} has {key} {one[:12]}, "
                    f"{other.name} has {two[:12]}; name studies of one kind with --study"
                )
