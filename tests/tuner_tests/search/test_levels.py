"""Points of a grid are pruned before they run when the value of a parameter cannot win any more."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial

from tuner.__main__ import main
from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.search.levels import cannot_win
from tuner.storage.optuna_private import CONSTRAINT

optuna.logging.set_verbosity(optuna.logging.ERROR)
Point = tuple[int, int]  # digits, seed
GRID = """
name: grid
method: grid
metric: {name: score, goal: GOAL}
parameters: {digits: {values: [3, 1, 2]}, seed: {values: [0, 1, 2, 3]}}
tuner: {objective: "objective.py:train", stop: {levels: {digits: 0.95}}}
"""


@pytest.fixture
def grid(tmp_path: Path) -> Callable[..., StudyFile]:
    def make(goal: str = "maximize", old: str = "", new: str = "") -> StudyFile:
        path = tmp_path / "grid.yaml"
        path.write_text(GRID.replace("GOAL", goal).replace(old, new))
        return load_study_file(path)

    return make


def trials_of(values: Mapping[Point, float], *, infeasible: int | None = None) -> list:
    study = optuna.create_study()
    choice = {name: CategoricalDistribution([0, 1, 2, 3]) for name in ("digits", "seed")}
    for (digits, seed), value in values.items():
        attributes = {f"{CONSTRAINT}c": 1.0} if digits == infeasible else {}
        params = {"digits": digits, "seed": seed}
        trial = create_trial(value=value, params=params, distributions=choice, system_attrs=attributes)
        study.add_trial(trial)
    return study.get_trials()


CLEAR = {(3, 0): 0.8, (3, 1): 0.82, (3, 2): 0.81, (1, 0): 0.3, (1, 1): 0.33, (1, 2): 0.31}


def test_a_value_far_behind_at_equal_points_is_cannot_win(grid: Callable[..., StudyFile]) -> None:
    found = cannot_win(trials_of(CLEAR), {"digits": 1, "seed": 3}, grid())
    assert found is not None and found.startswith(
        "not run: digits 1 is worse than 3 by 0.497 at 3 equal points"
    )
    assert "0.468 or more at the next one (95% sure)" in found  # scipy.stats.t: 0.4967 − 4.303·0.00577·√(4/3)


def test_the_noise_is_measured_with_all_values_of_the_parameter(grid: Callable[..., StudyFile]) -> None:
    values = {(3, 0): 0.8, (3, 1): 0.82, (1, 0): 0.3, (1, 1): 0.33, (2, 0): 0.6, (2, 1): 0.61}
    assert cannot_win(trials_of(values), {"digits": 1, "seed": 3}, grid()) is None  # two degrees of freedom
    found = cannot_win(trials_of({**values, (0, 0): 0.1, (0, 1): 0.12}), {"digits": 1, "seed": 3}, grid())
    # numpy.linalg.lstsq: noise 0.00577 with 3 degrees of freedom; that of the pair is 0.00707 a gap
    assert found is not None and "worse than 3 by 0.495 at 2 equal points, and by 0.463 or more" in found


def test_a_pair_that_varies_more_than_the_others_is_judged_by_itself(grid: Callable[..., StudyFile]) -> None:
    quiet = {(0, seed): 0.01 * seed for seed in range(3)} | {
        (2, seed): 0.1 + 0.01 * seed for seed in range(3)
    }
    noisy = {(3, 0): 0.8, (3, 1): 0.7, (3, 2): 0.75, (1, 0): 0.6, (1, 1): 0.65, (1, 2): 0.55}
    assert cannot_win(trials_of({**quiet, **noisy}), {"digits": 1, "seed": 3}, grid()) is None


@pytest.mark.parametrize(
    ("values", "digits"),
    [
        (CLEAR, 3),  # the better one itself
        (CLEAR, 2),  # nothing is known of it
        ({(3, 0): 0.8, (3, 1): 0.8, (1, 0): 0.3, (1, 1): 0.3}, 1),  # two pairs say too little
        ({(3, 0): 0.8, (3, 1): 0.8, (1, 2): 0.1, (1, 3): 0.1}, 1),  # no equal points
        ({(3, 0): 0.8, (3, 1): 0.6, (3, 2): 0.7, (1, 0): 0.5, (1, 1): 0.59, (1, 2): 0.69}, 1),  # noise
    ],
)
def test_everything_else_may_win(
    grid: Callable[..., StudyFile], values: dict[Point, float], digits: int
) -> None:
    assert cannot_win(trials_of(values), {"digits": digits, "seed": 3}, grid()) is None


def test_of_a_loss_the_larger_value_is_cannot_win(grid: Callable[..., StudyFile]) -> None:
    assert cannot_win(trials_of(CLEAR), {"digits": 3, "seed": 3}, grid("minimize")) is not None
    assert cannot_win(trials_of(CLEAR), {"digits": 1, "seed": 3}, grid("minimize")) is None


def test_a_value_that_misses_constraints_beats_none_that_meets_them(grid: Callable[..., StudyFile]) -> None:
    assert cannot_win(trials_of(CLEAR, infeasible=3), {"digits": 1, "seed": 3}, grid()) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{digits: 0.95}", "{digit: 0.95}", "did you mean 'digits'"),
        ("{digits: 0.95}", "{digits: 95}", r"level of confidence such as 0\.99, got 95"),
        ("method: grid", "method: random\nrun_cap: 3", "is for method grid, got random"),
    ],
)
def test_the_key_is_checked(grid: Callable[..., StudyFile], old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        grid(old=old, new=new)


def test_a_study_counts_points_that_were_not_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "objective.py").write_text(
        "def train(config):\n"
        "    return {'score': config['digits'] / 4 + 0.001 * config['seed'] ** config['digits']}\n"
    )
    (tmp_path / "grid.yaml").write_text(GRID.replace("GOAL", "maximize"))
    results = ["--results", str(tmp_path / "results")]
    words = ["study", str(tmp_path / "grid.yaml"), "--agents", "1", "--wandb", "off", "--json", *results]
    for _ in range(2):  # it is done when it is called again
        assert main(words) == 0
        end = json.loads(capfd.readouterr().out)
        assert (end["complete"], end["pruned"], end["reason"]) == (9, 3, "all 12 points tried")
    assert main(["status", "--json", *results]) == 0
    assert '"pruned": 3' in capfd.readouterr().out
