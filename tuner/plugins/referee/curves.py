"""When a run of a candidate is ended early: it lies so far behind that its end can no longer help its arm.

The arm is discarded with it and is never kept, so that no false keep can come of a run that is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

LEAST_CURVES = 3  # complete runs, before which no run is ended
SLACK = 3.0  # chosen on the half of AlgoPerf that chooses settings (`benchmarks/bench_referee.py`)


def limits(
    ours: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
    least: float,
    *,
    slack: float = SLACK,
) -> list[float]:
    """The score, by step, below which a run is ended; larger scores are better.

    From a step to its end a run is expected to gain no more than any complete run did, and on top of that
    `slack` times the range of their gains. It is ended where even so its end would be below `least`.

    Args:
        ours, theirs: curves of complete runs of the candidate and of the incumbent, `(run, step)`; they may
            have different lengths. The candidate needs one at least: a change may make a program learn later.
        least: the final score below which the arm would be discarded (`Referee.hopeless`).
    """
    curves = [*ours, *theirs]
    if not ours or len(curves) < LEAST_CURVES:
        return []
    found = []
    for step in range(min(map(len, curves)) - 1):
        gains = [curve[-1] - curve[step] for curve in curves]
        found.append(least - max(gains) - slack * (max(gains) - min(gains)))
    return found
