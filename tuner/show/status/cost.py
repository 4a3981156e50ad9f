"""The cost of a study in seconds and epochs, and the epochs that pruning saved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tuner.base.words import duration


@dataclass(frozen=True)
class Cost:
    """Seconds and epochs spent, and those that pruning saved (at the mean time per epoch)."""

    seconds: float
    epochs: int
    saved_epochs: int
    saved_seconds: float

    def __str__(self) -> str:
        """`2 h 3 min of training in 812 epochs; pruning saved …`."""
        text = f"{duration(self.seconds)} of training in {self.epochs} epochs"
        if self.saved_epochs:
            share = self.saved_epochs / (self.saved_epochs + self.epochs)
            about = duration(self.saved_seconds)
            text += f"; pruning saved {self.saved_epochs} epochs ({share:.0%}, about {about})"
        return text


def cost_of(trials: Iterable[tuple[bool, int, float]], *, whole: int | None) -> Cost:
    """The cost of trials, each `(pruned, epochs, seconds)`.

    The saved epochs are those that pruned trials did not run.

    Args:
        whole: epochs of a full trial (default: epochs of the longest trial).
    """
    known = list(trials)
    seconds = sum(each for _, _, each in known)
    epochs = sum(each for _, each, _ in known)
    longest = whole or max((each for _, each, _ in known), default=0)
    saved = sum(max(0, longest - each) for pruned, each, _ in known if pruned)
    return Cost(seconds, epochs, saved, saved * seconds / epochs if epochs else 0.0)


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of several costs."""
    known = list(costs)
    return Cost(
        sum(c.seconds for c in known),
        sum(c.epochs for c in known),
        sum(c.saved_epochs for c in known),
        sum(c.saved_seconds for c in known),
    )
