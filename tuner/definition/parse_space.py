"""Makes a `Space` from `parameters` of a sweep file, and from `when`, `requires` and `points`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tuner.base.errors import InputError, nearest
from tuner.definition import expressions
from tuner.definition.distributions import (
    KINDS,
    Categorical,
    Constant,
    Distribution,
    NotInDistribution,
    Numeric,
    WeightedCategorical,
)
from tuner.definition.expressions import MISSING, lookup
from tuner.definition.space import Parameter, Space, in_order
from tuner.definition.yaml_source import YamlPart

LONGEST_NAME = 500  # characters; Optuna's column of a database holds 512
_KEYS = sorted(
    {key for needed, optional in KINDS.values() for key in (*needed, *optional)} | {"distribution"}
)


def parse_space(top: YamlPart, own: YamlPart, *, drawn: bool = False) -> Space:
    """The search space. Raises InputError with file, line and key.

    Args:
        drawn: a function draws the parameters, not these.
    """
    named = "parameters" in top and not drawn
    parameters = list(_walk(_filled(top, "parameters"), ())) if named else []
    names = [p.name for p in parameters]
    for name in names:
        if names.count(name) > 1:
            top.fail("parameters", f"'{name}' is both a nested parameter and a dotted name; rename one")
    parameters = _with_conditions(parameters, own)
    requires = tuple(_expression(own, "requires", text, names, free=True) for text in own.list("requires"))
    try:
        space = Space(in_order(parameters), requires)
    except InputError as error:
        own.fail("when", str(error))
    return Space(space.parameters, requires, _points(own, space))


def _walk(section: YamlPart, path: tuple[str, ...]) -> Iterator[Parameter]:
    for name in section:
        if not (name and name.isprintable() and " " not in name and len(name) <= LONGEST_NAME):
            section.fail(name, f"expected a name of 1 to {LONGEST_NAME} printable characters without blanks")
        inner = section.section(name)
        if "parameters" in inner:
            inner.only(("parameters",), "key next to nested parameters")
            yield from _walk(_filled(inner, "parameters"), (*path, name))
        else:
            yield Parameter((*path, name), _distribution(inner))


def _filled(section: YamlPart, key: str) -> YamlPart:
    inner = section.section(key)
    if not list(inner):
        section.fail(key, "expected at least one parameter")
    return inner


def _distribution(section: YamlPart) -> Distribution:
    section.only((*_KEYS, "parameters"), "key")
    kind = section.choice("distribution", KINDS) or _implied(section)
    needed, optional = KINDS[kind]
    for key in needed:
        if key not in section:
            section.fail(key, f"missing; {kind} needs {' and '.join(needed)}")
    if kind == "categorical" and "probabilities" in section:
        section.fail("distribution", "expected categorical_w_probabilities because there are probabilities")
    section.only(("distribution", *needed, *optional), f"key for {kind}")
    match kind:
        case "constant":
            return Constant(section.plain()["value"])
        case "categorical" | "categorical_w_probabilities":
            values = section.list("values")
            if not values:
                section.fail("values", "expected at least one value")
            if kind == "categorical":
                return Categorical(tuple(values))
            return WeightedCategorical(tuple(values), _probabilities(section, len(values)))
    return _numeric(section, kind)


def _implied(section: YamlPart) -> str:
    """The distribution of a parameter without `distribution`, as in W&B: whole bounds mean int_uniform."""
    if "value" in section:
        return "constant"
    if "values" in section:
        return "categorical_w_probabilities" if "probabilities" in section else "categorical"
    if "min" in section or "max" in section:
        values = section.plain()
        whole = type(values.get("min")) is type(values.get("max")) is int
        return "int_uniform" if whole else "uniform"
    section.fail(
        "distribution", f"missing; expected value, values, min and max, or one of {', '.join(KINDS)}"
    )


def _probabilities(section: YamlPart, count: int) -> tuple[float, ...]:
    weights = section.list("probabilities")
    if not all(isinstance(w, int | float) and not isinstance(w, bool) and w >= 0 for w in weights):
        section.fail("probabilities", f"expected numbers from 0, got {weights!r}")
    if len(weights) != count:
        section.fail("probabilities", f"expected {count}, one per value, got {len(weights)}")
    if not math.isclose(sum(weights), 1.0, rel_tol=1e-5, abs_tol=1e-8):
        section.fail("probabilities", f"expected a sum of 1, got {sum(weights):g}")
    return tuple(float(w) for w in weights)


def _numeric(section: YamlPart, kind: str) -> Numeric:
    optional = KINDS[kind][1]
    q = section.number("q", optional["q"]) if "q" in optional else None
    if q is not None and q <= 0:
        section.fail("q", f"expected a number above 0, got {q}")
    if "beta" in kind or "normal" in kind:
        first, second = ("a", "b") if "beta" in kind else ("mu", "sigma")
        a, b = section.number(first, optional[first]), section.number(second, optional[second])
        for key, value in ((second, b), *([(first, a)] if first == "a" else [])):
            if value <= 0:
                section.fail(key, f"expected a number above 0, got {value}")
        return _drawn(section, Numeric(kind, a, b, q), second)
    low, high = section.number("min"), section.number("max")
    if kind == "int_uniform":
        for key in ("min", "max"):
            section.get(key, int, "a whole number (int_uniform)")
    if low >= high:
        section.fail("max", f"expected more than min ({low:g}), got {high:g}")
    if kind.endswith("_values") and low <= 0:
        section.fail("min", f"expected a number above 0 on a log scale, got {low:g}")
    if "log_uniform" in kind and not kind.endswith("_values") and max(abs(low), abs(high)) > 700:
        better = f"{kind}_values"
        section.fail("max", f"bounds of {kind} are exponents of e; use {better} to give values")
    return _drawn(section, Numeric(kind, low, high, q), "max")


def _drawn(section: YamlPart, distribution: Numeric, key: str) -> Numeric:
    """The distribution, if each draw is a finite number."""
    try:
        if all(math.isfinite(distribution.quantile(u)) for u in (0.0, 0.5, 1.0)):
            return distribution
    except OverflowError:
        pass
    section.fail(key, "these values lead to numbers beyond 1e308; expected a narrower range")


def _with_conditions(parameters: list[Parameter], own: YamlPart) -> list[Parameter]:
    """The parameters, with their `tuner.when` expressions added."""
    if "when" not in own:
        return parameters
    section = own.section("when")
    names = [p.name for p in parameters]
    section.only(names, "parameter")
    conditions = {name: _expression(section, name, section.text(name), names, free=False) for name in section}
    return [Parameter(p.path, p.distribution, conditions.get(p.name)) for p in parameters]


def _expression(section: YamlPart, key: str, text: Any, names: list[str], *, free: bool) -> str:
    """Checks that `text` is an expression over parameters (`free`: also over other configuration keys)."""
    try:
        read = expressions.names(str(text))
    except ValueError as error:
        section.fail(key, str(error))
    for name in sorted(read):
        if name not in names and not free:
            section.fail(key, f"'{name}' is not a parameter of this study{nearest(name, names)}")
    return str(text)


def _points(own: YamlPart, space: Space) -> tuple[dict[str, Any], ...]:
    """`points`: the configurations of a grid, each whole."""
    sections = own.sections("points")
    for section in sections:
        point = _checked(section, space, "points", own)
        for parameter in space.searched:
            if parameter.when is None and lookup(parameter.name, point) is MISSING:
                section.fail(parameter.name, "missing; each point needs a value for every parameter")
    return tuple(section.plain() for section in sections)


def read_defaults(own: YamlPart, space: Space) -> dict[str, Any]:
    """`defaults`: what trials had of a parameter before the file named it, by dotted name."""
    if "defaults" not in own:
        return {}
    found = _checked(own.section("defaults"), space)
    values = {p.name: lookup(p.name, found) for p in space.parameters}
    return {name: value for name, value in values.items() if value is not MISSING}


def read_first(own: YamlPart, space: Space, method: str) -> tuple[dict[str, Any], ...]:
    """`first`: configurations to try first; what one leaves out is drawn."""
    sections = own.sections("first")
    if sections and method == "grid":
        own.fail("first", "a grid tries each of its points; 'points' gives them in an order")
    for section in sections:
        _checked(section, space, "first", own)
        if not list(section):
            own.fail("first", "expected at least one parameter in each configuration")
    return tuple(section.plain() for section in sections)


def _checked(section: YamlPart, space: Space, key: str = "", own: YamlPart | None = None) -> dict[str, Any]:
    """A configuration. Raises InputError for what is no parameter, or a value that its parameter cannot take.

    With `key`, also for one that does not fulfil `requires`.
    """
    names, heads = [p.name for p in space.parameters], {p.path[0] for p in space.parameters}
    for name in () if space.open else section:
        if name not in names and name not in heads:
            section.fail(name, f"no parameter of this study{nearest(name, names)}")
    values = section.plain()
    for parameter in space.searched:
        value, distribution = lookup(parameter.name, values), parameter.distribution
        if value is not MISSING and not isinstance(distribution, Constant):
            try:
                distribution.to_param(value)
            except NotInDistribution as error:
                section.fail(parameter.name if parameter.name in section else parameter.path[0], str(error))
    if own is not None and (broken := space.violated(values)):
        own.fail(key, f"{values} breaks requires {broken[0]!r}")
    return values


def lines_of(top: YamlPart) -> dict[str, int]:
    """The line of each parameter in the file, by dotted name."""
    found: dict[str, int] = {}

    def walk(section: YamlPart, path: tuple[str, ...]) -> None:
        for name in section:
            inner = section.section(name)
            found[".".join((*path, name))] = section.line(name)
            if "parameters" in inner:
                walk(inner.section("parameters"), (*path, name))

    if "parameters" in top:
        walk(top.section("parameters"), ())
    return found
