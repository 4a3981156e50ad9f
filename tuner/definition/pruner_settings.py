"""Settings of a pruner, and the epochs at which it compares trials."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.base.errors import InputError, nearest
from tuner.definition.scheduler import OPTIMIZER, Scheduler, classes, named_in, pruner_values, theirs
from tuner.definition.yaml_source import YamlPart

KINDS = ("hyperband", "successive_halving", "median", "wandb_hyperband", "none")


@dataclass(frozen=True)
class PrunerSettings:
    """All settings of a pruner. They are stored with the study, so that all agents prune by the same rule.

    Attributes:
        kind: hyperband, successive_halving, median, wandb_hyperband or none; or the name of a pruner of
            Optuna's, with its `arguments`; or optimizer, for that of the study that a function makes.
        min_resource: first epoch at which a trial can be pruned (hyperband, successive_halving).
        max_resource: epochs of a full trial (hyperband: this sets the number of brackets).
        eta: the best 1 in eta trials continues at a rung.
        brackets: number of Hyperband's brackets to use, starting with those that prune earliest; None: all.
        recent: a trial must also be among the best 1 in eta of the latest `recent` trials at the rung.
            None: only among all trials.
        startup_trials: finished trials before the median rule starts.
        warmup: epochs before which the median rule prunes nothing.
        min_iter, max_iter, s, strict: settings of W&B's early_terminate.
        limits: worst value with which a trial goes on, by epoch from the first (kind limits, which is no key
            of study files: `tuner referee run` sets it).
        patience: a trial is also pruned after this many epochs without a better value; None: never.
    """

    kind: str = "none"
    min_resource: int = 1
    max_resource: int = 1
    eta: float = 3
    startup_trials: int = 5
    warmup: int = 1
    min_iter: int | None = None
    max_iter: int | None = None
    s: int | None = None
    strict: bool = True
    brackets: int | None = None
    recent: int | None = None
    limits: tuple[float, ...] = ()
    patience: int | None = None
    arguments: Mapping[str, Any] | None = None

    @property
    def halves(self) -> bool:
        """Whether it is successive halving, in one bracket or several, to which the resources belong."""
        return self.kind in ("hyperband", "successive_halving")

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, "limits", OPTIMIZER) and self.arguments is None:
            hint = nearest(self.kind, KINDS)
            raise InputError(f"pruner: expected one of {', '.join(KINDS)}, got {self.kind!r}{hint}")
        if self.halves and not 1 <= self.min_resource <= self.max_resource:
            raise InputError(
                "pruner: expected 1 <= min_resource <= max_resource, "
                f"got {self.min_resource} and {self.max_resource}"
            )
        if self.halves and (self.eta < 2 or self.eta != int(self.eta)):
            raise InputError(f"pruner: expected eta to be a whole number from 2, got {self.eta!r}")
        if self.recent is not None and self.recent < self.eta:
            raise InputError(f"pruner: expected recent to be eta ({self.eta:g}) or more, got {self.recent}")
        if self.kind == "wandb_hyperband" and not wandb_bands(self):
            raise InputError(
                "early_terminate: no epoch to stop at; expected min_iter >= 1, or max_iter >= eta and s >= 1"
            )

    def describe(self) -> str:
        """The rule as text, for `--dry-run`."""
        also = "" if self.patience is None else f"; also after {self.patience} epochs without a better value"
        return f"{self._described()}{also}"

    def _described(self) -> str:
        lately = f", of all and of the latest {self.recent}" if self.recent else ""
        match self.kind:
            case "hyperband":
                rungs, count = rung_steps(self, 0), brackets(self)
                name = f"{count} brackets" if count > 1 else "1 bracket"
                later = " (later brackets skip the first ones)" if count > 1 else ""
                return (
                    f"Hyperband: {name}, best 1 in {self.eta:g} continues after epochs "
                    f"{', '.join(map(str, rungs)) or 'none'}{lately}{later}"
                )
            case "successive_halving":
                steps = ", ".join(map(str, rung_steps(self, 0))) or "none"
                return f"successive halving: best 1 in {self.eta:g} continues after epochs {steps}{lately}"
            case "median":
                return f"median: from epoch {self.warmup}, once {self.startup_trials} trials have finished"
            case "wandb_hyperband":
                bands = ", ".join(map(str, wandb_bands(self)[:5]))
                more = ", …" if len(wandb_bands(self)) > 5 else ""
                return f"W&B hyperband: best 1 in {self.eta:g} continues after epochs {bands}{more}"
        if self.arguments is not None:
            told = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
            return f"Optuna's {self.kind}({told})"
        if self.kind == OPTIMIZER:
            return "that of the study which scheduler.optimizer makes"
        return "none: every trial runs to its end"


def read_pruner(top: YamlPart, own: YamlPart, max_epochs: int | None, scheduler: Scheduler) -> PrunerSettings:
    """`tuner.pruner` if given, else the scheduler's, else W&B's early_terminate exactly, else none.

    Args:
        max_epochs: of a whole trial, all its runs together; None: the file does not say.
    """
    patience = own.integer("patience", least=1)
    section, key = top, "scheduler"
    if "pruner" in own:
        section, key, values = _own_pruner(own)
    elif scheduler.pruner is not None:
        values = scheduler.pruner
    elif "early_terminate" in top:
        section, key = top.section("early_terminate"), "type"
        values = _early_terminate(section)
    else:
        return PrunerSettings(patience=patience)
    longest = max_epochs or values.get("min_resource", 1)
    try:
        return PrunerSettings(**{"max_resource": longest, **values}, patience=patience)
    except InputError as error:
        section.fail(key, str(error))


def _own_pruner(own: YamlPart) -> tuple[YamlPart, str, dict[str, Any]]:
    """`pruner: hyperband`, or `{type: hyperband, …}`: the section and key that name it, and all settings."""
    section, key, name, told = named_in(own, "pruner")
    if name.endswith("Pruner"):
        name = section.choice(key, classes("pruner"))
        return section, key, pruner_values(*theirs(section, name, told, "pruner"))
    kind = section.choice(key, KINDS if name in KINDS else (*KINDS, *classes("pruner")))
    if kind is None:
        section.fail("type", f"missing; expected one of {', '.join(KINDS)}")
    not_told = ("kind", "limits", "patience", "arguments")
    names = [f.name for f in dataclasses.fields(PrunerSettings) if f.name not in not_told]
    if section is not own:
        section.only(("type", *names), "key")
    for name in told:
        if name == "strict":
            section.flag(name)
        elif name == "eta":
            section.number(name)
        else:
            section.integer(name, least=0 if name in ("startup_trials", "warmup") else 1)
    return section, key, {**told, "kind": kind}


def _early_terminate(section: YamlPart) -> dict[str, Any]:
    """W&B's `early_terminate: {type: hyperband, …}`."""
    section.choice("type", ("hyperband",))
    if "type" not in section or not ("min_iter" in section or {"max_iter", "s"} <= set(section)):
        section.fail("type", "expected type hyperband with min_iter, or with max_iter and s")
    section.only(("type", "min_iter", "max_iter", "s", "eta", "strict"), "key")
    eta = section.number("eta", 3)
    if eta <= 1:
        section.fail("eta", f"expected a number above 1, got {eta}")
    counts = {name: section.integer(name, least=1) for name in ("min_iter", "max_iter", "s")}
    strict = section.flag("strict", default=True)
    return {**counts, "kind": "wandb_hyperband", "eta": eta, "strict": strict, "max_resource": 1}


