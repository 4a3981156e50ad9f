"""Parameter importances (PED-ANOVA and fANOVA), and surfaces of the most important pairs."""

from __future__ import annotations

import functools
import importlib.util
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import optuna

from tuner.claims.encoding import Encoded, Floats, encode
from tuner.claims.material import Study

TOP = 4  # parameters that have charts of their own
TREES = 32  # in a forest; more trees change only the second digit
MIN_TRIALS = 4
GRID = 16  # points a side of a surface
DIFFER = 0.2  # shares further apart are a disagreement
PED_ANOVA, FANOVA = "PED-ANOVA", "fANOVA"
MEANING = {
    PED_ANOVA: "what distinguishes the best trials from the rest",
    FANOVA: "what explains the variance over the whole space",
}
NO_FOREST = "needs scikit-learn, which is not installed: pip install scikit-learn"


@dataclass(frozen=True)
class Importances:
    """Shares that sum to 1, by parameter.

    Attributes:
        reason: why there are none.
        left_out: a sentence about what is not shown; "" where everything is.
    """

    ped_anova: Mapping[str, float]
    fanova: Mapping[str, float]
    reason: str = ""
    left_out: str = ""

    @property
    def first(self) -> tuple[str, Mapping[str, float]]:
        """The measure to go by, which is Optuna's default too, and its shares."""
        return (PED_ANOVA, self.ped_anova) if self.ped_anova else (FANOVA, self.fanova)

    @property
    def names(self) -> list[str]:
        """The parameters, the most important first."""
        shares = self.first[1]
        found = {*self.ped_anova, *self.fanova}
        return sorted(found, key=lambda n: (-shares.get(n, 0), -self.fanova.get(n, 0), n))

    @property
    def compared(self) -> str:
        """A sentence about whether both measures agree; "" if there is only one."""
        if not (self.ped_anova and self.fanova):
            return ""
        both = [(n, self.ped_anova.get(n, 0.0), self.fanova.get(n, 0.0)) for n in self.names]
        other = f"{FANOVA} ({MEANING[FANOVA]})"
        apart = [f"{n} {b:.2f} in place of {a:.2f}" for n, a, b in both if abs(a - b) > DIFFER]
        if not apart:
            return f"{other} agrees within {DIFFER:g}."
        return f"{other} disagrees: {', '.join(apart)}."


def has_forest() -> bool:
    """Whether scikit-learn is here, whose forests fANOVA and the surfaces rest on."""
    return importlib.util.find_spec("sklearn") is not None


@functools.lru_cache(maxsize=16)
def importances(study: Study) -> Importances:
    """Both importances of the parameters that all complete trials have; computed once for a study.

    PED-ANOVA (Watanabe et al. 2023): parameters that distinguish the best trials from the rest. fANOVA
    (Hutter et al. 2014): parameters that explain the variance over the whole space. A parameter that is
    important only for fANOVA separates bad trials from average ones, but does not help good ones.
    """
    complete = len(study.ranked)
    if complete < MIN_TRIALS:
        return Importances({}, {}, f"importances need {MIN_TRIALS} complete trials; there are {complete}")
    if len({t.value for t in study.ranked}) == 1:
        return Importances({}, {}, "every complete trial has the same value, so no parameter matters")
    forest = has_forest()
    ped_anova = _shares(study, optuna.importance.PedAnovaImportanceEvaluator())
    fanova = (
        _shares(study, optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=0)) if forest else {}
    )
    if not (ped_anova or fanova):
        return Importances({}, {}, "the complete trials share no parameter that varies")
    return Importances(ped_anova, fanova, left_out="" if forest else f"fANOVA {NO_FOREST}")


def _shares(study: Study, evaluator: optuna.importance.BaseImportanceEvaluator) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            values = optuna.importance.get_param_importances(
                study.source, evaluator=evaluator, target=lambda trial: float(trial.values[0])
            )
        except (ValueError, RuntimeError):
            return {}
    return {name: v for name, v in values.items() if math.isfinite(v)}


def by_importance(study: Study, coded: Encoded) -> list[str]:
    """The parameters that vary, the most important first if that is known."""
    order = [n for n in importances(study).names if n in coded.names]
    return order + [n for n in coded.names if n not in order]


def surface(study: Study, pair: tuple[str, str]) -> tuple[Encoded, Floats, Floats, Floats]:
    """The objective over two parameters that vary, as a random forest averages it over the others.

    Needs scikit-learn (`has_forest`).

    Returns:
        the encoding, the grids of both parameters (encoded), and the values `(len(ys), len(xs))`.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    coded = encode(study, study.ranked)
    y = np.array([t.value for t in study.ranked])
    forest = ExtraTreesRegressor(TREES, min_samples_leaf=2, random_state=0).fit(coded.x, y)
    i, j = (coded.names.index(name) for name in pair)
    xs, ys = (_grid(coded, k) for k in (i, j))
    context = coded.x[:: max(1, len(coded.x) // 24)]
    points = np.repeat(context[None], len(xs) * len(ys), axis=0)  # (grid, context, parameter)
    points[:, :, i] = np.tile(xs, len(ys))[:, None]
    points[:, :, j] = np.repeat(ys, len(xs))[:, None]
    z = forest.predict(points.reshape(-1, coded.x.shape[1])).reshape(len(ys), len(xs), -1).mean(axis=2)
    return coded, xs, ys, z


def _grid(coded: Encoded, k: int) -> Floats:
    column, name = coded.x[:, k], coded.names[k]
    if name in coded.words or len(np.unique(column)) <= GRID // 2:
        return np.unique(column)
    return np.linspace(column.min(), column.max(), GRID)
