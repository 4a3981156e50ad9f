"""What stopping rules keep of the trials' reports, so that a report is read once and not at every later one.

A rule is asked after every report. Trials that have ended never change, and a running one grows by a value
at a time, so a rule keeps a summary of each trial (its values at the rungs, its best value) and adds to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class Tally(Protocol):
    """What a rule needs of one trial's reports."""

    def add(self, step: int, value: float) -> None:
        """Takes the next report. Steps ascend."""
        ...


S = TypeVar("S", bound=Tally)


@dataclass
class _Read(Generic[S]):
    """A trial's summary, and how much of which reports it holds."""

    summary: S
    reports: dict[int, float]
    count: int
    last: int
    ended: bool


class Summaries(Generic[S]):
    """The summaries of a study's trials, by trial number, brought up to date when they are asked for.

    The reports of a trial that this process runs are one dictionary that grows: only what is new is read.
    Another agent's trial comes with a new dictionary each time the storage is read, which is read whole.

    Args:
        empty: makes the summary of a trial, by its number, before its first report.
    """

    def __init__(self, empty: Callable[[int], S]) -> None:
        self._empty = empty
        self._read: dict[int, _Read[S]] = {}
        self._ended: set[int] = set()  # numbers that `ended_and_open` gave as ended
        self._all_ended = 0  # how many trials at the front of the study are among them

    def of(self, trial: FrozenTrial) -> S:
        """The summary of `trial`. A value that replaced an earlier one is only seen by `after_report`."""
        read, reports = self._read.get(trial.number), trial.intermediate_values
        if read is not None and (read.ended or (read.reports is reports and len(reports) == read.count)):
            return read.summary
        if read is not None and read.reports is reports and len(reports) > read.count:
            new = list(islice(reversed(reports.items()), len(reports) - read.count))[::-1]
            if read.last < new[0][0] and all(a < b for (a, _), (b, _) in pairwise(new)):
                self._add(read, new)
                return read.summary
        read = _Read(self._empty(trial.number), reports, 0, -1, trial.state.is_finished())
        self._add(read, sorted(reports.items()))
        self._read[trial.number] = read
        return read.summary

    def after_report(self, trial: FrozenTrial) -> S:
        """The summary of the trial that has just reported. Reads all again if a report replaced another."""
        read = self._read.get(trial.number)
        if read is not None and len(trial.intermediate_values) <= read.count:
            del self._read[trial.number]
        return self.of(trial)

    def ended_and_open(self, trials: Sequence[FrozenTrial]) -> tuple[list[S], list[tuple[int, S]]]:
        """Summaries of those that ended since the last call; number and summary of those that have not ended.

        Args:
            trials: all of the study's, in the order of their numbers.
        """
        ended, still_open = [], []
        for trial in islice(trials, self._all_ended, None):
            if trial.number in self._ended:
                continue
            if trial.state.is_finished():
                self._ended.add(trial.number)
                ended.append(self.of(trial))
            else:
                still_open.append((trial.number, self.of(trial)))
        while self._all_ended < len(trials) and trials[self._all_ended].number in self._ended:
            self._all_ended += 1
        return ended, still_open

    @staticmethod
    def _add(read: _Read[S], reports: Sequence[tuple[int, float]]) -> None:
        for step, value in reports:
            read.summary.add(step, value)
        read.count += len(reports)
        if reports:
            read.last = reports[-1][0]
