"""Which parameters matter: PED-ANOVA and fANOVA side by side, and surfaces of the top pairs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from tuner.claims.material import Study, Trial

Floats = NDArray[np.float64]

TREES = 32  # of a forest; more change the second digit only
MIN_TRIALS = 4
GRID = 16  # points a side of a surface


@dataclass(frozen=True)
class Importances:
    """Shares that sum to 1, by parameter; `reason` says why there are none."""

    ped_anova: Mapping[str, float]
    fanova: Mapping[str, float]
    reason: str = ""

    @property
    def names(self) -> list[str]:
        """The parameters, the most important first (mean of both)."""
        found = {*self.ped_anova, *self.fanova}
        return sorted(found, key=lambda n: (-self.ped_anova.get(n, 0) - self.fanova.get(n, 0), n))


@cache
def importances(study: Study) -> Importances:
    """Both importances of the parameters that all complete trials share.

    PED-ANOVA (Watanabe et al. 2023) asks what tells the better trials from the rest; fANOVA (Hutter et al.
    2014) what explains the variance over the whole space. Where they disagree, a parameter separates bad
    from middling trials, but not good ones.
    """
    complete = [t for t in study.ranked if t.value is not None]
    if len(complete) < MIN_TRIALS:
        return Importances(
            {}, {}, f"importances need {MIN_TRIALS} complete trials; there are {len(complete)}"
        )
    if len({t.value for t in complete}) == 1:
        return Importances({}, {}, "every complete trial has the same value, so no parameter matters")
    ped = optuna.importance.PedAnovaImportanceEvaluator()
    fanova = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=0)
    found = []
    for evaluator in (ped, fanova):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                values = optuna.importance.get_param_importances(
                    study.source, evaluator=evaluator, target=_first_objective
                )
            except (ValueError, RuntimeError):
                values = {}
        found.append({name: v for name, v in values.items() if math.isfinite(v)})
    if not any(found):
        return Importances({}, {}, "the complete trials share no parameter that varies")
    return Importances(found[0], found[1])


def _first_objective(trial: optuna.trial.FrozenTrial) -> float:
    return float(trial.values[0])


@dataclass(frozen=True)
class Encoded:
    """Trials as numbers. `columns[j]` is parameter `names[j]`; words are numbered in `words[name]`.

    An inactive conditional parameter takes -1 (words) or the least value (numbers).
    """

    names: tuple[str, ...]
    x: Floats
    words: Mapping[str, tuple[str, ...]]
    log: frozenset[str]


def encode(study: Study, trials: Sequence[Trial]) -> Encoded:
    """The searched parameters of `trials` that vary, as a (trials, parameters) array."""
    names, columns, words, logs = [], [], {}, set()
    for name in study.searched:
        values = [t.params.get(name) for t in trials]
        numbers = all(_is_number(v) for v in values if v is not None) and any(v is not None for v in values)
        if not numbers or (None in values and name not in _conditional(study)):
            kinds = tuple(sorted({word(v) for v in values}, key=_word_order))
            words[name] = kinds
            column = [float(kinds.index(word(v))) for v in values]
        else:
            least = min(float(v) for v in values if v is not None)
            column = [least if v is None else float(v) for v in values]
            if least > 0 and max(column) / least > 30:
                logs.add(name)
                column = [math.log10(v) for v in column]
        if len(set(column)) > 1:
            names.append(name)
            columns.append(column)
    x = np.array(columns, dtype=float).T if columns else np.empty((len(trials), 0))
    return Encoded(tuple(names), x, words, frozenset(logs))


def surface(study: Study, pair: tuple[str, str]) -> tuple[Encoded, Floats, Floats, Floats] | None:
    """The objective over two parameters, the others averaged over (a forest's partial dependence).

    Returns:
        the encoding, grids of the two parameters (encoded), and values `(len(ys), len(xs))`.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    trials = [t for t in study.ranked if t.value is not None]
    coded = encode(study, trials)
    if not set(pair) <= set(coded.names):
        return None
    y = np.array([t.value for t in trials])
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


def word(value: Any) -> str:
    """A parameter's value as a short word."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _word_order(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _conditional(study: Study) -> set[str]:
    return {p.name for p in study.file.space.searched if p.when}
