"""What the runs of the studies `hypotheses…` say about the claims of other studies.

Their runs come in pairs (grid points 2r and 2r + 1) with one seed. The runs of a pair are on opposite sides
of several claims at once, and each pair speaks for all of them. The study file of such a study lists the
claims that it tests, with the exact values of both sides. Studies of older versions list none: their runs are
matched claim by claim.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tuner.claims.matching import claim_names, pairs_run, same_data
from tuner.claims.material import Material, Study, Trial
from tuner.claims.noise import noise_between_seeds
from tuner.definition.constraints import Hypothesis
from tuner.stats import anytime
from tuner.stats.comparison import Comparison
from tuner.storage.attributes import GRID_POINT

Floats = NDArray[np.float64]
IDENTITY = "identity"  # in the result of a run: another of the same identity is equal digit for digit
REUSED = "reused"  # in the result of a run that was not made again: the folder of the run that was
ENOUGH = 10  # degrees of freedom from which on the spread of pairs says how large the noise is


def family_of(name: str) -> str:
    """`hypotheses` for `hypotheses.round3` and for rounds that were set aside."""
    return re.sub(r"\.round\d+$", "", name.partition("@")[0])


def label(study: str, claim: str) -> str:
    """The name of a claim in the study file of a study that tests it."""
    return f"{study}: {claim}"


@dataclass(frozen=True)
class Paired:
    """The effect of a claim (where − against) from pairs of runs that were made for it.

    Attributes:
        shared: claims, at most, for which one pair counts.
        note: how the runs differ from those of the claim's study; "" if they do not.
    """

    effect: Comparison
    pairs: int
    shared: int
    note: str = ""

    def in_words(self) -> str:
        """`24 pairs, each for up to 12 claims`."""
        return f"{self.pairs} pairs" + (f", each for up to {self.shared} claims" if self.shared > 1 else "")


@dataclass(frozen=True)
class PairOfRuns:
    """A pair of runs.

    Attributes:
        signs: by claim, +1 if the first run is on its side `where`, -1 if the second is.
        alone: the claims about everything in which the two runs differ.
    """

    family: str
    signs: Mapping[str, int]
    alone: frozenset[str]
    first: Trial
    second: Trial
    study: Study

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for pairs of the same two runs, as far as the workload says what makes two runs the same."""
        return tuple(sorted(str(t.result.get(IDENTITY) or t.folder) for t in (self.first, self.second)))


@dataclass(frozen=True)
class Evidence:
    """The pairs of runs of all studies `hypotheses…`, and the noise between seeds."""

    paired: tuple[Study, ...] = ()
    studies: tuple[Study, ...] = ()
    _found: dict[tuple[str, str], dict[str, Paired]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, material: Material) -> Evidence:
        return cls(material.pairs, material.studies)

    @cached_property
    def rows(self) -> tuple[PairOfRuns, ...]:
        """The pairs of runs. A pair that two claims share was run for each, and counts once."""
        found = {row.key: row for study in self.paired for row in _rows(study)}
        return tuple(found.values())

    def effect(self, study: Study, hypothesis: Hypothesis, metric: str) -> Paired | None:
        """What the pairs say about a claim; None if there are too few of them for an estimate."""
        name = label(study.name, hypothesis.claim)
        families = {row.family for row in self.rows if name in row.signs and same_data(study, row.study)}
        for family in sorted(families):
            return self._effects(family, metric).get(name)
        gaps = [gap for one in self.paired for gap in pairs_run(study, hypothesis, metric, one)]
        if not gaps:
            return None
        (found,) = anytime.effects(np.ones((len(gaps), 1)), np.array(gaps))
        return None if found is None else Paired(found, len(gaps), 1)

    def tried(self, study: Study, hypothesis: Hypothesis) -> int:
        """How many pairs have run for a claim, whether they logged its metric or not."""
        name = label(study.name, hypothesis.claim)
        return sum(name in row.signs and same_data(study, row.study) for row in self.rows)

    def alone(self, study: Study, hypothesis: Hypothesis, metric: str) -> float | None:
        """Mean difference (where − against) of pairs in which nothing else was varied; None: no such pair."""
        name = label(study.name, hypothesis.claim)
        rows = [row for row in self.rows if name in row.alone and same_data(study, row.study)]
        gaps = [row.signs[name] * gap for row in rows if (gap := _gap(row, metric)) is not None]
        return statistics.fmean(gaps) if gaps else None

    def noise(self, study: Study, metric: str) -> float | None:
        """Standard deviation of a metric between runs of one configuration, as far as it is known.

        From repeated runs of the study, then of other studies with the metric, then from the spread of pairs.
        """
        for studies in (study, self.studies):
            found = noise_between_seeds(studies, metric)
            if found.deviation > 0:
                return found.deviation
        for family in sorted({row.family for row in self.rows}):
            for one in self._effects(family, metric).values():
                if one.effect.freedom >= ENOUGH:
                    return one.effect.noise / math.sqrt(2)  # of one run, not of a difference
        return None

    def _effects(self, family: str, metric: str) -> dict[str, Paired]:
        if (family, metric) not in self._found:
            self._found[family, metric] = _effects([r for r in self.rows if r.family == family], metric)
        return self._found[family, metric]

    def slower(self, family: str) -> dict[str, float]:
        """How many times longer runs take for each claim.

        On its slower side than on the other, or than for most claims, whichever is more.
        """
        lasted = {trial.folder: trial.seconds for study in self.paired for trial in study.trials}
        # a run that was made before takes no time when a later pair shares it
        seconds = [
            [lasted.get(t.result.get(REUSED, t.folder), 0.0) for t in (r.first, r.second)] for r in self.rows
        ]
        used = [
            (r, a, b)
            for r, (a, b) in zip(self.rows, seconds, strict=True)
            if r.family == family and min(a, b) > 0
        ]
        names = sorted({name for row, _, _ in used for name in row.signs})
        if not names:
            return {}
        signs = np.array([[row.signs.get(name, 0) for name in names] for row, _, _ in used], dtype=float)
        y = np.array([math.log(first / second) for _, first, second in used])
        effects = zip(names, anytime.effects(signs, y), strict=True)
        found = {name: math.exp(abs(effect.difference)) for name, effect in effects if effect is not None}
        alone = {name: max(first, second) for row, first, second in used for name in row.alone}
        usual = statistics.median(alone.values()) if alone else 1.0
        return found | {name: max(found.get(name, 1.0), took / usual) for name, took in alone.items()}


