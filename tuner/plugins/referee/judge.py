"""Which changes of a program are better than what they were compared with, from all runs so far.

The first arm of a history is the incumbent. Each later one challenges the incumbent of the moment. It is
kept, and is the next incumbent, as soon as its e-value (`stats.anytime.evidence`) reaches what its place in
the history asks for. So at most 5 % of what is kept is false, on average over all histories, however often
one looks and whichever arms are run again: e-LOND of Xu and Ramdas, "Online multiple testing with e-values"
(arXiv 2311.06412). Whoever keeps whatever scores better than the best so far keeps about four of fifty
changes that change nothing. A keep is never taken back.

All runs of all arms tell together how much two runs of one arm differ. While hardly any arm was run twice,
the differences between arms that follow each other in the history stand in for it. They are too large where
arms really differ, so that nothing is kept too early.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

from scipy.special import stdtr, stdtrit

from tuner.plugins.referee.arms import Arm, Ruling, Run
from tuner.stats.anytime import RUNS, critical, evidence
from tuner.stats.comparison import REPEATS
from tuner.stats.intervals import LEVEL
from tuner.stats.noise import UNKNOWN, Noise, pooled, spread
from tuner.stats.runs import paired

FALSE_KEEPS = 0.05  # of what is kept
FIRST_BLOCK = 50  # challengers that share half of it; the next 100 share a quarter, and so on
EFFECTS = (4.0, 64.0)  # g: gains are expected to be twice as large as the noise of a run, or much larger
ENOUGH = 4  # degrees of freedom of repeats, from which they alone tell the noise
LEAST = 3  # runs of an arm that is kept: its noise may be larger than that of the others
EXACT = 2  # repeats that agree digit for digit, from which it is no chance
ROBUST = 0.37  # efficiency of the median absolute deviation: 100 differences tell as much as 37 squares
UNLIKELY = 0.1  # chance of a gain below which an arm is not worth another run
MOST_RUNS = 16  # of an arm: a gain that even these could not show is not looked for


class Referee:
    """Takes the runs of a history in the order in which they were made, and rules on each arm.

    Args:
        maximize: whether larger values of the metric are better.
        barred: arms that cannot be compared, and why.
    """

    def __init__(
        self, runs: Iterable[Run] = (), *, maximize: bool, barred: dict[str, str] | None = None
    ) -> None:
        self.maximize = maximize
        self.barred = barred or {}
        self.arms: dict[str, Arm] = {}
        self.failed: dict[str, Run] = {}  # arms none of whose runs has a value, by their last run
        self.failures: Counter[str] = Counter()  # runs without a value, by arm
        self.stopped: dict[str, Run] = {}  # arms with a run that was ended early: they are never kept
        self.incumbent: Arm | None = None
        self.kept = 0
        self._challengers: dict[str, Arm] = {}  # in the order of the history
        self._repeated: dict[str, Arm] = {}  # those of them that have runs enough to be kept
        self._places = 0
        self._squares, self._freedom = 0.0, 0  # of runs around their arm's mean
        for run in runs:
            self.add(run)

    def add(self, run: Run) -> None:
        """Takes the next run; whichever challenger is proved better by it is kept."""
        self.__dict__.pop("rulings", None)
        if run.value is None or not math.isfinite(run.value):
            if run.stopped:
                self._give_up(run)
                return
            self.failures[run.arm] += 1
            if run.arm not in self.arms:
                self.failed[run.arm] = run
            return
        self.failed.pop(run.arm, None)
        arm = self.arms.get(run.arm) or self._new_arm(run.arm)
        before = _squares(arm.scores)
        arm.add(run, run.value if self.maximize else -run.value)
        if len(arm.scores) > 1:
            self._squares += _squares(arm.scores) - before
            self._freedom += 1
        self.__dict__.pop("noise", None)
        if len(arm.scores) >= LEAST and arm.name in self._challengers:
            self._repeated[arm.name] = arm
        self._keep_what_is_better(arm)

    def _new_arm(self, name: str) -> Arm:
        arm = self.arms[name] = Arm(name, barred=self.barred.get(name, ""))
        if arm.barred or name in self.stopped:
            return arm
        if self.incumbent is None:
            self.incumbent = arm
        else:
            self._challengers[name] = arm
            self._challenge(arm)
        return arm

    def _challenge(self, arm: Arm) -> None:
        self._places += 1
        arm.place, arm.against = self._places, self.incumbent

    def _give_up(self, run: Run) -> None:
        """No later run can have the arm kept: the one that was ended is missing among its runs."""
        self.stopped[run.arm] = run
        self.failed.pop(run.arm, None)
        self._repeated.pop(run.arm, None)
        self._challengers.pop(run.arm, None)

    @cached_property
    def noise(self) -> Noise:
        """How much two runs of one arm differ: standard deviation of a run, with its degrees of freedom."""
        freedom = self._freedom
        repeats = Noise(math.sqrt(self._squares / freedom), freedom) if freedom else UNKNOWN
        if freedom >= ENOUGH or self.exact:
            return repeats
        return pooled([repeats, self._of_history()])

    @property
    def exact(self) -> bool:
        """Whether all repeats agreed digit for digit: the seed is ignored, and one run is the truth."""
        return self._freedom >= EXACT and self._squares == 0

    @property
    def noise_words(self) -> str:
        """Where the noise is known from."""
        if not self.noise.freedom:
            return "not known yet, as no arm was run twice"
        if self.exact:
            return "repeats agree digit for digit: the seed is ignored, and one run of an arm is enough"
        if self._freedom >= ENOUGH:
            return f"from {self._freedom + sum(len(a.scores) > 1 for a in self.arms.values())} repeated runs"
        return "from the differences between arms, which make it too large rather than too small"

    def _of_history(self) -> Noise:
        firsts = [arm.scores[0] for arm in self.arms.values() if not arm.barred]
        steps = [abs(two - one) for one, two in pairwise(firsts)]
        freedom = int(ROBUST * len(steps))
        typical = statistics.median(steps) if steps else 0.0
        return Noise(1.4826 / math.sqrt(2) * typical, freedom) if freedom and typical else UNKNOWN

    def _keep_what_is_better(self, ran: Arm) -> None:
        """Looks at the arm that was run; at all challengers where the incumbent was run or is a new one."""
        while (incumbent := self.incumbent) is not None:
            enough = self._challengers if self.exact else self._repeated
            looked_at = enough.values() if ran is incumbent else [ran] if ran.name in enough else []
            ahead = [arm for arm in looked_at if arm.mean > incumbent.mean]
            better = next((arm for arm in ahead if self._evidence(arm) >= self._asked(arm)), None)
            if better is None:
                return
            ran = better
            better.kept, self.incumbent = True, better
            self.kept += 1
            self._repeated.pop(better.name, None)
            del self._challengers[better.name]
            for arm in self._challengers.values():
                self._challenge(arm)

    def _asked(self, arm: Arm) -> float:
        """The e-value with which an arm is kept, by its place and by how many were kept before."""
        return 1 / (FALSE_KEEPS * share(arm.place) * (self.kept + 1))

    def _evidence(self, arm: Arm) -> float:
        """Its e-value: by all runs, and where seeds are told also by pairs of runs on one seed.

        The mean of two e-values is one, too. Pairs tell more where a seed does the same to all arms.
        """
        assert arm.against is not None
        t, information = self._distance(arm)
        alone = self._e_value(t, information, self.noise.freedom)
        if not (any(arm.seeds) and any(arm.against.seeds)):
            return alone
        pairs = arm.pairs()
        if len(pairs) < LEAST:
            return (alone + 1) / 2
        gap, deviation = statistics.fmean(pairs), statistics.stdev(pairs)
        repeats = deviation <= REPEATS * max(abs(gap), 1e-12)
        t = math.copysign(math.inf, gap) if repeats else gap * math.sqrt(len(pairs)) / deviation
        return (alone + self._e_value(t, len(pairs), len(pairs) - 1)) / 2

    def _e_value(self, t: float, information: float, freedom: float) -> float:
        if math.isinf(t):
            return math.inf if t > 0 else 0.0
        return sum(evidence(t, information, freedom, prior=g) for g in EFFECTS) / len(EFFECTS)

    def _distance(self, arm: Arm) -> tuple[float, float]:
        """Standard errors by which an arm is better than what it challenges, and the information on it."""
        assert arm.against is not None
        ours, theirs = len(arm.scores), len(arm.against.scores)
        information = ours * theirs / (ours + theirs)
        deviation = self.noise.deviation
        gap = arm.mean - arm.against.mean
        if not deviation > 0:
            return (math.copysign(math.inf, gap) if self.exact and gap else 0.0), information
        return gap * math.sqrt(information) / deviation, information

    # -- what is known

    @cached_property
    def rulings(self) -> dict[str, Ruling]:
        """The ruling on each arm, in the order of the history."""
        return {name: self._rule(name) for name in dict.fromkeys([*self.arms, *self.failed, *self.stopped])}

    def ruling(self, name: str) -> Ruling:
        """The ruling on one arm."""
        return self.rulings[name] if "rulings" in self.__dict__ else self._rule(name)

    def _rule(self, name: str) -> Ruling:
        failed = self.failures[name]
        if name in self.failed:
            run = self.failed[name]
            reason = f"no run of it has a value ({run.source})"
            return Ruling(name, "failed", reason, failed=failed, note=run.note)
        if name not in self.arms:
            run = self.stopped[name]
            return Ruling(name, "discard", run.stopped, failed=failed, note=run.note)
        arm = self.arms[name]
        value = arm.mean if self.maximize else -arm.mean
        known: dict[str, Any] = {"mean": value, "runs": len(arm.scores), "failed": failed, "note": arm.note}
        if arm.barred:
            return Ruling(name, "not comparable", arm.barred, **known)
        if arm.against is None:
            if name in self.stopped and arm is not self.incumbent:
                return Ruling(name, "discard", self.stopped[name].stopped, **known)
            return Ruling(name, "baseline", "the first arm", **known, next_seed=arm.next_seed)
        t, information = self._distance(arm)
        noise, gap = self.noise, arm.mean - arm.against.mean
        pairs = arm.pairs()
        several = len(pairs) >= LEAST  # then there are two intervals, which share what may go wrong
        level = 1 - (1 - LEVEL) / 2 if several else LEVEL
        half = self._reach(information, level)
        low, high = gap - half, gap + half
        if several:
            told = paired(pairs, level=level)
            ends = (told.difference, told.difference) if told.noise == 0 else told.interval
            if ends is not None and ends[1] - ends[0] < high - low:
                low, high = ends
        known |= {
            "against": arm.against.name,
            "difference": gap,
            "low": low,
            "high": high,
            "chance": float(stdtr(noise.freedom, t)) if noise.freedom else None,
            "evidence": self._evidence(arm),
            "asked": self._asked(arm),
        }
        if arm.kept:
            return Ruling(name, "keep", "few keeps like this are false", **known)
        if name in self.stopped:
            return Ruling(name, "discard", self.stopped[name].stopped, **known)
        if noise.freedom and high < 0:
            return Ruling(name, "discard", "worse", **known)
        if known["chance"] is not None and known["chance"] < UNLIKELY:
            return Ruling(name, "discard", f"a gain is unlikely ({known['chance']:.0%})", **known)
        hopeful = gap + self._deviation(arm) / math.sqrt(information) if noise.freedom else gap
        if noise.freedom and not self._shows(arm, hopeful, MOST_RUNS - len(arm.scores)):
            reason = f"a gain that {MOST_RUNS} runs could show is unlikely"
            return Ruling(name, "discard", reason, **known)
        more = self._more(arm, gap)
        known |= {"more": more, "next_seed": arm.next_seed}
        few = len(arm.scores) < LEAST and (more or 0) <= LEAST
        reason = f"what is kept has {LEAST} runs at least" if few else "better or noise, it is not known"
        return Ruling(name, "run again", reason, **known)

    def _more(self, arm: Arm, gap: float) -> int | None:
        """Further runs of an arm that would prove a gain of this size; None: too many, or not foreseen."""
        able = range(1, MOST_RUNS - len(arm.scores) + 1)
        found = bisect.bisect_left(able, True, key=lambda more: self._shows(arm, gap, more))
        return able[found] if found < len(able) else None

    def _shows(self, arm: Arm, gap: float, more: int) -> bool:
        """Whether so many further runs would prove a gain of this size, the incumbent being run as often."""
        assert arm.against is not None
        ours, before = len(arm.scores) + more, len(arm.against.scores)
        theirs = max(before, ours)
        if not self.noise.freedom or gap <= 0 or more < 1:
            return False
        if self.noise.deviation == 0:
            return self.exact
        information = ours * theirs / (ours + theirs)
        t = gap * math.sqrt(information) / self._deviation(arm)
        freedom = max(self.noise.freedom, self._freedom + more + theirs - before)
        return self._e_value(t, information, freedom) >= self._asked(arm)

    def _deviation(self, arm: Arm) -> float:
        """Standard deviation of a run in the comparison with what the arm challenges: pairs may have less."""
        pairs = arm.pairs()
        if len(pairs) < LEAST:
            return self.noise.deviation
        return min(self.noise.deviation, statistics.stdev(pairs) / math.sqrt(2)) or self.noise.deviation

    def hopeless(self, name: str) -> float | None:
        """The score of an arm's next run below which it would be discarded; None: the noise is not known.

        A score is a value whose larger ones are better.
        """
        if self.incumbent is None or not self.noise.freedom:
            return None
        scores = self.arms[name].scores if name in self.arms else []
        ours, theirs = len(scores) + 1, len(self.incumbent.scores)
        error = self.noise.deviation * math.sqrt((ours + theirs) / (ours * theirs))
        gap = float(stdtrit(self.noise.freedom, UNLIKELY)) * error
        return ours * (self.incumbent.mean + gap) - sum(scores)

    def next_run(self) -> Arm | None:
        """The arm to run next; None where nothing is open.

        Repeats of the incumbent come first where it has fewer runs than its challengers: every comparison
        needs them. Then the challenger that has the best chance.
        """
        if self.incumbent is None:
            return None
        if len(self.arms) == 1 and len(self.incumbent.scores) < 2:
            return self.incumbent
        open_ = [r for r in self.rulings.values() if r.word == "run again"]
        if not open_:
            return None
        best = max(open_, key=lambda ruling: ruling.chance or 0.5)
        arm = self.arms[best.arm]
        return self.incumbent if len(self.incumbent.scores) < len(arm.scores) + 1 else arm

    def unplaced(self) -> list[Ruling]:
        """The arms that are in no group: they have no value, or none that can be compared."""
        return [r for r in self.rulings.values() if r.mean is None or r.word == "not comparable"]

    def groups(self) -> list[list[Arm]]:
        """The arms in order, the best first, in groups within which none is told apart from the first."""
        arms = sorted((a for a in self.arms.values() if not a.barred), key=lambda arm: -arm.mean)
        found: list[list[Arm]] = []
        for arm in arms:
            if found and not self._apart(found[-1][0], arm):
                found[-1].append(arm)
            else:
                found.append([arm])
        return found

    def _apart(self, one: Arm, two: Arm) -> bool:
        information = len(one.scores) * len(two.scores) / (len(one.scores) + len(two.scores))
        return one.mean - two.mean > self._reach(information)

    def interval(self, arm: Arm) -> float:
        """Half of the interval of an arm's mean; infinite where the noise is not known."""
        return self._reach(len(arm.scores))

    def _reach(self, information: float, level: float = LEVEL) -> float:
        """Half of the interval of an estimate; infinite where the noise is not known."""
        reach = _critical(information, self.noise.freedom, level)
        return reach * self.noise.deviation / math.sqrt(information) if math.isfinite(reach) else math.inf


def share(place: int) -> float:
    """Which share of the false keeps a challenger may use up, by its place from 1; all shares sum to 1."""
    block, size, left = 1, FIRST_BLOCK, place
    while left > size:
        block, left, size = block + 1, left - size, 2 * size
    return 2.0**-block / size


def _squares(scores: Sequence[float]) -> float:
    return spread(scores).deviation ** 2 * (len(scores) - 1) if len(scores) > 1 else 0.0


@lru_cache(maxsize=1024)
def _critical(information: float, freedom: float, level: float) -> float:
    return critical(information, freedom, level=level, looks=RUNS)
