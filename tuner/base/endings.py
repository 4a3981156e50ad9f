"""Every way in which `report` ends a trial; `tuner.run.agent.trial` makes the state of the trial of it."""

from __future__ import annotations

import re

from tuner.base import errors
from tuner.base.errors import InputError, TrainingFailed
from tuner.base.words import short_duration


class Pruned(Exception):
    """Raised by a `report` callback to stop a run early. Training saves its state and raises it again."""


class Paused(Exception):
    """Raised by a `report` callback: the run is to keep its state, leave its folder, and raise it again.

    It may be resumed later. `epochs`: how many the run has had.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__(f"after epoch {epochs}")
        self.epochs = epochs


class PutBack(Exception):
    """Raised by a `report` callback when the agent is asked to stop: the trial returns to the queue."""


class GivenAway(Exception):
    """The trial is no longer ours: its agent was taken for dead, and the trial was queued again."""

    def __init__(self, number: int) -> None:
        super().__init__(f"trial {number} was given to another agent")


class TrialTooLong(TrainingFailed):
    """Raised by a `report` callback: the trial has taken longer than the study allows. It is not retried."""

    BEGIN = "longer than"

    def __init__(self, limit: float) -> None:
        super().__init__(f"{self.BEGIN} {short_duration(limit)}, the study's trial_timeout")


OUT_OF_MEMORY = "out of memory"  # how the message about such a trial begins
_RAN_OUT = re.compile(
    r"out ?of ?memory|MemoryError|cannot allocate memory|bad_alloc|RESOURCE_EXHAUSTED|exit status 137",
    re.IGNORECASE,
)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, of a GPU or of the machine."""
    return isinstance(error, MemoryError) or bool(_RAN_OUT.search(f"{type(error).__name__}: {error}"))


class OwnFault(TrainingFailed):
    """What a trial has written or deleted keeps it from ending well: it fails, and the study goes on."""


LAST_LINES = " its last lines:"  # in the message about a script, before what it printed last


def headline(message: str) -> str:
    """The message about a failed trial without the lines that its script printed last."""
    return message.partition(LAST_LINES)[0]


def kind_of(message: str) -> str:
    """`headline` without its numbers and a line that the script printed, which differ by trial: trials of one
    kind failed in the same way.
    """
    said = re.sub(r"it printed (['\"]).*\1, ", "it printed …, ", headline(message))
    return re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "#", said)


def in_short(error: BaseException) -> str:
    """One line: the kind of error, unless it is ours and speaks for itself, and its message."""
    text = " ".join(str(error).split())[:500]
    if isinstance(error, Pruned | InputError) or type(error).__module__ in (__name__, errors.__name__):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
