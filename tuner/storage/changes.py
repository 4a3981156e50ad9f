"""What a changed study file means for a study that was begun, and for the trials that it has.

Optuna refuses a changed choice in a study, and its samplers learn nothing from trials whose distributions
differ (`check_distribution_compatibility`, `IntersectionSearchSpace`). So a trial that fits the new space is
written again in its terms: the same configuration, with the new distributions. A trial that does not fit is
marked OUTSIDE. The storage then leaves it out wherever trials are learned from, ranked or counted; it is
still shown. Nothing is lost: when the space is widened again, the trial comes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tuner.base.nested import leaves, nested
from tuner.definition.distributions import Constant, NotInDistribution
from tuner.definition.expressions import MISSING, lookup
from tuner.definition.space import Parameter, Space, active
from tuner.definition.study_file import StudyFile
from tuner.storage.attributes import AGENT_LOST, GRID_POINT, METRICS, OUTSIDE, PAUSED, RAN_WITH, VIOLATION
from tuner.storage.file_changes import QUIET_KEYS, changed_keys, key_of, short, words_of
from tuner.storage.optuna_private import CONSTRAINT, FIXED_PARAMS, trial_id
from tuner.storage.trial_rows import Amendment

NO_POINT = "it is not a point of the grid"


@dataclass(frozen=True)
class Settings:
    """What a trial's configuration consists of besides its space.

    Attributes:
        given: values below those of the space, as far as they are known: defaults, `base`, length of a trial.
        overrides: values that hold whatever the space says.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """The change of a study.

    Attributes:
        lines: what changed and what becomes of old trials, in words.
        amendments: what is written to the trials.
        disturbs: running agents would go on with the old settings.
        left: numbers of the trials that do not fit any more.
    """

    lines: tuple[str, ...]
    amendments: tuple[Amendment, ...]
    disturbs: bool
    left: frozenset[int]


def find(trials: Sequence[FrozenTrial], before: StudyFile, after: StudyFile, settings: Settings) -> Change:
    """What has changed from one study file to another, and what becomes of the trials.

    Args:
        trials: all of the study's, those that are OUTSIDE included.
        before: the study file that the trials are stored in the terms of.
    """
    changed = changed_keys(before.raw, after.raw)
    lines, keys = [words_of(*each) for each in changed], [key for key, _, _ in changed]
    amendments: list[Amendment] = []
    left: set[int] = set()
    if _searches(before) != _searches(after):
        keys.append("parameters")
        fit = _Fit(before, after, settings)
        found = {trial.number: fit.of(trial) for trial in trials if trial.state is not TrialState.RUNNING}
        lines = [*_parameter_lines(before, after, settings, list(found.values())), *lines]
        amendments = [fitted.amendment for fitted in found.values() if fitted.amendment]
        left = {number for number, fitted in found.items() if fitted.reasons}
    if before.constraints != after.constraints:
        amendments += [_judged(trial, before, after) for trial in trials if _finished(trial)]
    quiet = all(key.startswith(QUIET_KEYS) for key in keys)
    return Change(tuple(lines), tuple(amendments), not quiet, frozenset(left))


# -- which trials fit


@dataclass(frozen=True)
class _Fitted:
    """A trial and the new space. `reasons`: why it does not fit, by the parameter or rule that says so."""

    trial: FrozenTrial
    reasons: Mapping[str, str]
    amendment: Amendment | None


