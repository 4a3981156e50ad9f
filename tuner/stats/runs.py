"""Compares two configurations by the runs there are: in pairs, in rounds with others, or single ones."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from tuner.stats import population
from tuner.stats.anytime import RUNS, critical
from tuner.stats.comparison import LEAST_PAIRS, REPEATS, Comparison
from tuner.stats.intervals import LEVEL, student
from tuner.stats.noise import Noise

MOST_RUNS = 200  # more would hardly be run


def paired(gaps: Sequence[float], *, level: float = LEVEL, once: bool = False) -> Comparison:
    """A against B by differences of pairs of runs, each pair on one seed and split.

    Args:
        gaps: score of A less score of B, a pair each; at least one.
        once: the number of pairs was fixed before, so an ordinary t interval holds. Otherwise the interval
            holds however often one looks while further pairs are run.
    """
    mean, count = statistics.fmean(gaps), len(gaps)
    if count < 2:
        return Comparison(mean, -math.inf, math.inf, pairs=count)
    noise = statistics.stdev(gaps)
    if noise <= REPEATS * max(abs(mean), 1e-12):
        return Comparison(mean, -math.inf, math.inf, noise=0.0, pairs=count)
    error, freedom = noise / math.sqrt(count), count - 1
    reach = student(freedom, level) if once else critical(count, freedom, level=level, looks=RUNS)
    return Comparison(mean, mean - reach * error, mean + reach * error, error, freedom, noise, count)


def in_rounds(
    one: Mapping[int, float], two: Mapping[int, float], others: Sequence[Mapping[int, float]], known: Noise
) -> Comparison | None:
    """A against B by runs in rounds (round → score), in which other configurations took part.

    With A and B alone in complete rounds it is `paired`. Others tell what a round adds to all, how much runs
    vary, and how far apart configurations are.

    Args:
        known: the noise of a run by other measurements.

    Returns:
        None if the two cannot be compared: no chain of rounds connects them.
    """
    all_runs = [one, two, *others]
    values = [(i, k, v) for i, runs in enumerate(all_runs) for k, v in runs.items()]
    return population.fit(values, len(all_runs), known).compare(0, 1)


def single(ours: Sequence[float], theirs: Sequence[float], known: Noise) -> Comparison | None:
    """A against B by unpaired runs, where the noise of a run is known from other runs; None without runs."""
    if not ours or not theirs:
        return None
    gap = statistics.fmean(ours) - statistics.fmean(theirs)
    if not (known.freedom > 0 and known.deviation > 0):
        return Comparison(gap, -math.inf, math.inf)
    error = known.deviation * math.sqrt(1 / len(ours) + 1 / len(theirs))
    half = student(known.freedom, LEVEL) * error
    return Comparison(gap, gap - half, gap + half, error, known.freedom, known.deviation * math.sqrt(2))


def next_pair(gaps: Sequence[float], noise: Noise, *, level: float) -> Comparison:
    """The difference that one more pair is going to have: mean and t prediction interval.

    Args:
        gaps: differences of at least two pairs.
        noise: of a run, from all configurations there are; the larger of it and the spread of `gaps` counts.
    """
    mean = statistics.fmean(gaps)
    spread = max(statistics.stdev(gaps), math.sqrt(2) * noise.deviation)
    error = spread * math.sqrt(1 + 1 / len(gaps))
    half = student(noise.freedom, level) * error
    return Comparison(mean, mean - half, mean + half, error, noise.freedom, spread, len(gaps))


def more_pairs(found: Comparison, matters: float) -> int | None:
    """Further runs of each until the interval excludes 0, or lies within what does not matter.

    None: it cannot be foreseen, because the noise is not known or it would take more than `MOST_RUNS`.
    """
    if not found.noise > 0:
        return max(1, LEAST_PAIRS - found.pairs)
    extra = max(0.0, found.freedom - (found.pairs - 1)) if found.pairs else 0.0  # what others add
    for count in range(max(LEAST_PAIRS, found.pairs + 1), MOST_RUNS):
        if found.better is not None:
            half = (found.high - found.low) / 2 * math.sqrt(found.pairs / count)
        else:
            half = critical(count, count - 1 + extra, looks=RUNS) * found.noise / math.sqrt(count)
        if half < abs(found.difference) or half <= matters - abs(found.difference):
            return count - found.pairs
    return None
