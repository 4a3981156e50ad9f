"""Curves as the model sees them: values at rungs, on the scale of the targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from tuner.search.freeze_thaw.curves import Curve, next_rung
from tuner.search.freeze_thaw.process import Points
from tuner.search.freeze_thaw.targets import Targets

MOST_VALUES = 120  # that the model holds, so that a choice stays fast: the best trials' and the latest

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Data:
    """A study's curves as the model sees them.

    Attributes:
        points, targets: values at rungs; where a trial that does not run stopped between two, that as well.
        pending: where running trials will be.
        best: the target of the best value.
        seen: values in all, also those that are left out for speed.
    """

    curves: list[Curve]
    points: Points
    targets: Array
    pending: Points
    scale: Targets
    best: float
    seen: int

    @classmethod
    def of(
        cls, curves: Sequence[Curve], rungs: Sequence[int], *, maximize: bool, most: int = MOST_VALUES
    ) -> Data | None:
        """None while there is no finite value, or none at a rung."""
        finite = [v for curve in curves for v in curve.values.values() if math.isfinite(v)]
        if not finite:
            return None
        worst, best = (min(finite), max(finite)) if maximize else (max(finite), min(finite))
        at = {curve.number: _at_rungs(curve, rungs, worst) for curve in curves}
        kept = _kept(curves, at, most, sign=1.0 if maximize else -1.0)
        rows = [row for row, curve in enumerate(kept) for _ in at[curve.number]]
        known = [pair for curve in kept for pair in at[curve.number].items()]
        if not known:
            return None
        epochs, values = zip(*known, strict=True)
        scale = Targets.of(np.array([v for each in at.values() for v in each.values()]), maximize=maximize)
        sent = [(row, curve) for row, curve in enumerate(kept) if curve.state == "running"]
        ahead = [curve.until or next_rung(rungs, curve.done) for _, curve in sent]
        return cls(
            kept,
            Points(np.array(rows), np.log(epochs)),
            scale.to(np.array(values)),
            Points(np.array([row for row, _ in sent], dtype=int), np.log(ahead)),
            scale,
            float(scale.to(np.array([best]))[0]),
            sum(map(len, at.values())),
        )


def _at_rungs(curve: Curve, rungs: Sequence[int], worst: float) -> dict[int, float]:
    """The values that the model is told of. What is not a number counts as the worst value of the study."""
    done = curve.done
    found = {rung: curve.values[rung] for rung in takewhile(done.__ge__, rungs) if rung in curve.values}
    if done and done not in found and curve.state != "running":
        found[done] = curve.values[done]
    if curve.state == "ended" and not done:  # it failed before its first report
        found[rungs[0]] = worst
    return {epoch: value if math.isfinite(value) else worst for epoch, value in found.items()}


def _kept(
    curves: Sequence[Curve], at: Mapping[int, Mapping[int, float]], most: int, *, sign: float
) -> list[Curve]:
    """All curves while they have few values; then what runs, the best, and the latest of the others."""
    if sum(map(len, at.values())) <= most:
        return list(curves)
    kept = {curve.number for curve in curves if curve.state == "running"}
    by_value = sorted(
        (curve for curve in curves if at[curve.number]),
        key=lambda curve: -max(sign * value for value in at[curve.number].values()),
    )
    for order, share in ((by_value, 0.6), (sorted(curves, key=lambda curve: -curve.number), 1.0)):
        size = sum(len(at[number]) for number in kept)
        for curve in order:
            if curve.number in kept:
                continue
            size += len(at[curve.number])
            if size > share * most:
                break
            kept.add(curve.number)
    return [curve for curve in curves if curve.number in kept]
