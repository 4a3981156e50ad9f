"""What a trial must fulfil besides a good objective, and what a study expects to find."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuner.definition import expressions

_FORM = re.compile(r"^\s*(?P<metric>[A-Za-z_][\w./-]*)\s*(?P<op>>=|<=|==|>|<)\s*(?P<bound>[-+.\deE]+)\s*$")


@dataclass(frozen=True)
class Constraint:
    """A bound on a logged metric: `command_acc >= 1.0`."""

    metric: str
    op: Literal[">=", "<=", ">", "<", "=="]
    bound: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Raises ValueError when `text` is not of the form `metric >= number`."""
        match = _FORM.match(text)
        try:
            assert match
            return cls(match["metric"], match["op"], float(match["bound"]))  # type: ignore[arg-type]
        except (AssertionError, ValueError):
            raise ValueError(
                f"expected a metric, a comparison and a number (command_acc >= 1.0), got {text!r}"
            ) from None

    def violation(self, metrics: Mapping[str, Any]) -> float:
        """How far `metrics` are from the bound: ≤ 0 fulfils it; infinite where it is missing or not finite.

        The metric is looked up by its name, then with the prefix `val/`.
        """
        value = metrics.get(self.metric, metrics.get(f"val/{self.metric}"))
        if not isinstance(value, int | float) or not math.isfinite(value):
            return math.inf
        if self.op == "==":
            return abs(value - self.bound)
        distance = self.bound - value if self.op[0] == ">" else value - self.bound
        # a strict bound is missed by the least amount when it is met exactly
        return distance if distance or len(self.op) == 2 else math.ulp(self.bound or 1.0)

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {self.bound:g}"


@dataclass(frozen=True)
class Hypothesis:
    """An expectation that the finished trials can confirm or refute.

    Trials whose configuration fulfils `where` are expected to beat those that fulfil `against` (by default:
    all others) in `metric` (by default the study's), by `gain` if given (in the metric's unit, least and
    most).
    """

    claim: str
    where: str
    against: str | None = None
    metric: str | None = None
    gain: tuple[float, float] | None = None

    def side(self, config: Mapping[str, Any]) -> Literal["where", "against"] | None:
        """The group that a trial with this (complete) configuration belongs to; None: neither."""
        try:
            if expressions.evaluate(self.where, config):
                return "where"
            if self.against is None or expressions.evaluate(self.against, config):
                return "against"
        except (expressions.Unknown, ValueError):
            return None
        return None
