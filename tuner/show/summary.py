"""A study at one moment, read once: what `status`, `list`, the live view and messages show of it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tuner.base.words import duration, number
from tuner.claims import judge
from tuner.claims import material as materials
from tuner.claims.answer import Answer
from tuner.definition.study_file import StudyFile
from tuner.search import ranking
from tuner.storage.allocate import is_paused, state_of
from tuner.storage.attributes import FILE, IMPORTED, STOPPED, TOTAL
from tuner.storage.study import OpenStudy, finished, training_seconds


@dataclass(frozen=True)
class Spent:
    """Seconds and epochs that trials took, and those that pruning saved (at the mean time per epoch)."""

    seconds: float
    epochs: int
    saved_epochs: int
    saved_seconds: float

    @classmethod
    def by(cls, trials: Iterable[tuple[bool, int, float]], *, whole: int | None) -> Spent:
        """What trials took, each `(pruned, epochs, seconds)`. Pruning saved the epochs that they did not run.

        Args:
            whole: epochs of a full trial (default: epochs of the longest trial).
        """
        known = list(trials)
        seconds = sum(each for _, _, each in known)
        epochs = sum(each for _, each, _ in known)
        longest = whole or max((each for _, each, _ in known), default=0)
        saved = sum(max(0, longest - each) for pruned, each, _ in known if pruned)
        return cls(seconds, epochs, saved, saved * seconds / epochs if epochs else 0.0)

    def __str__(self) -> str:
        """`2 h 3 min of training in 812 epochs; pruning saved …`."""
        text = f"{duration(self.seconds)} of training in {self.epochs} epochs"
        if self.saved_epochs:
            share = self.saved_epochs / (self.saved_epochs + self.epochs)
            about = duration(self.saved_seconds)
            text += f"; pruning saved {self.saved_epochs} epochs ({share:.0%}, about {about})"
        return text


@dataclass(frozen=True, eq=False)
class Summary:
    """A study as it stood when it was read.

    Attributes:
        file: None for studies that this tuner did not make; of these only the counts are known.
        counts: number of trials by state.
        outside: trials that do not fit the study since it was changed; they are among no others.
    """

    source: OpenStudy = field(repr=False)
    file: StudyFile | None
    attrs: Mapping[str, Any]
    counts: Mapping[TrialState, int]
    trials: Sequence[FrozenTrial]
    outside: Sequence[FrozenTrial]

    @classmethod
    def of(cls, study: OpenStudy, file: StudyFile | None = None) -> Summary:
        """Reads a study. `file`: its study file, where the caller has it."""
        attrs = study.attrs
        if file is None and FILE in attrs:
            file = study.file
        return cls(study, file, attrs, study.counts(), study.get_trials(deepcopy=False), study.outside())

    @property
    def name(self) -> str:
        return self.source.study_name

    @property
    def total(self) -> int | None:
        """The wanted number of finished trials."""
        return TOTAL.of(self.attrs)

    @property
    def finished(self) -> int:
        """The number of trials that count towards the total."""
        return finished(self.counts, self.attrs)

    @property
    def stopped(self) -> str:
        """Why the study ended before it had all trials; "" if it did not."""
        return STOPPED.of(self.attrs)

    @property
    def imported(self) -> int:
        """The number of trials that were run elsewhere."""
        return sum(IMPORTED in trial.user_attrs for trial in self.trials)

    @cached_property
    def paused(self) -> int:
        """The number of waiting trials that were begun and may be resumed."""
        return sum(map(is_paused, self.trials))

    @cached_property
    def interrupted(self) -> int:
        """The number of trials whose agents died, and that run again."""
        return sum(state_of(trial) == "interrupted" for trial in (*self.trials, *self.outside))

    @property
    def failed(self) -> int:
        """The number of trials that failed by themselves."""
        return self.counts[TrialState.FAIL] - self.interrupted

    @cached_property
    def ranked(self) -> Sequence[FrozenTrial]:
        """The complete trials, best first; none where no metric says which is better."""
        return () if self.file is None else ranking.ranked(self.trials, self.file)

    @cached_property
    def best(self) -> FrozenTrial | None:
        """The trial that the study hands on."""
        return None if self.file is None else ranking.winner(self.ranked, self.attrs, self.file)

    @cached_property
    def answer(self) -> Answer:
        """What the study found, without the files of its runs."""
        return judge.of_study(materials.read_study(self.source, None))

    @property
    def metric(self) -> str:
        if self.file is None:
            return "value"
        return self.file.metric.name if self.file.metric.declared else ""

    @property
    def best_words(self) -> str:
        """`score 0.9312 (trial 7)`; "" without a best trial."""
        if self.best is None:
            return ""
        return f"{self.metric} {number(self.best.values[0])} (trial {self.best.number})"

    @cached_property
    def best_so_far(self) -> Sequence[float]:
        """The best value after each complete trial."""
        if self.file is None or not self.file.metric.declared:
            return ()
        complete = [t for t in self.trials if t.state is TrialState.COMPLETE and t.values]
        results = ((ranking.violation(trial), trial.values[0]) for trial in complete)
        return ranking.best_so_far(results, maximize=self.file.metric.goal == "maximize")

    @cached_property
    def epochs(self) -> Mapping[int, int]:
        """The reported epochs of each trial, by its number."""
        return {t.number: max(t.intermediate_values, default=0) for t in (*self.trials, *self.outside)}

    @cached_property
    def spent(self) -> Spent:
        """Spent and saved time and epochs."""
        ends = (
            (t.state is TrialState.PRUNED, self.epochs[t.number], training_seconds(t))
            for t in (*self.trials, *self.outside)
            if IMPORTED not in t.user_attrs
        )
        return Spent.by(ends, whole=None if self.file is None else self.file.trial_epochs)

    @property
    def pruned_at(self) -> Mapping[int, int]:
        """Epoch → number of trials that were pruned after it."""
        pruned = (t.number for t in (*self.trials, *self.outside) if t.state is TrialState.PRUNED)
        return dict(sorted(Counter(self.epochs[number] for number in pruned).items()))

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        best = self.best
        return {
            "name": self.name,
            "wanted": self.total,
            **{state.name.lower(): count for state, count in self.counts.items()},
            "fail": self.failed,
            "interrupted": self.interrupted,
            "best": None if best is None else {"number": best.number, self.metric: best.values[0]},
            "finished": self.finished,
            "imported": self.imported,
            "shown_only": len(self.outside),
            "paused": self.paused,
            "stopped": self.stopped or None,
            "cost": asdict(self.spent),
            "pruned_at": self.pruned_at,
        }


def pruned_words(pruned_at: Mapping[int, int]) -> str:
    """`12 after epoch 1, 3 after epoch 3`."""
    return ", ".join(f"{count} after epoch {epoch}" for epoch, count in pruned_at.items())


def mean_words(values: Sequence[float]) -> str:
    """`0.9312 (3)`: the mean of so many retrainings."""
    return f"{number(statistics.fmean(values))} ({len(values)})" if values else "–"