def _rows(study: Study) -> Iterator[PairOfRuns]:
    if not study.file.hypotheses:
        return
    by_point = {t.frozen.user_attrs.get(GRID_POINT, t.number): t for t in study.trials if t.complete}
    for point, first in sorted(by_point.items()):
        second = by_point.get(point + 1)
        if point % 2 or second is None:
            continue
        one, other = first.config, second.config
        varied = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
        signs = {}
        for hypothesis in study.file.hypotheses:
            sides = (hypothesis.side(one), hypothesis.side(other))
            if None not in sides and sides[0] != sides[1]:
                signs[hypothesis.claim] = 1 if sides[0] == "where" else -1
        alone = {h.claim for h in study.file.hypotheses if h.claim in signs and varied <= claim_names(h)}
        yield PairOfRuns(family_of(study.name), signs, frozenset(alone), first, second, study)


def _effects(rows: Sequence[PairOfRuns], metric: str) -> dict[str, Paired]:
    """The effects of all claims on one metric, from the pairs of studies that run the same program."""
    gaps = [(row, gap) for row in rows if (gap := _gap(row, metric)) is not None]
    used = [row for row, _ in gaps]
    names = sorted({name for row in used for name in row.signs})
    signs = np.array([[row.signs.get(name, 0) for name in names] for row in used], dtype=float)
    if not used or not names:
        return {}
    answers = {}
    for name, effect in _estimated(names, signs, np.array([gap for _, gap in gaps], dtype=float)).items():
        own = [row for row in used if name in row.signs]
        notes = {row.study.file.description for row in own if row.study.file.description}
        answers[name] = Paired(effect, len(own), max(len(row.signs) for row in own), "; ".join(sorted(notes)))
    return answers


def _gap(row: PairOfRuns, metric: str) -> float | None:
    """By how much the metric of the first run of a pair is larger; None where one of them has none."""
    first, second = (
        t.value if metric == row.study.metric else t.metric(metric) for t in (row.first, row.second)
    )
    if first is None or second is None or not (math.isfinite(first) and math.isfinite(second)):
        return None
    return first - second


def _estimated(names: Sequence[str], signs: Floats, y: Floats) -> dict[str, Comparison]:
    """The effect of each claim. Claims with the same two sides share a column."""
    columns, place = np.unique(signs, axis=1, return_inverse=True)
    found = anytime.effects(columns, y)
    return {name: e for name, j in zip(names, place.ravel(), strict=True) if (e := found[j]) is not None}
