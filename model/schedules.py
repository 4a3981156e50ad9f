"""Learning-rate schedules per optimiser step: a warm-up to the peak, then a decay; or onecycle."""

from __future__ import annotations

import math
from collections.abc import Mapping

from model.config import Config

WARMUP_FLOOR = 0.01  # start of the exponential warm-up, as a share of the peak
ONECYCLE_RISE = 0.3  # share of the run in which onecycle rises (torch.optim.lr_scheduler.OneCycleLR)
ONECYCLE_START = 1 / 25  # its first and last rate, as shares of the peak
ONECYCLE_END = 1 / (25 * 1e4)
_LEARNT = ("plateau_factor", "best", "epochs_seen", "epochs_without_gain")


def warmup_factor(kind: str, s: float) -> float:
    """The rate as a share of the peak, at the share `s` (0 to 1) of the warm-up.

    With s = (epoch + 1) / warm-up epochs: linear s; exponential exp(ln 0.01 * (1 - s)); cosine
    (1 + cos(pi * (1 - s))) / 2. All three reach 1 at s = 1.
    """
    s = min(max(s, 0.0), 1.0)
    if kind == "linear":
        return s
    if kind == "exponential":
        return math.exp(math.log(WARMUP_FLOOR) * (1 - s))
    return 0.5 * (1 + math.cos(math.pi * (1 - s)))


class Schedule:
    """`rate(step)` is the learning rate of an optimiser step, counted from 0 over the whole run.

    The warm-up changes the rate at every step, so that a run does not spend its whole first epoch at one low
    rate. At the last step of epoch e, s = (e + 1) / warmup_epochs exactly. After the warm-up:

    - cosine falls to 0 at the end of the run (Loshchilov & Hutter, 2017, without restarts);
    - step multiplies by `lr_decay` every `lr_step_epochs` epochs, counted from the end of the warm-up;
    - plateau multiplies by `lr_decay` after `plateau_patience` epochs without improvement;
    - constant stays at the peak.

    onecycle (Smith & Topin, 2018) has its own rise and fall; it does not use `warmup_epochs`.
    """

    def __init__(self, config: Config, *, steps_per_epoch: int) -> None:
        self.config = config
        self.steps_per_epoch = max(1, steps_per_epoch)
        self.total_steps = config.epochs * self.steps_per_epoch
        self.warmup_steps = (
            0 if config.scheduler == "onecycle" else config.warmup_epochs * self.steps_per_epoch
        )
        self._plateau_factor = 1.0
        self._best = -math.inf
        self._epochs_seen = 0
        self._epochs_without_gain = 0

    def rate(self, step: int) -> float:
        """The learning rate of step `step`."""
        return self.config.learning_rate * self._factor(step)

    def observe(self, metric: float) -> None:
        """Takes the validation metric of an epoch (higher is better); called at the end of each epoch.

        Only plateau uses it. Epochs of the warm-up update the best value but do not count as waiting.
        """
        self._epochs_seen += 1
        if metric > self._best:
            self._best, self._epochs_without_gain = metric, 0
            return
        if self._epochs_seen <= self.config.warmup_epochs:
            return
        self._epochs_without_gain += 1
        if self._epochs_without_gain >= self.config.plateau_patience:
            self._plateau_factor *= self.config.lr_decay
            self._epochs_without_gain = 0

    def state(self) -> dict[str, float]:
        """What `observe` has learnt."""
        return {name: getattr(self, f"_{name}") for name in _LEARNT}

    def set_state(self, state: Mapping[str, float]) -> None:
        """Takes over what `state` gave."""
        for name in _LEARNT:
            setattr(self, f"_{name}", state[name])

    def _factor(self, step: int) -> float:
        if step < self.warmup_steps:
            return warmup_factor(self.config.warmup_type, (step + 1) / self.warmup_steps)
        after = step - self.warmup_steps
        match self.config.scheduler:
            case "cosine":
                return _cosine(1.0, 0.0, after / max(1, self.total_steps - self.warmup_steps))
            case "step":
                return self.config.lr_decay ** (after // (self.config.lr_step_epochs * self.steps_per_epoch))
            case "plateau":
                return self._plateau_factor
            case "onecycle":
                return _onecycle(step / max(1, self.total_steps - 1))
            case _:
                return 1.0


def _onecycle(progress: float) -> float:
    if progress < ONECYCLE_RISE:
        return _cosine(ONECYCLE_START, 1.0, progress / ONECYCLE_RISE)
    return _cosine(1.0, ONECYCLE_END, (progress - ONECYCLE_RISE) / (1 - ONECYCLE_RISE))


def _cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