class _Fit:
    """Writes trials again in the terms of another space."""

    def __init__(self, before: StudyFile, after: StudyFile, settings: Settings) -> None:
        self._before, self._after, self._settings = before, after, settings
        self._distributions = after.space.distributions()
        self._points: dict[str, int] = {}
        if after.method == "grid":
            points = [after.space.params_for(config) for config in after.grid()]
            self._points = {self._place(params): index for index, params in enumerate(points)}

    def of(self, trial: FrozenTrial) -> _Fitted:
        """Whether a trial fits, and what is to be written to it."""
        id_, paused = trial_id(trial), PAUSED in trial.user_attrs
        fixed = trial.system_attrs.get(FIXED_PARAMS)
        if trial.state is TrialState.WAITING and not paused:
            return _Fitted(trial, {}, self._waiting(id_, fixed or {}))
        params, ran_with = trial.params or fixed or {}, RAN_WITH.of(trial)
        if not params and ran_with is None:  # it ended before it had a configuration
            return _Fitted(trial, {}, None)
        config = ran_with if ran_with is not None else self._before.space.config_of(params)
        own, ran, reasons = fitting(config, self._after.space, self._settings)
        attrs: dict[str, Any] = {GRID_POINT: None} if GRID_POINT in trial.user_attrs else {}
        if self._points and not reasons:
            point = self._points.get(self._place(own))
            if point is None:
                reasons = {"grid": NO_POINT}
            elif not AGENT_LOST.of(trial):  # else the trial that was queued in its place has the point
                attrs[GRID_POINT] = point
        if reasons:
            attrs |= {OUTSIDE: "; ".join(reasons.values()), RAN_WITH: config}
            return _Fitted(trial, reasons, Amendment(id_, user_attrs=attrs, withdrawn=paused))
        told = key_of(ran) == key_of(self._after.space.config_of(own))  # else digits or a former parameter
        attrs |= {OUTSIDE: None, RAN_WITH: None if told else ran}
        stored = {name: (self._distributions[name].to_internal_repr(value), self._distributions[name])
                  for name, value in own.items()}  # fmt: skip
        system = {} if fixed is None else {FIXED_PARAMS: own}
        return _Fitted(trial, {}, Amendment(id_, stored if trial.params else None, attrs, system))

    def _waiting(self, id_: int, fixed: Mapping[str, Any]) -> Amendment:
        """A queued trial takes the nearest values; one of a grid is withdrawn if its point is gone."""
        config = self._before.space.config_of(fixed)
        if self._after.method != "grid":
            nearest = self._after.space.params_for(config, nearest=True)
            return Amendment(id_, system_attrs={FIXED_PARAMS: nearest})
        own, _, reasons = fitting(config, self._after.space, self._settings)
        point = self._points.get(self._place(own))
        if point is None or reasons:
            gone: dict[str, Any] = {GRID_POINT: None, OUTSIDE: NO_POINT}
            return Amendment(id_, None, gone, {FIXED_PARAMS: None}, withdrawn=True)
        return Amendment(id_, None, {GRID_POINT: point}, {FIXED_PARAMS: own})

    def _place(self, params: Mapping[str, Any]) -> str:
        """Tells the points of a grid apart."""
        return key_of(self._after.space.config_of(params))


