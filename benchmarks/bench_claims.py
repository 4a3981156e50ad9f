"""How many claims the rounds of `study hypotheses` decide in a given time, and how many wrongly.

    python benchmarks/bench_claims.py [--worlds 200] [--minutes 15] [--write]

Compares ways to use the same time, on sixteen claims without studies: two huge effects, two claims with slow
runs, twelve quick ones. Of the other effects one in four is one to three points, most are below half a point.
Bad configurations have more noise. Rounds are planned as the command plans them. They end when two agents
would have used up the time: a run of the default network takes ten seconds. `--write` stores the figures for
the docs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import figures
import numpy as np

from tuner.claims import design, rounds, verdict, verdicts
from tuner.stats import anytime

NOISE, BAD = 0.007, 5.0  # between seeds, and how many times larger it is for a bad configuration
AGENTS, SECONDS = 2, 10.0  # and what a run of the default network takes
BETWEEN = 6.0  # seconds from the end of a round to the runs of the next
HUGE, SLOW, QUICK, MATTERS = 2, 2, 12, 0.005
CLAIMS = HUGE + SLOW + QUICK
COST = np.array([1.0] * HUGE + [2.5] * SLOW + [1.0] * QUICK)  # of a run on the slower side


def main() -> None:
    parser = figures.parser(__doc__)
    parser.add_argument("--worlds", type=int, default=200, help="made-up worlds (default: 200)")
    parser.add_argument("--minutes", type=float, default=15, help="time for the claims of one world")
    options = parser.parse_args()
    lines = compare(options.worlds, options.minutes)
    if options.write:
        figures.record({"claims.ways": lines, "claims.worlds": str(options.worlds)})


def compare(worlds: int, minutes: float) -> list[str]:
    """A table: for each way how many claims are decided, how many wrongly, how many intervals ever miss."""
    ways: dict[str, tuple[bool, Callable[..., float]]] = {
        "all together, interval for any number": (False, anytime.mixture),
        "all together": (False, anytime.critical),
        "each alone first, interval for any number": (True, anytime.mixture),
        "each alone first (study hypotheses)": (True, anytime.critical),
    }
    used = anytime.critical
    lines = figures.Lines()
    lines.head("way", f"decided of {CLAIMS}", "wrong", "missed by an interval")
    for name, (first, interval) in ways.items():
        anytime.critical = interval  # type: ignore[assignment]
        found = np.mean([_settled(seed, minutes, alone_first=first) for seed in range(worlds)], axis=0)
        lines.row(name, f"{found[0]:.1f}", f"{found[1]:.2f}", f"{found[2]:.2f}")
    anytime.critical = used
    return lines


def _settled(seed: int, minutes: float, *, alone_first: bool) -> tuple[int, int, int]:
    """Claims of one world that are decided, wrongly decided, and missed by an interval at any look."""
    rng = np.random.default_rng(seed)
    some, most = rng.uniform(0.01, 0.03, CLAIMS) * rng.choice([-1, 1], CLAIMS), rng.normal(0, 0.002, CLAIMS)
    truth = np.where(rng.random(CLAIMS) < 0.25, some, most)
    truth[:HUGE] = rng.uniform(0.05, 0.3, HUGE)
    signs, y, left = np.zeros((0, CLAIMS)), np.zeros(0), AGENTS * 60 * minutes
    undecided, large = list(range(CLAIMS)), np.zeros(CLAIMS, dtype=bool)
    wrong, missed = np.zeros(CLAIMS, dtype=bool), np.zeros(CLAIMS, dtype=bool)
    first = True
    while undecided and left > 0:
        rows = []
        if first and alone_first:
            rows = [np.eye(CLAIMS)[i] for i in undecided]
        else:
            alone = [i for i in undecided if large[i]] * rounds.ALONE
            others = [i for i in undecided if not large[i]]
            quick = [i for i in others if COST[i] <= design.SLOW] if alone_first else others
            together = quick or others
            table = np.zeros((design.rows_of([[i] for i in together], first) if together else 0, CLAIMS))
            if together:
                table[:, together] = design.signs(len(together), len(table), rng)
            if not alone_first:  # slow ones in every second pair
                table[1::2, HUGE : HUGE + SLOW] = 0
            rows = [*(np.eye(CLAIMS)[i] for i in alone), *table]
        left -= AGENTS * BETWEEN
        made = []
        for row in rows:
            each = SECONDS * float(np.prod(np.where(row != 0, (1 + COST) / 2, 1)))
            left -= each * (1 if first and alone_first else 2)  # the run of the default is shared
            if left < 0:
                break
            bad = np.count_nonzero(row[:HUGE])
            noise = NOISE * math.hypot(1, BAD if bad else 1)
            made.append((row, float(row @ truth) + rng.normal(0, noise)))
        if made:
            signs, y = np.vstack([signs, [r for r, _ in made]]), np.append(y, [v for _, v in made])
        if first and alone_first:
            large[[i for i, v in zip(undecided, y, strict=False) if abs(v) >= rounds.LARGE * MATTERS]] = True
        first = False
        found = anytime.effects(signs, y)
        for claim in list(undecided):
            effect, pairs = found[claim], np.count_nonzero(signs[:, claim])
            if effect is None or pairs < verdicts.MIN_PAIRS:
                continue
            missed[claim] |= not effect.low <= truth[claim] <= effect.high
            said = verdict.decide(effect.low, effect.high, gain=None, matters=MATTERS)
            if said != "open":
                undecided.remove(claim)
                true = {"no difference": abs(truth[claim]) <= MATTERS, "as claimed": truth[claim] > 0}
                wrong[claim] = not true.get(said, truth[claim] < 0)
    return CLAIMS - len(undecided), int(wrong.sum()), int(missed.sum())


if __name__ == "__main__":
    main()
