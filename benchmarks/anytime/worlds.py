"""What tuners search in the comparison: a space, and a learning curve for each of its configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from small_worlds import DEFAULTS
from surrogate import Surrogate, half_of

from model.config import Config
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.search.freeze_thaw import Curve

FOLDER = Path(__file__).parents[1] / "data"
NAMES = {
    "curves": "our model, accuracy",
    "digits": "a small network on digits, accuracy",
    "boosting": "gradient boosting, log loss",
}
EARLIER = 30  # runs of an earlier study
LENGTHS = 24  # full runs that a study may spend


@dataclass(frozen=True)
class World:
    """One side of a random split of a world's recorded runs.

    Attributes:
        default: the Optuna parameters of a configuration that people take who have tuned nothing.
        runs: on this side. others: the runs on the other side.
        sign: -1 where the metric is a loss. Tuners are compared on values of which larger ones are better.
    """

    name: str
    study: StudyFile
    default: dict[str, Any]
    surrogate: Surrogate
    runs: list[dict[str, Any]]
    others: list[dict[str, Any]]
    sign: float

    @classmethod
    def of(cls, name: str, side: str, split: int, *, trees: int = 200) -> World:
        study = load_study_file(FOLDER / f"{name}.yaml")
        recorded = json.loads((FOLDER / f"{name}.json").read_text())
        runs, others = (
            half_of(recorded, half, split) for half in (side, "choose" if side == "report" else "report")
        )
        config = DEFAULTS[name] if name in DEFAULTS else Config().to_dict()
        return cls(
            name,
            study,
            study.space.params_for(config, nearest=True),
            Surrogate(study.space.distributions(), runs, trees=trees),
            runs,
            others,
            1.0 if study.metric.goal == "maximize" else -1.0,
        )

    @property
    def space(self) -> list[dict[str, Any]]:
        return self.surrogate.space

    @property
    def epochs(self) -> int:
        return self.surrogate.epochs

    @property
    def budget(self) -> int:
        """Epochs of a study."""
        return LENGTHS * self.epochs

    def earlier(self, seed: int, *, misleading: bool = False) -> list[Curve]:
        """EARLIER runs of the other side. A misleading study calls the best values the worst."""
        picked = np.random.default_rng(seed).choice(len(self.others), EARLIER, replace=False)
        runs = [self.others[place] for place in picked]
        values = np.array([run["values"] for run in runs])
        if misleading:
            values = values.max() + values.min() - values
        distributions = self.study.space.distributions()
        return [
            Curve(
                number,
                {name: run["params"][name] for name in distributions},
                dict(enumerate(row.tolist(), start=1)),
                "ended",
            )
            for number, (run, row) in enumerate(zip(runs, values, strict=True))
        ]

    def curve(self, params: Mapping[str, Any]) -> list[float]:
        """Values after each epoch, larger is better."""
        return [self.sign * value for value in self.surrogate.curve(params)]
