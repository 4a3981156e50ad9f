"""The search space of a study. Configurations are nested; Optuna's parameters have dotted names."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.base.errors import InputError
from tuner.definition import expressions
from tuner.definition.distributions import Constant, Distribution, NotInDistribution, Numeric, suggest
from tuner.definition.expressions import MISSING, lookup

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

_LARGEST_GRID = 100_000  # at a second a run, more than a day


@dataclass(frozen=True)
class Parameter:
    """One parameter: its path in the configuration, its distribution and its condition."""

    path: tuple[str, ...]
    distribution: Distribution
    when: str | None = None  # an expression over other parameters; if false, the parameter is absent

    @property
    def name(self) -> str:
        """The name of the Optuna parameter."""
        return ".".join(self.path)


@dataclass(frozen=True)
class Space:
    """Parameters, sorted so that each follows those that its `when` reads.

    Attributes:
        requires: expressions that every configuration must fulfil.
        points: for a grid: the configurations to run instead of the full product (a design), or empty.
    """

    parameters: tuple[Parameter, ...]
    requires: tuple[str, ...] = ()
    points: tuple[Mapping[str, Any], ...] = ()

    @property
    def searched(self) -> tuple[Parameter, ...]:
        """The parameters that are not constants."""
        return tuple(p for p in self.parameters if not isinstance(p.distribution, Constant))

    @property
    def open(self) -> bool:
        """Whether it names no parameters: an objective of Optuna's draws them as it goes (define-by-run).

        A configuration is then what the trial has drawn, by the names that it gave.
        """
        return not self.parameters

    @property
    def conditional(self) -> bool:
        """Whether some parameters exist only in some configurations."""
        return self.open or any(p.when for p in self.parameters)

    def suggest(self, trial: optuna.trial.BaseTrial) -> dict[str, Any]:
        """The configuration of `trial`. It has the fixed values but no inactive conditional parameters."""
        return self._made(lambda p: suggest(p.distribution, trial, p.name))

    def params_for(self, config: Mapping[str, Any], *, nearest: bool = False) -> dict[str, Any]:
        """The Optuna parameters for `config`, to pass to `study.enqueue_trial`.

        The sampler chooses parameters that `config` does not have. Keys outside the space are ignored.

        Args:
            nearest: replace a number outside the space by the nearest value inside. The sampler chooses if
                there is no nearest value (a word).

        Raises:
            InputError: `config` has a value outside the space.
        """
        params: dict[str, Any] = dict(config) if self.open else {}
        for parameter in self.searched:
            value, distribution = lookup(parameter.name, config), parameter.distribution
            if value is MISSING or not active(parameter, config):
                continue
            assert not isinstance(distribution, Constant)
            try:
                params[parameter.name] = distribution.to_param(
                    distribution.nearest(value) if nearest else value
                )
            except NotInDistribution as error:
                if not nearest:
                    raise InputError(f"parameter '{parameter.name}': {error}") from None
        return params

    def config_of(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration for the Optuna parameters of a finished trial. The inverse of `params_for`."""

        def stored(parameter: Parameter) -> Any:
            distribution, param = parameter.distribution, params.get(parameter.name, MISSING)
            if isinstance(distribution, Constant):
                return distribution.value
            return MISSING if param is MISSING else distribution.from_param(param)

        return dict(params) if self.open else self._made(stored, ran=True)

    def values_of(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The searched parameters of a trial by dotted name, with the study file's values. Without inactive
        parameters.
        """
        return self.values_in(self.config_of(params))

    def values_in(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The searched parameters that a configuration has, by dotted name."""
        if self.open:
            return dict(config)
        found = {p.name: lookup(p.name, config) for p in self.searched}
        return {name: value for name, value in found.items() if value is not MISSING}

    def grid(self) -> list[dict[str, Any]]:
        """All configurations of a grid search: the design's points, or the full product.

        The order is W&B's: names are sorted at each level, and the last name changes fastest. Equal values
        (3 and 3.0) count once. Configurations that do not fulfil `requires` are left out.

        Raises:
            InputError: a parameter has no grid (a continuous or a weighted one), or the grid is too large.
        """
        if self.points:
            return [self._completed(point) for point in self.points]
        axes = []
        for parameter in sorted(self.searched, key=lambda p: p.path):
            if isinstance(parameter.distribution, Numeric):  # counted before it is built
                _check_size(parameter.distribution.grid_size())
            values = parameter.distribution.grid()
            if values is None:
                raise InputError(
                    f"parameter '{parameter.name}': a grid needs values, int_uniform or q_uniform, "
                    f"got {parameter.distribution.kind}"
                )
            axes.append([(parameter.name, value) for value in _distinct(values)])
        _check_size(math.prod(len(axis) for axis in axes))
        configs: dict[str, dict[str, Any]] = {}
        for combination in itertools.product(*axes):
            config = self._completed(dict(combination))
            if not self.violated(config):
                configs.setdefault(json.dumps(config, sort_keys=True), config)
        return list(configs.values())

    def violated(self, config: Mapping[str, Any]) -> list[str]:
        """The `requires` that `config` does not fulfil. Skips those that read an absent name."""
        return [text for text in self.requires if not _holds(text, config, otherwise=True)]

    def allows(self, params: Mapping[str, Any]) -> bool:
        """Whether Optuna's parameters of a trial fulfil all `requires`."""
        return not self.violated(self.config_of(params))

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distribution of every searched parameter, by name."""
        return {
            p.name: p.distribution.optuna() for p in self.searched if not isinstance(p.distribution, Constant)
        }

    def describe(self) -> list[tuple[str, str, str]]:
        """Rows for a table: name, values as text, and the condition (`when`)."""
        return [(p.name, p.distribution.describe(), p.when or "") for p in self.parameters]

    def _completed(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration with the values of `point` and the constants, without inactive parameters."""

        def given(parameter: Parameter) -> Any:
            value = lookup(parameter.name, point)
            return getattr(parameter.distribution, "value", MISSING) if value is MISSING else value

        return self._made(given)

    def _made(self, value: Callable[[Parameter], Any], *, ran: bool = False) -> dict[str, Any]:
        """A configuration of the active parameters that have a value. `ran`: what a trial has was active."""
        config: dict[str, Any] = {}
        for parameter in self.parameters:
            here = (ran and not isinstance(parameter.distribution, Constant)) or active(parameter, config)
            if here and (found := value(parameter)) is not MISSING:
                inner = config
                for key in parameter.path[:-1]:
                    inner = inner.setdefault(key, {})
                nested = isinstance(found, dict | list)  # which no two configurations share
                inner[parameter.path[-1]] = json.loads(json.dumps(found)) if nested else found
        return config


def in_order(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Sorts parameters so that each follows those that its condition reads. Otherwise keeps the order.

    Raises:
        InputError: conditions depend on each other, or read a name that is not a parameter.
    """
    known = {p.name for p in parameters}
    waiting, placed, result = list(parameters), set[str](), list[Parameter]()
    while waiting:
        ready = next((p for p in waiting if _reads(p) <= placed), None)
        if ready is None:
            stuck = waiting[0]
            missing = sorted(_reads(stuck) - known)
            reason = f"reads '{missing[0]}', which is not a parameter" if missing else "depends on itself"
            raise InputError(f"condition of '{stuck.name}' {reason}")
        waiting.remove(ready)
        placed.add(ready.name)
        result.append(ready)
    return tuple(result)


def _reads(parameter: Parameter) -> frozenset[str]:
    return expressions.names(parameter.when) if parameter.when else frozenset()


def active(parameter: Parameter, config: Mapping[str, Any]) -> bool:
    """Whether a parameter exists where the parameters before it are those of `config`."""
    return parameter.when is None or _holds(parameter.when, config, otherwise=False)


def _holds(text: str, config: Mapping[str, Any], *, otherwise: bool) -> bool:
    try:
        return bool(expressions.evaluate(text, config))
    except expressions.Unknown:
        return otherwise


def _check_size(points: int) -> None:
    if points > _LARGEST_GRID:
        raise InputError(
            f"the grid has {points:,} points; expected at most {_LARGEST_GRID:,}: "
            "use method random, or fewer values"
        )


def _distinct(values: Sequence[Any]) -> Iterator[Any]:
    """The distinct values for W&B's grid. Keeps the last of equal values, at the position of the first."""
    kept: dict[str, Any] = {}
    for value in values:
        whole = isinstance(value, float) and value.is_integer()
        kept[json.dumps(int(value) if whole else value, sort_keys=True)] = value
    yield from kept.values()
