"""Confirms a winner before the next study starts from it: a race of the best (claims/race.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from tuner.base.errors import InputError, WorkFailed
from tuner.claims import judge, race, retrain
from tuner.claims import material as materials
from tuner.claims.retrain import Candidate
from tuner.definition.study_file import StudyFile
from tuner.run import launch
from tuner.run.events import View
from tuner.run.request import Request
from tuner.stats.noise import Noise, pooled
from tuner.storage.access import open_records
from tuner.storage.attributes import CONFIRMED, DEFAULT, WHY
from tuner.storage.records import Records
from tuner.storage.study import OpenStudy, load_study
from tuner.workloads.registry import workload_of
from tuner.workloads.workload import Workload

FIRST_SEED = 1000  # higher than the seeds that studies search
SUFFIX = "confirm"


def runs(file: StudyFile) -> int:
    """How many retrainings a race has, about."""
    return (race.TOP + 1) * max(race.FIRST_ROUNDS, len(file.seeds)) + race.ROUNDS - race.FIRST_ROUNDS


def known_noise(file: StudyFile, records: Records) -> Noise:
    """The noise of a run by the races of the studies that this one builds on, where their metric is the same.

    A race without any noise counts for nothing: a metric that was at its limit may not stay there.
    """
    names, measured, metric = set(optuna.get_all_study_names(records)), [], file.metric
    while file.base.winner_of in names:
        names.remove(file.base.winner_of)
        study = load_study(records, file.base.winner_of)
        file = study.file
        noise = race.noise_of(CONFIRMED.of(study))
        if file.metric == metric and noise.deviation > 0:
            measured.append(noise)
    return pooled(measured)


def confirm(request: Request, make_view: Callable[[], View], say: Callable[[str], None]) -> None:
    """Retrains the best configurations and the default on other seeds, and stores which of them won.

    Raises:
        KeyboardInterrupt: the user stopped it.
        WorkFailed: no trial completed, or the retraining failed.
    """
    file, workload = request.study_file, workload_of(request.study_file)
    records = open_records(request.url, waits=True, say=say)
    study = load_study(records, file.name)
    if CONFIRMED.of(study.attrs):
        return
    entered, default = _candidates(study, request, workload)
    found, known = entered, known_noise(file, records)
    if not found:
        raise WorkFailed(f"{file.name}: no trial completed, so there is no winner to continue from")
    if len(found) == 1 and len(found[0].scores) > 1:  # nothing was chosen: its runs are the retrainings
        found = [replace(found[0], again=dict(enumerate(found[0].scores)))]
        _store(study, request.results, race.record(found, file, default=default), say)
        return
    seeds = [*file.seeds, *range(max(file.seeds) + 1, max(file.seeds) + 1 + race.ROUNDS)]
    first = max(race.first_rounds(known), len(file.seeds))
    most = max(race.ROUNDS, first)
    if not workload.reseeded(found[0].config, 1):  # nothing would differ in a second round
        first = most = 1
    points = {
        (i, k): {**one.config, **workload.reseeded(one.config, FIRST_SEED + seeds[k] * file.repeats.seeds)}
        for i, one in enumerate(found)
        for k in range(most)
    }
    while True:
        records.forget()  # a round more changes the study: old trials are written in its new terms
        found, tried = _with_results(entered, points, records, f"{file.name}.{SUFFIX}")
        entries = race.entries(found, file, default=default, first=first, most=most, tried=tried, known=known)
        if set(entries) <= tried:
            break
        again = retrain.study_of(file, [points[entry] for entry in entries], suffix=SUFFIX)
        asked = replace(request, study_file=again, base={}, trials=None, fresh=False)
        launch.run(asked, make_view()).check(again.name)
    _store(study, request.results, race.record(found, file, default=default, known=known), say)


def _store(study: OpenStudy, results: Path, result: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Stores the result of a race with the study, and says it."""
    study.set_user_attr(CONFIRMED, result)
    read = materials.read_study(study, results)
    say(" ".join([f"{study.study_name}: {judge.of_study(read).sentence}", *judge.after_race(read)]))


def _candidates(study: OpenStudy, request: Request, workload: Workload) -> tuple[list[Candidate], int | None]:
    """The best configurations, and the place of the default among them (added if it is not)."""
    file = request.study_file
    known = retrain.candidates(study, file, request.results)
    found = known[: race.TOP]
    trials = study.get_trials(deepcopy=False)
    tried = next((t.number for t in trials if WHY.of(t) == DEFAULT), None)
    with_default = [i for i, c in enumerate(known) if c.number == tried]
    plain, seed = _plain(study, file, workload), file.seed or "seed"
    if not with_default and plain is not None:
        with_default = [i for i, c in enumerate(known) if _exactly(c.config, seed) == _exactly(plain, seed)]
    if with_default:
        if with_default[0] >= len(found):
            found.append(known[with_default[0]])
        return found, min(with_default[0], len(found) - 1)
    if plain is None or not found:
        return found, None
    return [*found, Candidate(-1, plain, (), 0.0)], len(found)


def _plain(study: OpenStudy, file: StudyFile, workload: Workload) -> dict[str, Any] | None:
    """The configuration of a run without the study; None if it is not known."""
    try:
        defaults = workload.defaults()
    except InputError:  # the code that ran is not here any more
        return None
    if defaults is None:
        return None
    origin = study.origin
    whole = {} if file.max_epochs is None else workload.whole_trial(file.max_epochs)
    plain = {**defaults, **(origin.get("base") or {}), **whole, **(origin.get("overrides") or {})}
    return None if file.space.violated(plain) else plain


def _with_results(
    found: Sequence[Candidate],
    points: Mapping[tuple[int, int], Mapping[str, Any]],
    records: Records,
    name: str,
) -> tuple[list[Candidate], set[tuple[int, int]]]:
    """The candidates with the results of the race so far, and the runs that have ended.

    A run is found by its configuration, because later rounds add points to the study.
    """
    if name not in optuna.get_all_study_names(records):
        return list(found), set()
    study = load_study(records, name)
    ended = {
        _exactly(study.file.space.config_of(trial.params)): trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    }
    tried = {entry: ended[key] for entry, point in points.items() if (key := _exactly(point)) in ended}
    return retrain.with_results(found, tried), set(tried)


def _exactly(config: Mapping[str, Any], but: str | None = None) -> str:
    return json.dumps({k: v for k, v in config.items() if k != but}, sort_keys=True, default=str)
