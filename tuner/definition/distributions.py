"""The distributions of W&B sweep files. Each is one Optuna parameter and has W&B's quantile function.

For uniform and log-uniform distributions, Optuna suggests the value itself. For the others (quantised,
normal, log-normal, beta, weighted choices) it suggests u in [0, 1], and the quantile function maps u to the
value. So the declared distribution is the sampler's prior. `quantile(u)` equals what the `sweeps` package
(0.3.0) draws at the same u. The tests compare both.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

_EDGE = 1e-12  # smallest distance of u from 0 and 1 if the quantile is infinite there


class NotInDistribution(ValueError):
    """A value outside the distribution. The message says which values are possible."""


@dataclass(frozen=True)
class Constant:
    """`value`: a fixed value. The sampler does not suggest it."""

    value: Any
    kind: str = "constant"

    def quantile(self, u: float) -> Any:
        return self.value

    def grid(self) -> list[Any]:
        return [self.value]

    def describe(self) -> str:
        return f"always {_short(self.value)}"


@dataclass(frozen=True)
class Categorical:
    """`values`: equally likely. Optuna stores mixed or nested values as JSON text."""

    values: tuple[Any, ...]
    kind: str = "categorical"

    @property
    def _plain(self) -> bool:
        """Whether Optuna can store the values directly and tell them apart (1 == 1.0 == True in Python)."""
        types = {type(value) for value in self.values} - {type(None)}
        return len(types) <= 1 and types <= {str, int, float, bool} and all(v == v for v in self.values)

    def optuna(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values if self._plain else [_json(v) for v in self.values])

    def from_param(self, param: Any) -> Any:
        return param if self._plain else json.loads(param)

    def to_param(self, value: Any) -> Any:
        same = [c for c in self.values if _json(c) == _json(value)]  # else accept 2 for 2.0
        like = [c for c in self.values if c == value and isinstance(c, bool) == isinstance(value, bool)]
        for candidate in (*same, *like):
            return candidate if self._plain else _json(candidate)
        raise NotInDistribution(f"expected one of {_short(list(self.values))}, got {value!r}")

    def nearest(self, value: Any) -> Any:
        return _nearest(value, self.values)

    def quantile(self, u: float) -> Any:
        return self.values[max(0, math.ceil(u * len(self.values)) - 1)]

    def grid(self) -> list[Any]:
        return list(self.values)

    def describe(self) -> str:
        return f"one of {', '.join(_short(v) for v in self.values)}"


@dataclass(frozen=True)
class WeightedCategorical:
    """`values` with `probabilities`. u in [0, 1] selects a value from the cumulative probabilities."""

    values: tuple[Any, ...]
    probabilities: tuple[float, ...]
    kind: str = "categorical_w_probabilities"

    @property
    def _cumulative(self) -> list[float]:
        return list(itertools.accumulate(self.probabilities))

    def optuna(self) -> BaseDistribution:
        return _unit_interval()

    def from_param(self, param: float) -> Any:
        return self.quantile(param)

    def to_param(self, value: Any) -> float:
        below = 0.0
        for candidate, up_to, weight in zip(self.values, self._cumulative, self.probabilities, strict=True):
            if weight > 0 and _json(candidate) == _json(value):
                return (below + min(up_to, 1.0)) / 2
            below = up_to
        raise NotInDistribution(f"expected one of {_short(list(self.values))}, got {value!r}")

    def nearest(self, value: Any) -> Any:
        return _nearest(value, [v for v, p in zip(self.values, self.probabilities, strict=True) if p > 0])

    def quantile(self, u: float) -> Any:
        for value, up_to in zip(self.values, self._cumulative, strict=True):
            if u < up_to:
                return value
        # u is 1, or the sum of the probabilities is slightly less than 1: the last value that can be drawn
        return next(v for v, p in zip(self.values[::-1], self.probabilities[::-1], strict=True) if p > 0)

    def grid(self) -> None:
        return None

    def describe(self) -> str:
        pairs = zip(self.values, self.probabilities, strict=True)
        return "one of " + ", ".join(f"{_short(v)} ({p:.0%})" for v, p in pairs)


@dataclass(frozen=True)
class Numeric:
    """All distributions of numbers.

    Attributes:
        kind: name of the distribution, as in W&B.
        a, b: W&B's `min` and `max` (exponents for log_uniform and inv_log_uniform, otherwise values), or
            `mu` and `sigma`, or `a` and `b` of beta.
        q: rounds to multiples of q, half to even.
    """

    kind: str
    a: float
    b: float
    q: float | None = None

    @property
    def _family(self) -> str:
        return self.kind.removeprefix("q_")

    @property
    def _native(self) -> bool:
        """Whether Optuna suggests the value itself, not u."""
        return self.q is None and self._family in _BOUNDED | {"int_uniform"}

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value before rounding; infinite for distributions with tails."""
        match self._family:
            case "log_uniform":
                return math.exp(self.a), math.exp(self.b)
            case "inv_log_uniform":
                return math.exp(-self.b), math.exp(-self.a)
            case "normal":
                return -math.inf, math.inf
            case "log_normal":
                return 0.0, math.inf
            case "beta":
                return 0.0, 1.0
        return self.a, self.b

    def optuna(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution, IntDistribution

        if not self._native:
            return _unit_interval()
        if self.kind == "int_uniform":
            return IntDistribution(int(self.a), int(self.b))
        return FloatDistribution(*self.bounds, log="log" in self.kind)

    def from_param(self, param: float) -> float:
        return param if self._native else self.quantile(param)

    def to_param(self, value: Any) -> float:
        low, high = self.bounds
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise NotInDistribution(f"expected a number, got {value!r}")
        if self.q is not None:
            # the middle of all u that round to this value, so that floating-point errors do not change it
            u = (self._cumulative(value - self.q / 2) + self._cumulative(value + self.q / 2)) / 2
            if math.isclose(self.quantile(u), value, rel_tol=1e-9, abs_tol=1e-12):
                return u
        elif low <= value <= high and (self.kind != "int_uniform" or float(value).is_integer()):
            if not self._native:
                return self._cumulative(value)
            return int(value) if self.kind == "int_uniform" else float(value)
        raise NotInDistribution(f"expected {self.describe()}, got {value!r}")

    def nearest(self, value: Any) -> Any:
        """The value of this distribution that is nearest to a number."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        low, high = self.bounds
        inside = min(max(value, low), high)
        if self.q is not None:
            return self.quantile(self._cumulative(round(inside / self.q) * self.q))
        return round(inside) if self.kind == "int_uniform" else inside

    def quantile(self, u: float) -> float:
        """What W&B draws at `u` (`sweeps.params.HyperParameter.ppf`)."""
        if self.kind == "int_uniform":
            span = self.b - self.a + 1
            return int(max(self.a, math.ceil(u * span + self.a) - 1))
        value = self._continuous(u)
        if self.q is None:
            return value
        rounded = round(value / self.q) * self.q
        return int(rounded) if isinstance(self.q, int) else float(rounded)

    def _continuous(self, u: float) -> float:
        match self._family:
            case "uniform":
                return self.a + u * (self.b - self.a)
            case "log_uniform":
                return math.exp(self.a + u * (self.b - self.a))
            case "log_uniform_values":
                low, high = math.log(self.a), math.log(self.b)
                return math.exp(low + u * (high - low))
            case "inv_log_uniform":
                return math.exp(-(self.a + (1 - u) * (self.b - self.a)))
            case "inv_log_uniform_values":
                low, high = -math.log(self.b), -math.log(self.a)
                return math.exp(-(low + (1 - u) * (high - low)))
            case "beta":
                from scipy.special import betaincinv

                return float(betaincinv(self.a, self.b, u))
        from scipy.special import ndtri

        standard = float(ndtri(min(max(u, _EDGE), 1 - _EDGE)))
        if self._family == "normal":
            return self.a + self.b * standard
        return math.exp(self.b * standard) * math.exp(self.a)

    def _cumulative(self, value: float) -> float:
        """The u for which `_continuous` returns `value`; 0 or 1 outside the bounds."""
        low, high = self.bounds
        if value <= low or value >= high:
            return 0.0 if value <= low else 1.0
        match self._family:
            case "uniform":
                return (value - self.a) / (self.b - self.a)
            case "normal" | "log_normal":
                from scipy.special import ndtr

                x = value if self._family == "normal" else math.log(value)
                return float(ndtr((x - self.a) / self.b))
            case "beta":
                from scipy.special import betainc

                return float(betainc(self.a, self.b, value))
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))

    def grid(self) -> list[Any] | None:
        """W&B's grid: whole numbers up to `max` (included), or multiples of q from `min` to below `max`."""
        if self.kind == "int_uniform":
            return list(range(int(self.a), int(self.b) + 1))
        if self.kind == "q_uniform":
            import numpy as np

            return list(np.arange(self.a, self.b, self.q).tolist())
        return None

    def grid_size(self) -> int:
        """How many values `grid` has, without making them."""
        if self.kind == "int_uniform":
            return max(0, int(self.b) + 1 - int(self.a))
        return max(0, math.ceil((self.b - self.a) / self.q)) if self.kind == "q_uniform" and self.q else 0

    def describe(self) -> str:
        step = f" in steps of {self.q:g}" if self.q is not None else ""
        match self._family:
            case "normal" | "log_normal":
                return f"{self._family.replace('_', '-')} with mu {self.a:g}, sigma {self.b:g}{step}"
            case "beta":
                return f"beta with a {self.a:g}, b {self.b:g}{step}"
            case "int_uniform":
                return f"{int(self.a)} {'or' if self.b - self.a == 1 else 'to'} {int(self.b)}"
        low, high = self.bounds
        return f"{low:.4g} to {high:.4g}{', log scale' if 'log' in self.kind else ''}{step}"


Searchable = Categorical | WeightedCategorical | Numeric
Distribution = Constant | Searchable

_BOUNDED = {"uniform", "log_uniform", "log_uniform_values", "inv_log_uniform", "inv_log_uniform_values"}

# each distribution: its required keys, its optional keys with defaults
KINDS: dict[str, tuple[tuple[str, ...], Mapping[str, float]]] = {
    "constant": (("value",), {}),
    "categorical": (("values",), {}),
    "categorical_w_probabilities": (("values", "probabilities"), {}),
    **{kind: (("min", "max"), {}) for kind in ("int_uniform", *sorted(_BOUNDED))},
    "normal": ((), {"mu": 0.0, "sigma": 1.0}),
    "log_normal": ((), {"mu": 0.0, "sigma": 1.0}),
    "beta": ((), {"a": 1.0, "b": 1.0}),
}
for _kind in ("uniform", "log_uniform", "log_uniform_values", "normal", "log_normal", "beta"):
    KINDS[f"q_{_kind}"] = (KINDS[_kind][0], {"q": 1.0, **KINDS[_kind][1]})


def suggest(distribution: Distribution, trial: optuna.trial.BaseTrial, name: str) -> Any:
    """Suggests the Optuna parameter `name` and returns the configuration's value."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, Constant):
        return distribution.value
    match distribution.optuna():
        case CategoricalDistribution(choices=choices):
            param: Any = trial.suggest_categorical(name, choices)
        case IntDistribution(low=low, high=high):
            param = trial.suggest_int(name, low, high)
        case FloatDistribution(low=low, high=high, log=log):
            param = trial.suggest_float(name, low, high, log=log)
    return distribution.from_param(param)


def _unit_interval() -> BaseDistribution:
    from optuna.distributions import FloatDistribution

    return FloatDistribution(0.0, 1.0)


def _nearest(value: Any, values: Sequence[Any]) -> Any:
    """The number in `values` that is nearest to a number; other values unchanged."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if value in values or not numbers or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return min(numbers, key=lambda candidate: abs(candidate - value))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else _json(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