def fitting(
    config: Mapping[str, Any], space: Space, settings: Settings
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """A configuration as parameters of `space`, as far as it fits.

    A parameter that `config` lacks has the value that the trial was run with all the same, where it is known.

    Returns:
        the parameters, `config` with such values, and why it does not fit, by parameter.
    """
    params: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    present: dict[tuple[str, ...], Any] = {}  # by path; `when` is judged over what comes before
    for parameter in space.parameters:
        name, distribution = parameter.name, parameter.distribution
        if not active(parameter, nested(present)):
            continue
        found = lookup(name, config)
        found = lookup(name, settings.given) if found is MISSING else found
        if name in settings.overrides:
            present[parameter.path] = settings.overrides[name]
            continue
        if found is MISSING:
            reasons[name] = f"there is no known value of {name}"
            continue
        present[parameter.path] = found
        if isinstance(distribution, Constant):
            if not _same(distribution.value, found):
                reasons[name] = f"{name} was {short(found)}"
            continue
        try:
            params[name] = distribution.to_param(found)
        except NotInDistribution:
            reasons[name] = f"{name} was {short(found)}"
    new_runs = {**settings.given, **nested(present)}
    for name, value in leaves(config):
        if name in reasons or _covered(name, present):
            continue
        now = lookup(name, new_runs)
        if now is MISSING or not _same(now, value):
            reasons[name] = f"{name} was {short(value)}"
    broken = space.violated({**settings.given, **config, **settings.overrides})
    if broken:
        reasons["requires"] = f"it breaks requires '{broken[0]}'"
    return params, nested({**{tuple(n.split(".")): v for n, v in leaves(config)}, **present}), reasons


def _judged(trial: FrozenTrial, before: StudyFile, after: StudyFile) -> Amendment:
    """A finished trial's constraints, from the metrics that it logged."""
    missed = after.violations(METRICS.of(trial))
    values = dict.fromkeys(before.constraints) | missed
    system = {f"{CONSTRAINT}{name}": value for name, value in values.items()}
    total = sum(max(0.0, value) for value in missed.values()) if missed else None
    return Amendment(trial_id(trial), user_attrs={VIOLATION: total}, system_attrs=system)


# -- lines


def _parameter_lines(
    before: StudyFile, after: StudyFile, settings: Settings, found: Sequence[_Fitted]
) -> list[str]:
    """A line for each parameter that changed, and one about all old trials where that is not enough."""
    finished = [fitted for fitted in found if _finished(fitted.trial)]
    missed = Counter(name for fitted in finished for name in fitted.reasons)
    old, new = ({p.name: p for p in file.space.parameters} for file in (before, after))
    lines = []
    for name in [*new, *(name for name in old if name not in new)]:
        if name in old and name in new and old[name] == new[name]:
            continue
        lines.append(f"{name}: {_parameter_words(name, old, new, settings)}")
        if finished:
            lines[-1] += f"; {_kept_words(len(finished), missed[name], before.method)}"
            if missed[name] and name not in old:
                lines[-1] += f"; 'tuner: {{defaults: {{{name}: …}}}}' says what they had"
    if before.requires != after.requires:
        lines.append(f"requires: now {short(list(after.requires))} (was {short(list(before.requires))})")
        if finished:
            lines[-1] += f"; {_kept_words(len(finished), missed['requires'], before.method)}"
    if finished and (len(lines) != 1 or missed["grid"]):
        left = sum(bool(fitted.reasons) for fitted in finished)
        lines.append(f"in all: {_kept_words(len(finished), left, before.method)}")
    return lines


def _parameter_words(
    name: str, old: Mapping[str, Parameter], new: Mapping[str, Parameter], settings: Settings
) -> str:
    known = lookup(name, settings.given)
    if name not in new:
        now = "" if known is MISSING else f", new trials have {short(known)}"
        return f"no longer a parameter (was {_described(old[name])}){now}"
    if name not in old:
        ran = "" if known is MISSING else f", old trials had {short(known)}"
        return f"new, {_described(new[name])}{ran}"
    return f"now {_described(new[name])} (was {_described(old[name])})"


def _described(parameter: Parameter) -> str:
    where = f" where {parameter.when}" if parameter.when else ""
    return f"{parameter.distribution.describe()}{where}"


def _kept_words(count: int, missed: int, method: str) -> str:
    """`7 of 12 old trials fit and are kept for the search, 5 are shown only`."""
    what = "" if method == "grid" else " for the search"
    trials = "old trial" if count == 1 else "old trials"
    if not missed:
        return f"all {count} {trials} fit and are kept{what}" if count > 1 else f"the {trials} fits"
    if missed == count:
        return f"none of {count} {trials} fits, they are shown only"
    kept = count - missed
    told = f"{kept} of {count} {trials} {'fits and is' if kept == 1 else 'fit and are'} kept{what}"
    return f"{told}, {missed} {'is' if missed == 1 else 'are'} shown only"


def _searches(file: StudyFile) -> tuple[Any, ...]:
    """What decides which trials fit."""
    space = file.space
    grid = (file.shuffle, key_of(list(space.points))) if file.method == "grid" else None
    return space.parameters, space.requires, key_of(file.defaults), grid


# -- nested values


def _covered(name: str, present: Mapping[tuple[str, ...], Any]) -> bool:
    """Whether a leaf of a configuration belongs to a parameter, whose value may be a mapping."""
    names = {".".join(path) for path in present}
    return any(name == each or name.startswith(f"{each}.") for each in names)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one to a program: 2 and 2.0 are, 1 and true are not."""
    return key_of(one) == key_of(other) or (one == other and bool not in (type(one), type(other)))


def _finished(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