def wandb_bands(settings: PrunerSettings) -> list[int]:
    """The iterations at which W&B's rule compares trials, ascending.

    With `max_iter` (it takes precedence): int(max_iter / eta^i), i = 1..s. With `min_iter`:
    int(min_iter · eta^k).
    """
    bands: list[int] = []
    if settings.max_iter is not None:
        band = float(settings.max_iter)
        for _ in range(int(settings.s or 0)):
            band /= settings.eta
            if band < 1:
                break
            bands.append(int(band))
    elif settings.min_iter is not None:
        band = float(settings.min_iter)
        while len(bands) < 100 and band < 1e9:  # W&B computes 100; no trial logs a billion values
            bands.append(int(band))
            band *= settings.eta
    return sorted(bands)


def brackets(settings: PrunerSettings) -> int:
    """Number of Hyperband's brackets: floor(log_eta(max / min)) + 1, or `brackets` if that is smaller.

    Computed in whole numbers. Optuna uses a floating-point logarithm, which gives one bracket too few at some
    exact powers (min 1, max 243, eta 3).
    """
    count = 1 + len(rung_steps(settings, 1, up_to=settings.max_resource))
    return min(count, settings.brackets or count)


def bracket_budgets(settings: PrunerSettings) -> list[int]:
    """Trials per round in each bracket, as in Optuna's HyperbandPruner."""
    count = brackets(settings)
    return [math.ceil(count * int(settings.eta) ** s / (s + 1)) for s in range(count - 1, -1, -1)]


def rung_steps(settings: PrunerSettings, bracket: int, *, up_to: int | None = None) -> list[int]:
    """The epochs at which trials of `bracket` are compared: below `max_resource`, or up to `up_to`."""
    steps = []
    step = settings.min_resource * int(settings.eta) ** bracket
    while step <= (settings.max_resource - 1 if up_to is None else up_to):
        steps.append(step)
        step *= int(settings.eta)
    return steps
