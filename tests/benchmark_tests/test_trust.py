"""benchmarks/bench_trust.py: tasks of outside results, simulated studies, and ways of choosing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon
from trust import simulation, tables, tasks, ways

CURVES = Path(__file__).resolve().parents[3] / "shared" / "data" / "curves"


def close(rng: np.random.Generator, count: int = 60, seeds: int = 5) -> tasks.Task:
    """Configurations that differ by little more than their seeds do."""
    truth = -np.sort(rng.exponential(1.0, count))
    values = truth[:, None] + rng.normal(0, 0.5, (count, seeds)) + rng.normal(0, 0.5, seeds)
    return tasks.Task("made/up", "score", values[np.argsort(-values.mean(axis=1))])


@pytest.fixture
def task() -> tasks.Task:
    return close(np.random.default_rng(0))


def algoperf(folder: Path) -> None:
    """Three configurations, two seeds, a loss; one seed of one diverged, one run of another is missing."""
    runs = [(0, 0, [0.9, 0.3]), (0, 1, [0.9, 0.5]), (1, 0, [0.2]), (1, 1, [np.nan]), (2, 0, [0.1])]
    lengths = [len(values) for _, _, values in runs]
    valid = np.array([v for _, _, values in runs for v in values], dtype=np.float32)
    (folder / "algoperf").mkdir()
    np.savez(
        folder / "algoperf" / "small.npz",
        run_start=np.cumsum([0, *lengths]), run_config=[c for c, _, _ in runs],
        run_study=[s for _, s, _ in runs], valid=valid, test=valid + 1,
        config_team=np.array(["other", "baseline", "baseline"]),
    )  # fmt: skip
    about = {"metric": "wer", "goal": "minimize", "configurations_with_5_studies": 40}
    (folder / "algoperf" / "index.json").write_text(json.dumps({"workloads": {"small": about}}))


def test_a_loss_changes_its_sign_and_a_diverged_run_has_learnt_nothing(tmp_path: Path) -> None:
    algoperf(tmp_path)
    (task,) = tasks.load(tmp_path, ("algoperf/small",))
    assert task.values == pytest.approx(np.array([[-0.3, -0.5], [-0.2, -1.0]]))
    assert task.test is not None and task.test[0] == pytest.approx([-1.0, -1.0])
    assert task.baseline == 1, "the one with a missing run is left out"


def test_fresh_runs_have_the_mean_and_the_spread_of_real_ones(task: tasks.Task) -> None:
    rng = np.random.default_rng(1)
    members = np.arange(10, 30)
    runs = task.fresh(members, rng.integers(5, size=8000), rng)
    assert runs.mean(axis=1) == pytest.approx(task.truth[members], abs=0.1)
    assert runs.std(axis=1).mean() == pytest.approx(task.values[members].std(axis=1, ddof=1).mean(), rel=0.1)


def test_a_round_keeps_what_its_seed_does_to_all(task: tasks.Task) -> None:
    rng = np.random.default_rng(2)
    of_seed = [task.fresh(np.arange(60), np.full(400, seed), rng).mean() for seed in range(5)]
    assert np.corrcoef(of_seed, task.values.mean(axis=0))[0, 1] > 0.99


def test_where_a_seed_may_diverge_the_others_are_no_better_for_it() -> None:
    rng = np.random.default_rng(3)
    values = 1 - np.sort(rng.uniform(0, 0.1, (50, 5)), axis=0)
    values[20, 3] = 0.0
    task = tasks.Task("made/up", "score", values[np.argsort(-values.mean(axis=1))])
    diverges = int(task.values.min(axis=1).argmin())
    runs = task.fresh(np.array([diverges]), rng.integers(5, size=500), rng)
    assert runs.max() <= task.values[diverges].max() + 1e-12 and runs.min() < 0.1


@pytest.mark.parametrize("gaps", [[-1.0, -2.0, 3.0, -4.5], [-1.0, -2.0, -3.0, -4.0, 0.5]])
def test_the_signed_rank_test_is_that_of_scipy(gaps: list[float]) -> None:
    expected = wilcoxon(gaps, alternative="less", zero_method="zsplit").pvalue
    assert ways.signed_rank(np.array(gaps)) == pytest.approx(expected)


def test_a_race_is_rarely_worse_than_the_default_and_the_best_score_often(task: tasks.Task) -> None:
    found = simulation.simulate(task, simulation.TEAM, 30).ways
    assert found[simulation.RACE].worse.mean() <= 0.1 < found[simulation.BEST].worse.mean()
    assert found[simulation.RACE].lost.mean() < found[simulation.BEST].lost.mean()
    assert found[simulation.BEST].over.mean() > found[simulation.RACE].over.mean()
    cross = found[simulation.CROSS].runs
    assert np.abs(cross - found[simulation.RACE].runs).max() <= 3, "as many runs"


@pytest.mark.slow
def test_tables_sum_tasks_up(task: tasks.Task) -> None:
    results = [simulation.simulate(task, simulation.TEAM, 4)]
    for table in (tables.ways, tables.intervals, tables.by_task):
        lines = table(results)
        assert len({line.count("|") for line in lines}) == 1 and len(lines) > 2
    stored = tables.stored("kept", results)
    assert {"trust.kept", "trust.by_task", "trust.worse_after_race"} <= set(stored)
    assert tables.units(stored)["trust.worse_after_race"] == "%"


def test_the_halves_are_all_outside_tasks_with_seeds() -> None:
    if not CURVES.is_dir():
        pytest.skip("needs the outside curves in ../shared/data/curves")
    assert not set(tasks.CHOOSING) & set(tasks.KEPT)
    assert set(tasks.CHOOSING + tasks.KEPT) >= set(tasks.available(CURVES))
    for task in tasks.load(CURVES, ("hpobench/car", "hpolib/naval_propulsion", "algoperf/ogbg")):
        assert np.isfinite(task.values).all() and (np.diff(task.truth) <= 0).all()
