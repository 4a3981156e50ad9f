"""A stopping rule's settings, and the epochs at which they let trials be compared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.base.errors import InputError, nearest

KINDS = ("hyperband", "successive_halving", "median", "wandb_hyperband", "none")


@dataclass(frozen=True)
class PrunerSettings:
    """Everything a rule depends on; stored with a study, because agents agree only on equal settings.

    Attributes:
        kind: hyperband, successive_halving, median, wandb_hyperband or none.
        min_resource: first epoch at which a trial may stop (hyperband, successive_halving).
        max_resource: epochs of a whole trial (hyperband: decides the number of brackets).
        eta: of how many trials one goes on at a rung.
        brackets: how many of Hyperband's brackets are used, those that stop earliest first; None: all.
        recent: of how many latest trials at the rung one in eta goes on, besides of all; None: of all alone.
        startup_trials: trials that the median rule waits for.
        warmup: epochs before which the median rule stops nothing.
        min_iter, max_iter, s, strict: W&B's early_terminate.
        patience: epochs without a better value after which a trial stops, besides; None: any number.
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
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            hint = nearest(self.kind, KINDS)
            raise InputError(f"pruner: expected one of {', '.join(KINDS)}, got {self.kind!r}{hint}")
        if (
            self.kind in ("hyperband", "successive_halving")
            and not 1 <= self.min_resource <= self.max_resource
        ):
            raise InputError(
                "pruner: expected 1 <= min_resource <= max_resource, "
                f"got {self.min_resource} and {self.max_resource}"
            )
        if self.kind in ("hyperband", "successive_halving") and (self.eta < 2 or self.eta != int(self.eta)):
            raise InputError(f"pruner: expected eta to be a whole number from 2, got {self.eta!r}")
        if self.recent is not None and self.recent < self.eta:
            raise InputError(f"pruner: expected recent to be eta ({self.eta:g}) or more, got {self.recent}")
        if self.kind == "wandb_hyperband" and not wandb_bands(self):
            raise InputError(
                "early_terminate: no epoch to stop at; expected min_iter >= 1, or max_iter >= eta and s >= 1"
            )

    def to_dict(self) -> dict[str, Any]:
        """All values; `from_dict` of it gives equal settings."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PrunerSettings:
        """The inverse of `to_dict`."""
        return cls(**values)

    def describe(self) -> str:
        """The rule in words, for `--dry-run`."""
        if self.patience is None:
            return self._described()
        return f"{self._described()}; and a trial stops after {self.patience} epochs without a better value"

    def _described(self) -> str:
        lately = f", of all and of the latest {self.recent}" if self.recent else ""
        match self.kind:
            case "hyperband":
                rungs, count = rung_steps(self, 0), brackets(self)
                name = f"{count} brackets" if count > 1 else "1 bracket"
                later = " (later brackets skip the first ones)" if count > 1 else ""
                return (
                    f"Hyperband: {name}, best 1 in {self.eta:g} goes on after epochs "
                    f"{', '.join(map(str, rungs)) or 'none'}{lately}{later}"
                )
            case "successive_halving":
                steps = ", ".join(map(str, rung_steps(self, 0))) or "none"
                return f"successive halving: best 1 in {self.eta:g} goes on after epochs {steps}{lately}"
            case "median":
                return f"median: from epoch {self.warmup}, once {self.startup_trials} trials have finished"
            case "wandb_hyperband":
                bands = ", ".join(map(str, wandb_bands(self)[:5]))
                more = ", …" if len(wandb_bands(self)) > 5 else ""
                return f"W&B hyperband: best 1 in {self.eta:g} goes on after epochs {bands}{more}"
        return "none: every trial runs to its end"


def wandb_bands(settings: PrunerSettings) -> list[int]:
    """The iterations at which W&B's rule compares, ascending.

    From `max_iter` (which goes first) int(max_iter / eta^i), i = 1..s; from `min_iter` int(min_iter · eta^k).
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
    """Hyperband's number of brackets: floor(log_eta(max / min)) + 1 in whole numbers, or fewer if it is set.

    Optuna takes the logarithm in floating point and loses a bracket at some exact powers (1, 243, 3).
    """
    count, resource = 1, settings.min_resource * int(settings.eta)
    while resource <= settings.max_resource:
        count, resource = count + 1, resource * int(settings.eta)
    return min(count, settings.brackets or count)


def bracket_budgets(settings: PrunerSettings) -> list[int]:
    """How many of a round of trials each bracket gets (Optuna's HyperbandPruner)."""
    count = brackets(settings)
    return [math.ceil(count * int(settings.eta) ** s / (s + 1)) for s in range(count - 1, -1, -1)]


def rung_steps(settings: PrunerSettings, bracket: int, *, up_to: int | None = None) -> list[int]:
    """The epochs at which a trial of `bracket` is compared, below `max_resource` (or up to `up_to`)."""
    steps = []
    step = settings.min_resource * int(settings.eta) ** bracket
    while step <= (settings.max_resource - 1 if up_to is None else up_to):
        steps.append(step)
        step *= int(settings.eta)
    return steps
