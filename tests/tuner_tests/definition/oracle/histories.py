"""Random studies from a seed: the recorder asks `sweeps` about them, the test asks us."""

from __future__ import annotations

import math
import random
from typing import Any


def hyperband_case(seed: int) -> tuple[dict[str, Any], str, list[tuple[bool, list[float | None]]]]:
    """One study in the middle of its life.

    Returns:
        `early_terminate` settings, the metric's goal, and of each trial whether it is running and its values
        as they were logged (None: a row without the metric; some are not finite).
    """
    draw = random.Random(seed)
    settings: dict[str, Any] = {"type": "hyperband"}
    if draw.random() < 0.5:
        settings["min_iter"] = draw.randint(1, 6)
    else:
        settings["max_iter"] = draw.randint(4, 40)
        settings["s"] = draw.randint(1, 5)
    if draw.random() < 0.8:
        settings["eta"] = draw.choice([1.5, 2, 2.5, 3, 4])
    if draw.random() < 0.5:
        settings["strict"] = draw.random() < 0.5
    goal = draw.choice(["minimize", "maximize"])
    coarse = draw.random() < 0.3  # few different values: ties
    trials = []
    for _ in range(draw.randint(1, 14)):
        values: list[float | None] = []
        level = draw.gauss(0, 1)
        for _ in range(draw.randint(0, 30)):
            level += draw.gauss(-0.05, 0.3)
            value: float | None = round(level) if coarse else round(level, 4)
            if draw.random() < 0.06:
                value = draw.choice([None, math.nan, math.inf, -math.inf])
            values.append(value)
        trials.append((draw.random() < 0.7, values))
    return settings, goal, trials


def has_band(settings: dict[str, Any]) -> bool:
    """Whether W&B finds an epoch to compare at (with none it raises, and we refuse the file)."""
    return "max_iter" not in settings or settings["max_iter"] / settings.get("eta", 3) >= 1
