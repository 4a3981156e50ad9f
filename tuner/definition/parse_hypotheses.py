"""Reads the claims of a study file: `tuner: {matters: …, hypotheses: […]}`."""

from __future__ import annotations

import math

from tuner.definition import expressions
from tuner.definition.constraints import Hypothesis
from tuner.definition.yaml_source import Section

KEYS = ("claim", "where", "against", "metric", "gain", "matters")


def read_hypotheses(own: Section) -> tuple[Hypothesis, ...]:
    """The claims of a study. `matters` of the study holds for each claim that has none of its own.

    Raises:
        InputError: the section `tuner` has a wrong claim or a wrong `matters`.
    """
    matters = read_matters(own)
    return tuple(_hypothesis(section, matters) for section in own.sections("hypotheses"))


def _hypothesis(section: Section, matters: float | None) -> Hypothesis:
    section.only(KEYS, "key")
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
    own = read_matters(section)
    return Hypothesis(
        claim=section.text("claim"),
        where=section.text("where"),
        against=section.text("against"),
        metric=section.text("metric"),
        gain=_gain(section),
        matters=matters if own is None else own,
    )


def _gain(section: Section) -> tuple[float, float] | None:
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


def read_matters(section: Section) -> float | None:
    """The largest difference that does not matter, in the metric's unit."""
    found = section.number("matters")
    if found is not None and found < 0:
        section.fail("matters", f"expected a difference from 0, got {found:g}")
    return None if found is None else float(found)
