"""Constraints on the metrics of a trial, and hypotheses about the result of a study."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuner.definition import expressions
from tuner.definition.yaml_source import YamlPart

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
        """By how much `metrics` miss the bound: ≤ 0 if they meet it, infinite if the metric is missing.

        A metric that is not finite counts as missing. Looks for the metric's name, then for `val/` + name.
        """
        value = metrics.get(self.metric, metrics.get(f"val/{self.metric}"))
        if not isinstance(value, int | float) or not math.isfinite(value):
            return math.inf
        if self.op == "==":
            return abs(value - self.bound)
        distance = self.bound - value if self.op[0] == ">" else value - self.bound
        # a value equal to a strict bound misses it by the smallest possible amount
        return distance if distance or len(self.op) == 2 else math.ulp(self.bound or 1.0)

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {self.bound:g}"


@dataclass(frozen=True)
class Hypothesis:
    """An expectation about the result of a study, which trials can bear out or not.

    The claim: trials that fulfil `where` beat trials that fulfil `against`.

    Attributes:
        against: None: all trials that do not fulfil `where`.
        metric: None: the study's metric.
        gain: smallest and largest expected improvement, in the metric's unit. A range that includes 0 claims
            that nothing is gained; an infinite upper end, that nothing is lost.
        matters: the largest difference that does not matter, in that unit; None: the noise between seeds.
    """

    claim: str
    where: str
    against: str | None = None
    metric: str | None = None
    gain: tuple[float, float] | None = None
    matters: float | None = None

    def side(self, config: Mapping[str, Any]) -> Literal["where", "against"] | None:
        """The group of a trial with this (complete) configuration; None if it is in neither group."""
        try:
            if expressions.evaluate(self.where, config):
                return "where"
            if self.against is None or expressions.evaluate(self.against, config):
                return "against"
        except (expressions.Unknown, ValueError):
            return None
        return None


def read_hypotheses(own: YamlPart, key: str) -> tuple[Hypothesis, ...]:
    """The claims of a study. `matters` of the study holds for each claim that has none of its own."""
    matters = read_matters(own)
    return tuple(_hypothesis(section, matters) for section in own.sections(key))


def _hypothesis(section: YamlPart, matters: float | None) -> Hypothesis:
    section.only([field.name for field in dataclasses.fields(Hypothesis)], "key")
    for key in ("claim", "where"):
        if not section.text(key):
            section.fail(key, "missing; a hypothesis needs 'claim' (a sentence) and 'where' (an expression)")
    for key in ("where", "against"):
        text = section.text(key)
        try:
            if text is not None:
                expressions.parse(text)
        except ValueError as error:
            section.fail(key, str(error))
    texts = {key: section.text(key) for key in ("claim", "where", "against", "metric")}
    own = read_matters(section)
    return Hypothesis(**texts, gain=_gain(section), matters=matters if own is None else own)


def _gain(section: YamlPart) -> tuple[float, float] | None:
    """`[0.03, 0.07]`; `[0, null]` has no upper end."""
    given = section.list("gain")
    if not given:
        return None
    ends = [math.inf if place and end is None else end for place, end in enumerate(given)]
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if len(ends) != 2 or not numbers or not ends[0] <= ends[1]:
        section.fail("gain", f"expected [smallest, largest] (null: no largest), got {given!r}")
    if ends[1] < 0:
        section.fail("gain", f"expected a gain, got {given!r}: exchange 'where' and 'against'")
    return float(ends[0]), float(ends[1])


def read_matters(section: YamlPart, key: str = "matters") -> float | None:
    """The largest difference that does not matter, in the metric's unit."""
    found = section.number(key)
    if found is not None and found < 0:
        section.fail(key, f"expected a difference from 0, got {found:g}")
    return None if found is None else float(found)
