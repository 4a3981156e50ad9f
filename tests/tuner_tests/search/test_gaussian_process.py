"""The sampler gp; what it shares with the others is in test_samplers.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from tuner.definition.loading import load_study_file
from tuner.search import gaussian_process, samplers
from tuner.search.freeze_thaw.process import Hyperparameters, Pairs, Points, Process, fit
from tuner.search.points.cube import Cube

optuna.logging.set_verbosity(optuna.logging.ERROR)
SQUARE = "{x: {min: 0.0, max: 1.0}, y: {min: 0.0, max: 1.0}}"
Study = Callable[..., Any]


@pytest.fixture
def study_of(tmp_path: Path) -> Study:
    def study_of(
        parameters: str = SQUARE, *, goals: tuple[str, ...] = ("minimize",), own: str = "", seed: int = 0
    ) -> Any:
        """An Optuna study with the sampler gp, and the space."""
        path = tmp_path / "gp.yaml"
        path.write_text(
            f"method: bayes\nprogram: t.py\nmetric: {{name: loss, goal: minimize}}\n"
            f"parameters: {parameters}\ntuner: {{sampler: gp{own}}}\n"
        )
        file = load_study_file(path)
        return optuna.create_study(directions=list(goals), sampler=samplers.make(file, seed)), file.space

    return study_of


def search(study: optuna.Study, space: Any, of: Callable[[Mapping[str, Any]], Any], trials: int) -> None:
    for _ in range(trials):
        trial = study.ask()
        config = space.suggest(trial)
        study.tell(trial, of(config))


@pytest.mark.parametrize("choices", [False, True])
@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_it_finds_the_best_values_within_a_few_trials(study_of: Study, goal: str, choices: bool) -> None:
    kind = ", kind: {values: [a, b, c]}" if choices else ""
    study, space = study_of(SQUARE.replace("}}", "}" + kind + "}"), goals=(goal,))
    sign = 1.0 if goal == "minimize" else -1.0

    def value(config: Mapping[str, Any]) -> float:
        far = (config["x"] - 0.3) ** 2 + (config["y"] - 1.0) ** 2
        return sign * (far + 0.1 * (config.get("kind", "b") != "b"))

    search(study, space, value, 30)
    assert sign * study.best_value < 1e-3


def test_running_trials_are_not_proposed_again(study_of: Study) -> None:
    study, space = study_of()
    search(study, space, lambda c: math.sin(9 * c["x"]) + math.sin(7 * c["y"]), 12)
    running = [space.suggest(study.ask()) for _ in range(4)]
    points = np.array([[config["x"], config["y"]] for config in running])
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert apart[~np.eye(4, dtype=bool)].min() > 1e-3


@pytest.mark.slow
def test_what_is_proposed_meets_the_constraints(study_of: Study) -> None:
    late = []
    for seed in range(3):
        study, space = study_of(seed=seed)
        met = []
        for _ in range(30):
            trial = study.ask()
            config = space.suggest(trial)
            trial.set_constraint("x >= 0.5", 0.5 - config["x"])
            met.append(config["x"] >= 0.5)
            study.tell(trial, config["x"] + config["y"])
        late += met[15:]
    assert sum(late) >= 30
    found = [t.values[0] for t, fine in zip(study.trials, met, strict=True) if fine]
    assert min(found) < 0.55


def test_several_objectives_are_weighed_anew(study_of: Study) -> None:
    """The best trials lie at x = y between 0 and 1, and some of them near either end."""
    study, space = study_of(goals=("minimize", "maximize"))
    search(study, space, lambda c: (c["x"] + abs(c["x"] - c["y"]), c["y"] - abs(c["x"] - c["y"])), 30)
    found = np.array([[t.params["x"], t.params["y"]] for t in study.trials[12:]])
    assert np.median(np.abs(found[:, 0] - found[:, 1])) < 0.1
    assert found.min() < 0.1 and found.max() > 0.9


def test_a_fixed_parameter_is_kept_and_the_others_suit_it(study_of: Study) -> None:
    study, space = study_of()
    search(study, space, lambda c: (c["x"] - 0.5) ** 2 + (c["y"] - 0.9) ** 2, 12)
    study.enqueue_trial({"x": 0.5})
    config = space.suggest(study.ask())
    assert config["x"] == 0.5 and abs(config["y"] - 0.9) < 0.1


@pytest.mark.parametrize("worst", [float("inf"), 1e300])
def test_infinite_values_do_not_stop_it(study_of: Study, worst: float) -> None:
    study, space = study_of()
    search(study, space, lambda c: worst if c["x"] > 0.5 else c["x"], 20)
    assert study.best_value < 0.05


@pytest.mark.parametrize("gains", [False, True])
def test_the_gradient_is_that_of_the_score(gains: bool) -> None:
    axes = {"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1), "c": CategoricalDistribution([1, 2])}
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.random((20, 2)), rng.integers(0, 2, 20)])
    rows[3, 1] = np.nan  # a conditional parameter that this trial did not have
    cube, targets = Cube(axes), rng.normal(size=20)
    points = Points(np.arange(20), np.zeros(20))
    pairs = Pairs(cube.distances(rows, rows), np.zeros((20, 20)), (np.zeros((20, 0)),) * 2)
    process = Process.of(points, pairs, targets, fit(points, pairs, targets, Hyperparameters.median(3)))
    surface = gaussian_process.TargetModel(cube, rows, process, 1.0, gains)
    at = np.array([0.3, 0.4, 1.0])
    value, gradient = surface.slope(at)
    assert value == pytest.approx(surface.score(at[None])[0])
    for place, slope in ((0, gradient[0]), (1, gradient[1])):
        step = np.eye(3)[place] * 1e-5
        low, high = surface.score(np.stack([at - step, at + step]))
        assert slope == pytest.approx((high - low) / 2e-5, rel=1e-4)
    assert gradient[2] == 0.0


@pytest.mark.parametrize("u", [-40.0, -2.0, -1.0, 0.0, 3.0])
def test_the_expected_gain_agrees_with_its_integral(u: float) -> None:
    from scipy.integrate import quad

    density: Callable[[float], float] = lambda z: (u + z) * np.exp(-0.5 * (z * z - u * u))  # noqa: E731
    whole = quad(density, -u, -u + 40.0, points=[max(-u, 0.0)])[0] / np.sqrt(2 * np.pi)
    assert gaussian_process.log_gain(np.array(u)) == pytest.approx(np.log(whole) - 0.5 * u * u, rel=1e-6)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_long_study_is_modelled_by_its_best_and_latest_trials(direction: str) -> None:
    study = optuna.create_study(direction=direction)
    count = 3 * gaussian_process.MOST_MODELLED
    for number in range(count):
        study.add_trial(create_trial(state=TrialState.COMPLETE, value=float(number % 150)))
    kept = gaussian_process.best_and_latest(study.get_trials(), study.directions)
    half = gaussian_process.MOST_MODELLED // 2
    numbers = [trial.number for trial in kept]
    best = (0, 150) if direction == "minimize" else (149, 299)
    assert numbers == sorted(numbers) and {*best} <= set(numbers)
    assert set(range(count - half, count)) <= set(numbers) and len(kept) <= gaussian_process.MOST_MODELLED
