"""Builds a bundle from run folders: takes members, chooses weights, writes all files for decoding."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ensemble.bundle import MEMBERS, WEIGHTED, Bundle, Member
from ensemble.candidates import TRIAL, Candidate, Skipped, find
from ensemble.choose import Choice, Rule, choose, over_recordings
from ensemble.library import check_data
from ensemble.pool import part_scores, pooled_predictions, read_part
from ensemble.predictions import part_file
from ensemble.select import MAX_CORRELATION, Taken, take
from ensemble.tables import Tables
from ensemble.weights import Weighting
from model.recordings import Recordings
from model.run_files import PREDICTIONS, SCALER, VOCABULARY, WEIGHTS
from model.tokens import HEADS
from tuner.base.errors import InputError
from tuner.base.files import remove_left_overs, whole_folder
from tuner.base.run_folder import CONFIG, RESULT

COPIED = (CONFIG, WEIGHTS, VOCABULARY, SCALER, RESULT)


@dataclass(frozen=True)
class Options:
    """Options of `build`.

    Attributes:
        k: number of members. studies: names of the studies to take runs from; empty: all.
        rule: `auto` (uniform unless another weighting is significantly better), `uniform` or `learned`.
        metric: rank runs by this `val/…` metric instead of the objective of their study.
        max_correlation: runs with a higher correlation are near-duplicates; 1 keeps all.
    """

    k: int = 10
    studies: tuple[str, ...] = ()
    rule: Rule = "auto"
    name: str | None = None
    metric: str | None = None
    max_correlation: float = MAX_CORRELATION

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"k: expected at least 1 member, got {self.k}")
        if self.name is not None and Path(self.name).name != self.name:
            raise InputError(f"name: expected a plain name, got '{self.name}'")

    @property
    def bundle_name(self) -> str:
        """The given name, or one made from the studies and k."""
        return self.name or "-".join([*self.studies, f"top{self.k}"])


@dataclass(frozen=True)
class Built:
    """The bundle, its folder, and the run folders that were left out."""

    bundle: Bundle
    folder: Path
    skipped: Skipped


def build(results: Path, options: Options, *, created: str, data: Path | None = None) -> Built:
    """Builds `results/ensembles/<name>` from `results/runs`, replacing an older bundle of that name.

    Args:
        created: the time to store in the bundle.
        data: the data set that the runs should be of.

    Raises:
        InputError: no usable runs, runs that cannot be combined, or runs of other data.
    """
    ranked, skipped = find(results, studies=options.studies, metric=options.metric)
    taken = take(ranked, k=options.k, skipped=skipped, max_correlation=options.max_correlation)
    tables = Tables.of(taken.layout, taken.log_p)
    choice = choose(tables, rule=options.rule)
    used = choice.weighting.used
    members = [taken.candidates[i] for i in used]
    weighting = choice.weighting.of_members(used)
    bundle = Bundle(
        name=options.bundle_name,
        track=str(members[0].result["track"]),
        data_hash=str(members[0].result["data_hash"]),
        split_hash=str(members[0].result["split_hash"]),
        vocabulary_digits=taken.vocabulary.digits,
        members=tuple(_member(i, candidate) for i, candidate in enumerate(members)),
        weights=_weights(weighting),
        pooling=weighting.pooling,
        chosen_by={
            "members": _members_note(options, ranked, taken, skipped),
            "weights": _weights_note(options, choice),
        },
        report={"contributions": contributions(tables, choice.weighting)},
        created=created,
    )
    if data is not None:
        check_data(bundle, Recordings.load(data))
    folder = results / "ensembles" / bundle.name
    write(bundle, members, weighting, taken, folder)
    return Built(Bundle.load(folder), folder, skipped)


def contributions(tables: Tables, weighting: Weighting) -> list[dict[str, Any]]:
    """For each member with a weight, what the bundle loses on `calibrate` without it (leave-one-out).

    Returns:
        One dict per member: `exact` (share of lines) and `nll` (nats per line), each with its interval over
        recordings; positive if the member helps.
    """
    exact = tables.exact(weighting.heads, pooling=weighting.pooling).astype(float)
    nll = tables.nll(weighting.heads, pooling=weighting.pooling)
    found = []
    for member in weighting.used:
        rest = weighting.without(int(member))
        without = tables.exact(rest.heads, pooling=rest.pooling)
        worse = tables.nll(rest.heads, pooling=rest.pooling) - nll
        alone = len(weighting.used) == 1
        found.append(
            {}
            if alone
            else {
                "exact": over_recordings(exact - without, tables.recordings).to_json(),
                "nll": over_recordings(worse, tables.recordings).to_json(),
            }
        )
    return found


def write(
    bundle: Bundle, members: Sequence[Candidate], weighting: Weighting, taken: Taken, folder: Path
) -> None:
    """Writes the bundle to `folder`, whole or not at all.

    The scores on `select` and `test` are computed here, after everything was chosen.
    """
    remove_left_overs(folder)
    with whole_folder(folder) as beside:
        (beside / PREDICTIONS).mkdir()
        for member, candidate in zip(bundle.members, members, strict=True):
            _copy(candidate.folder, beside / member.path)
        shutil.copyfile(beside / bundle.members[0].path / VOCABULARY, beside / VOCABULARY)
        shutil.copyfile(beside / bundle.members[0].path / SCALER, beside / SCALER)
        bundle = bundle.with_report(**_part_reports(members, weighting, taken, beside))
        bundle.save(beside)


def _part_reports(
    members: Sequence[Candidate], weighting: Weighting, taken: Taken, folder: Path
) -> dict[str, Any]:
    """Pools and scores each part that all members have; writes those of `calibrate` and `test`."""
    runs = [candidate.folder for candidate in members]
    scores: dict[str, Any] = {}
    for part in ("select", "calibrate", "test"):
        if not all(part_file(run, part).is_file() for run in runs):
            continue
        predictions = pooled_predictions(read_part(runs, taken.vocabulary, part=part), weighting)
        scores[part] = part_scores(predictions, taken.vocabulary)
        if part != "select":
            np.savez(folder / PREDICTIONS / f"{part}.npz", **predictions)  # type: ignore[arg-type]
    return {"pooled": scores, "optimism": _optimism(members, scores)}


def _optimism(members: Sequence[Candidate], scores: Mapping[str, Any]) -> dict[str, Any]:
    """Score on `select` minus score on `test`: of the pool (exact lines), and of each member (objective)."""
    pooled = None
    if "select" in scores and "test" in scores:
        pooled = scores["select"]["exact"] - scores["test"]["exact"]
    alone = []
    for candidate in members:
        name = str(candidate.objective["name"])
        on_select = candidate.result["metrics"].get(name)
        on_test = (candidate.result.get("test_metrics") or {}).get(name.replace("val/", "test/", 1))
        known = on_select is not None and on_test is not None
        alone.append(on_select - on_test if known else None)
    return {"pooled_exact": pooled, "members": alone}


def _copy(run: Path, to: Path) -> None:
    to.mkdir(parents=True)
    for name in COPIED:
        shutil.copyfile(run / name, to / name)
    if (run / TRIAL).is_file():
        shutil.copyfile(run / TRIAL, to / TRIAL)


def _member(index: int, candidate: Candidate) -> Member:
    result = candidate.result
    return Member(
        path=f"{MEMBERS}/{index}",
        study=candidate.study,
        number=candidate.number,
        source=str(candidate.folder),
        objective=dict(candidate.objective),
        feasible=candidate.feasible,
        parameters=int(result.get("parameters") or 0),
        ms_per_window=result.get("ms_per_window"),
        seed=result.get("seed"),
        metrics=dict(result["metrics"]),
    )


def _weights(weighting: Weighting) -> dict[str, tuple[float, ...]]:
    heads = {**weighting.heads, "operation": weighting.shared}
    assert set(heads) == set(WEIGHTED) and set(weighting.heads) == set(HEADS)
    return {head: tuple(float(w) for w in weights) for head, weights in heads.items()}


def _members_note(
    options: Options, ranked: Sequence[Candidate], taken: Taken, skipped: Skipped
) -> dict[str, Any]:
    objective = taken.candidates[0].objective
    return {
        "part": "select",
        "how": f"feasible runs first, then by {objective['name']} ({objective['goal']})",
        "asked": options.k,
        "taken": [candidate.name for candidate in taken.candidates],
        "feasible": sum(candidate.feasible for candidate in taken.candidates),
        "of": len(ranked),
        "correlations": list(taken.correlations),
        "max_correlation": options.max_correlation,
        "skipped": skipped.to_json(),
    }


def _weights_note(options: Options, choice: Choice) -> dict[str, Any]:
    return {
        "part": "calibrate",
        "method": choice.weighting.method,
        "rule": options.rule,
        "reason": choice.reason,
        "folds": choice.folds,
        "candidates": [score.to_json() for score in choice.scores],
    }
