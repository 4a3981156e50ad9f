"""The answer to "is one configuration better than another?", and its words. All surfaces show these."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass
from typing import Any

from tuner.base.words import chance, counted, number
from tuner.stats.comparison import Comparison, Verdict

BETTER: dict[Verdict, bool] = {"better": True, "no difference": False, "worse": False}
SHORT: dict[Verdict, str] = {
    "better": "better than {other}",
    "worse": "worse than {other}",
    "no difference": "no difference from {other} that matters",
    "open": "open whether it is better than {other}",
    "too few runs": "too few runs to compare it with {other}",
}
LONG: dict[Verdict, str] = {
    "better": "{one} is better than {other}",
    "worse": "{one} is worse than {other}",
    "no difference": "{one} and {other} do not differ by an amount that matters",
    "open": "It is open whether {one} is better than {other}",
    "too few runs": "There are too few runs to say whether {one} is better than {other}",
}


@dataclass(frozen=True)
class Side:
    """One of the two configurations.

    Attributes:
        name: in words. number: of its trial; -1: the default configuration, if it is no trial of the study.
        score: the mean of its retrainings; without any, its score in the study.
        runs: how many retrainings that is.
    """

    name: str
    number: int
    score: float | None
    runs: int


@dataclass(frozen=True)
class Answer:
    """Whether `one` is better than `other`.

    Attributes:
        verdict: better, worse, no difference, open, too few runs, or no winner (no trial is feasible).
        winner: the number of the trial that the study hands on; None if there is none.
        found: the comparison behind the verdict; None if there is nothing to compare.
        matters: the largest difference that does not matter.
        more_runs: further runs of each until it is decided, as far as it can be foreseen.
        decide: the command that would run them; "" if it is decided, or no command can.
        notes: what else has to be known, as sentences.
    """

    study: str
    metric: str
    verdict: Verdict
    winner: int | None
    one: Side | None = None
    other: Side | None = None
    found: Comparison | None = None
    matters: float = 0.0
    more_runs: int | None = None
    decide: str = ""
    notes: tuple[str, ...] = ()

    @property
    def better(self) -> bool | None:
        """True, False, or None as long as it is not decided."""
        return BETTER.get(self.verdict)

    @property
    def best(self) -> Side | None:
        """The side of the winner; None if there is no winner."""
        return next((s for s in (self.one, self.other) if s is not None and s.number == self.winner), None)

    @property
    def headline(self) -> str:
        """`trial 5: score 0.9312, better than trial 0, the default: +0.0194 [+0.0101, +0.0287]`."""
        if self.one is None:
            return " ".join(self.notes).rstrip(".")
        text = f"{self.one.name}: {self.metric} {_score(self.one)}"
        if self.other is None:
            return text
        return f"{text}, {SHORT[self.verdict].format(other=self.other.name)}{_difference(self.found)}"

    @property
    def sentence(self) -> str:
        """The whole answer: verdict, both scores, the difference with its interval, the data behind it."""
        if self.one is None:
            return " ".join(self.notes)
        if self.other is None:
            return " ".join([f"{self.headline[0].upper()}{self.headline[1:]}.", *self.notes])
        said = LONG[self.verdict].format(one=self.one.name, other=self.other.name)
        scores = f"{self.metric} {_score(self.one)} against {_score(self.other)}"
        text = f"{said[0].upper()}{said[1:]}: {scores}{self._data()}."
        return " ".join([text, *self.notes])

    def __str__(self) -> str:
        """The sentence, and the command that would decide it."""
        return f"{self.sentence} To decide: {self.decide}" if self.decide else self.sentence

    def _repr_html_(self) -> str:
        command = f"<div>To decide: <code>{html.escape(self.decide)}</code></div>" if self.decide else ""
        return f"<div>{html.escape(self.sentence)}</div>{command}"

    @property
    def interval_words(self) -> str:
        """`+0.0194 [+0.0101, +0.0287]`; "" if there is nothing to compare."""
        return _difference(self.found)[2:]

    def _data(self) -> str:
        found = self.found
        if found is None:
            return ""
        if found.exact:
            data = "one run of each is the truth, because repeated runs give the same score"
        elif found.pairs:
            data = f"{counted(found.pairs, 'pair')} of runs"
        else:
            once = [side.name for side in (self.one, self.other) if side is not None and side.runs < 2]
            data = "one run of each" if len(once) == 2 else "no pairs of runs"
            data += f": {once[0]} ran once" if len(once) == 1 else ""
        if found.better is not None:
            data += ", allowing for the choice of the best among several"
        probability = found.probability
        sure = "" if probability is None else f", better with a probability of {chance(probability)}"
        return f", a difference of{_difference(found)[1:]} ({data}{sure})"

    @property
    def to_decide(self) -> str:
        """`4 more runs of each`, or "" where that is not known or not needed."""
        return f"{counted(self.more_runs, 'more run')} of each" if self.more_runs and self.decide else ""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`, MCP and programs; the same keys whatever the verdict."""
        found, interval = self.found, None if self.found is None else self.found.interval
        return {
            "study": self.study,
            "metric": self.metric,
            "verdict": self.verdict,
            "better": self.better,
            "winner": self.winner,
            "trial": None if self.one is None else self.one.name,
            "against": None if self.other is None else self.other.name,
            "score": None if self.one is None else self.one.score,
            "against_score": None if self.other is None else self.other.score,
            "difference": None if found is None else found.difference,
            "low": None if interval is None else interval[0],
            "high": None if interval is None else interval[1],
            "sure": None if found is None else found.probability,
            "matters": self.matters,
            "pairs": 0 if found is None else found.pairs,
            "more_runs": self.more_runs,
            "next_run": self.decide,
            "sides": [asdict(side) for side in (self.one, self.other) if side is not None],
            "notes": list(self.notes),
            "headline": self.headline,
            "sentence": self.sentence,
        }


def _score(side: Side) -> str:
    if side.score is None:
        return "unknown"
    return number(side.score) + (f" (mean of {side.runs})" if side.runs > 1 else "")


def _difference(found: Comparison | None) -> str:
    """`: +0.0194 [+0.0101, +0.0287]`."""
    if found is None:
        return ""
    text = f": {number(found.difference, sign=True)}"
    if found.interval is None or found.exact:
        return text
    return f"{text} [{number(found.low, sign=True)}, {number(found.high, sign=True)}]"
