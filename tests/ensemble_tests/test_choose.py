"""Which weighting is chosen, and the interval that decides it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ensemble.candidates import find
from ensemble.choose import Interval, Score, choose, cross_validate, over_recordings
from ensemble.select import take
from ensemble.tables import Tables
from ensemble.weights import METHODS
from tuner.base.errors import InputError

MakeRuns = Callable[..., list[Path]]


def tables_of(results: Path) -> Tables:
    ranked, skipped = find(results)
    taken = take(ranked, k=10, skipped=skipped)
    return Tables.of(taken.layout, taken.log_p)


def test_auto_keeps_uniform_among_equals(make_runs: MakeRuns, results: Path) -> None:
    make_runs(4, skill=4.0)
    choice = choose(tables_of(results), methods=("single", "uniform", "em", "em_shrunk", "greedy"))
    assert choice.weighting.method == "uniform"
    assert "significantly better" in choice.reason


def test_auto_leaves_uniform_where_members_are_worthless(make_runs: MakeRuns, results: Path) -> None:
    make_runs(1, skill=6.0)
    make_runs(4, first=1, skill=0.2)
    choice = choose(tables_of(results))
    assert choice.weighting.method != "uniform"
    assert choice.weighting.heads["param_value"].argmax() == 0
    assert choice.score_of(choice.weighting.method).beats_uniform


def test_rules_given_by_the_user_hold(make_runs: MakeRuns, results: Path) -> None:
    make_runs(3)
    tables = tables_of(results)
    assert choose(tables, rule="uniform").weighting.method == "uniform"
    assert choose(tables, rule="learned").weighting.method != "uniform"
    with pytest.raises(InputError, match="auto, uniform, learned"):
        choose(tables, rule="best")  # type: ignore[arg-type]


def test_every_method_is_scored_on_recordings_it_was_not_fitted_to(
    make_runs: MakeRuns, results: Path
) -> None:
    make_runs(3)
    tables = tables_of(results)
    by_hand = np.zeros(len(tables.windows))
    for recording in np.unique(tables.recordings):  # 6 recordings in 5 folds: 0 and 5 share one
        fold = tables.recordings % 5 == recording % 5
        weighting = METHODS["em"](tables.subset(np.flatnonzero(~fold)))
        by_hand[fold] = tables.subset(np.flatnonzero(fold)).exact(weighting.heads, pooling="mixture")
    score = cross_validate(tables, ["uniform", "em"])[1]
    assert score.exact.mean == pytest.approx(by_hand.mean())


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    recordings = np.repeat(np.arange(16), 20)
    hits = 0
    for _ in range(400):
        values = generator.normal(size=16)[recordings] + generator.normal(size=len(recordings))
        interval = over_recordings(values, recordings)
        hits += interval.low <= 0 <= interval.high
    assert 0.92 <= hits / 400 <= 0.98


def test_one_recording_gives_no_interval() -> None:
    interval = over_recordings(np.array([1.0, 0.0]), np.array([3, 3]))
    assert interval.within(0, 1) == interval, "one recording has no interval to cut"
    assert interval.mean == 0.5 and interval.to_json() == {"mean": 0.5, "low": None, "high": None}


def test_one_recording_keeps_uniform(make_runs: MakeRuns, results: Path, synthetic: ModuleType) -> None:
    make_runs(1, skill=6.0, size=synthetic.Size(recordings=1))
    make_runs(2, first=1, skill=0.2, size=synthetic.Size(recordings=1))
    assert choose(tables_of(results)).weighting.method == "uniform"


def score(exact: tuple[float, float], nll: tuple[float, float]) -> Score:
    zero = Interval(0, 0, 0)
    return Score("em", zero, zero, Interval(exact[0], exact[1], 9), Interval(nll[0], nll[1], 9))


def test_likelihood_alone_decides_only_when_no_lines_are_lost() -> None:
    assert score((0.02, 0.01), (-0.1, -0.2)).beats_uniform
    assert score((0.0, -0.01), (0.1, 0.05)).beats_uniform
    assert not score((-0.01, -0.02), (0.1, 0.05)).beats_uniform
    assert not score((0.02, -0.01), (0.1, -0.05)).beats_uniform


def test_an_interval_of_a_share_does_not_leave_0_to_100_percent() -> None:
    interval = over_recordings(np.array([1.0, 1.0, 0.0, 1.0]), np.array([0, 0, 1, 1]))
    assert interval.low < 0 and interval.high > 1
    assert interval.within(0, 1) == Interval(0.75, 0, 1)
