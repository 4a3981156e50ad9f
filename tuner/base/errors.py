"""Errors that packages raise for the user. Every command prints them as one line with an exit status."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

# what people call the usual options
ALIASES = {
    "lr": "learning_rate",
    "bs": "batch_size",
    "wd": "weight_decay",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "opt": "optimizer",
}


class InputError(ValueError):
    """The user's input is wrong. The message says what is wrong, where, and what to do. Exit status 2."""


class WorkFailed(RuntimeError):
    """The input was correct but the work failed. Exit status 1."""


class TrainingFailed(WorkFailed):
    """A run cannot continue (non-finite loss, out of memory). The message names the epoch and the step."""


class DamagedFile(UserWarning):
    """A file of a run cannot be read. The work goes on without it, and this warning names it."""


def reason_of(error: BaseException, *, where: bool = False) -> str:
    """The message of an error. One of the system has no number, and a path only if `where`."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    if error.errno == errno.EMFILE:
        return (
            "more open files are needed than this terminal allows; run: ulimit -n 1024, then the same again"
        )
    return f"{error.filename}: {error.strerror}" if where and error.filename else error.strerror


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint for a misspelt name: `"; did you mean 'x'?"`, or an empty string when nothing is close.

    `loss` is close to `train.loss` and `val/loss`.
    """
    valid = list(valid)
    meant = ALIASES.get(name.lower(), "")
    close = [meant] if meant in valid else difflib.get_close_matches(name, valid, n=1, cutoff=0.6)
    close = close or [each for each in valid if each.endswith((f".{name}", f"/{name}"))]
    return f"; did you mean '{close[0]}'?" if close else ""
