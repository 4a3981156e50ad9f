"""The referee on runs with real seeds that nobody here made: false keeps, runs to a keep, final quality.

    python benchmarks/bench_referee.py [--histories 100] [--half choose|report] [--write]

Arms are configurations of HPOBench-MLP, HPOLib, NAS-Bench-201 and AlgoPerf. The true value of one is the mean
over its seeds, and its runs vary as the real runs of the twenty configurations do whose means are nearest
(their residuals, corrected for the few seeds of each).

- *A/A*: fifty candidates that change nothing. Whatever is kept is false.
- *One gain*: a candidate that is better by one, two or four standard deviations of a run.
- *A loop*: candidates are drawn from the better third of all configurations, the first incumbent is the
  median of these, and each rule may spend the same number of runs.

- *Ended early*: duels of up to sixteen pairs on the learning curves of AlgoPerf, with and without an early
  end of runs of the candidate.

Rules: greedy (one run, kept if it scores better), 3 or 5 runs of each (kept if the mean is better), Welch's
test with as many (one-sided, 5 %), and the referee, which is asked after each run what to run next.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import figures
import numpy as np
from arena import outside
from numpy.typing import NDArray
from scipy import stats

from tuner.plugins.referee.arms import Run
from tuner.plugins.referee.duel import SLACK, limits
from tuner.plugins.referee.judge import Referee

Floats = NDArray[np.float64]
SOURCES = ("hpobench", "hpolib", "nas201", "algoperf")
CANDIDATES = 50
BUDGET = 150  # runs of a loop
BETTER_THIRD = 1 / 3
NEAREST = 20
GAINS = (1.0, 2.0, 4.0)


@dataclass
class World:
    """Configurations of a task, in order of their true scores (larger is better)."""

    name: str
    means: Floats  # (arm,)
    residuals: Floats  # (arm, seed)

    def runs(self, arm: int, rng: np.random.Generator) -> Iterator[float]:
        """Scores of runs of an arm."""
        near = slice(max(0, arm - NEAREST // 2), arm + NEAREST // 2)
        pool = self.residuals[near].ravel()
        while True:
            yield float(self.means[arm] + rng.choice(pool))

    def noise(self, arm: int) -> float:
        """Standard deviation of a run."""
        return float(self.residuals[max(0, arm - NEAREST // 2) : arm + NEAREST // 2].std())


def worlds(folder: Path, half: str) -> list[World]:
    """The tasks of one half: every other one of each source."""
    found = []
    for source in SOURCES:
        about = outside.index(folder, source)
        names = sorted(path.stem for path in (folder / source).glob("*.npz"))
        if source == "algoperf":
            names = [n for n in names if about["workloads"][n]["configurations_with_5_studies"] > NEAREST]
        for name in names[half == "report" :: 2]:
            values = _values(source, about, name, outside.arrays(folder, f"{source}/{name}"))
            means = values.mean(axis=1)
            order = np.argsort(means)
            order = order[int((1 - BETTER_THIRD) * len(order)) :] if len(order) > 3 * NEAREST else order
            seeds = values.shape[1]
            residuals = (values - means[:, None]) * np.sqrt(seeds / (seeds - 1))
            if residuals[order].std() > 0:
                found.append(World(f"{source}/{name}", means[order], residuals[order]))
    return found


def _values(source: str, about: dict, name: str, content: outside.Arrays) -> Floats:
    """`(configuration, seed)`, larger is better."""
    if source == "algoperf":
        last = outside.filled_by_run(content, 1)[0]
        for config, seed, rows in outside.runs(content):
            valid = content["valid"][rows]
            if len(valid) and np.isfinite(valid[-1]):
                last[config, seed] = valid[-1]
        values = last[np.isfinite(last).all(axis=1)]
        goal = about["workloads"][name]["goal"]
    else:
        values, goal = content["values"].astype(float), about["goal"]
    values = values[np.isfinite(values).all(axis=1)]
    return values if goal == "maximize" else -values


@dataclass
class Loop:
    """What a rule did: runs that it used, the true score of its incumbent, and its keeps."""

    used: int = 0
    true: float = 0.0
    keeps: int = 0
    false: int = 0
    path: list[float] = field(default_factory=list)

    def keep(self, before: float, after: float) -> None:
        self.keeps += 1
        self.false += after <= before
        self.true = after


Draw = Callable[[int], tuple[float, Iterator[float]]]  # the true score of the next candidate, and its runs


def fixed(draw: Draw, candidates: int, budget: int, n: int, *, welch: bool = False) -> Loop:
    """Keeps a candidate whose mean of n runs is better than that of the incumbent's first n runs."""
    true, runs = draw(0)
    ours = [next(runs) for _ in range(n)]
    loop = Loop(n, true)
    for i in range(1, candidates + 1):
        if loop.used + n > budget:
            break
        candidate, more = draw(i)
        theirs = [next(more) for _ in range(n)]
        loop.used += n
        better = statistics.fmean(theirs) > statistics.fmean(ours)
        if welch and better:
            better = stats.ttest_ind(theirs, ours, equal_var=False, alternative="greater").pvalue < 0.05
        if better:
            loop.keep(loop.true, candidate)
            ours = theirs
    return loop


def refereed(draw: Draw, candidates: int, budget: int) -> Loop:
    """Asks the referee after each run what to run next; the next candidate where nothing is open."""
    referee, arms = Referee(maximize=True), {"0": draw(0)}
    loop = Loop(0, arms["0"][0])

    def run(name: str) -> None:
        before = referee.kept
        referee.add(Run(name, next(arms[name][1])))
        loop.used += 1
        if referee.kept > before and referee.incumbent is not None:
            loop.keep(loop.true, arms[referee.incumbent.name][0])

    for _ in range(2):
        run("0")
    for i in range(1, candidates + 1):
        if loop.used >= budget:
            break
        arms[str(i)] = draw(i)
        run(str(i))
        while loop.used < budget and (following := referee.next_run()) is not None:
            run(following.name)
    return loop


RULES: dict[str, Callable[[Draw, int, int], Loop]] = {
    "greedy": lambda draw, c, b: fixed(draw, c, b, 1),
    "3 runs each": lambda draw, c, b: fixed(draw, c, b, 3),
    "5 runs each": lambda draw, c, b: fixed(draw, c, b, 5),
    "Welch, 3": lambda draw, c, b: fixed(draw, c, b, 3, welch=True),
    "Welch, 5": lambda draw, c, b: fixed(draw, c, b, 5, welch=True),
    "referee": refereed,
}


def nothing(world: World, rng: np.random.Generator) -> Draw:
    """Candidates that are the incumbent."""
    arm = int(rng.integers(len(world.means)))
    return lambda i: (0.0, world.runs(arm, rng))


def one_gain(world: World, rng: np.random.Generator, gain: float) -> Draw:
    """A candidate that is better by `gain` standard deviations of a run."""
    arm = int(rng.integers(len(world.means)))
    more = gain * world.noise(arm)

    def draw(i: int) -> tuple[float, Iterator[float]]:
        runs = world.runs(arm, rng)
        return (more, (value + more for value in runs)) if i else (0.0, runs)

    return draw


def a_loop(world: World, rng: np.random.Generator) -> Draw:
    """Candidates from all arms; the first incumbent is the median."""
    arms = rng.permutation(len(world.means))

    def draw(i: int) -> tuple[float, Iterator[float]]:
        arm = len(world.means) // 2 if i == 0 else int(arms[i % len(arms)])
        return float(world.means[arm]), world.runs(arm, rng)

    return draw


def curves_of(folder: Path, half: str) -> list[list[list[list[list[float]]]]]:
    """By task of AlgoPerf and by program (team, framework) the curves of its configurations with five seeds.

    Larger is better. Configurations of one program differ as a loop's changes do.
    """
    about = outside.index(folder, "algoperf")["workloads"]
    able = sorted(n for n, task in about.items() if task["configurations_with_5_studies"] > NEAREST)
    found = []
    for name in able[half == "report" :: 2]:
        content = outside.arrays(folder, f"algoperf/{name}")
        sign = 1 if about[name]["goal"] == "maximize" else -1
        by_config: dict[int, list[list[float]]] = {}
        for config, _, rows in outside.runs(content):
            valid = content["valid"][rows]
            curve = [sign * float(value) for value in valid[np.isfinite(valid)]]
            if len(curve) > 1:
                by_config.setdefault(config, []).append(curve)
        programs: dict[tuple[str, str], list[list[list[float]]]] = {}
        for config, several in by_config.items():
            if len(several) == 5:
                who = (str(content["config_team"][config]), str(content["config_framework"][config]))
                programs.setdefault(who, []).append(several)
        found.append([configs for configs in programs.values() if len(configs) > 1])
    return found


def duel(
    ours: list[list[float]], theirs: list[list[float]], rng: np.random.Generator, slack: float
) -> Counter[str]:
    """`ours` challenges `theirs`; as `tuner referee run` does it. An infinite slack ends no run early.

    Returns:
        the reports of all runs, and whether the candidate was kept or discarded.
    """
    referee, found = Referee(maximize=True), Counter[str]()
    complete: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
    for _ in range(16):
        for name, runs in (("theirs", theirs), ("ours", ours)):
            # shifted by a hundredth of a deviation: two draws of one run do not agree digit for digit
            shift = 0.01 * statistics.pstdev(run[-1] for run in runs) * float(rng.normal())
            curve = [value + shift for value in runs[rng.integers(len(runs))]]
            least = referee.hopeless(name) if name == "ours" else None
            worst = [] if least is None else limits(*complete.values(), least, slack=slack)
            end = next((s for s, low in enumerate(worst[: len(curve) - 1]) if curve[s] < low), None)
            if end is not None:
                found.update(reports=end + 1, discard=1)
                return found
            found["reports"] += len(curve)
            complete[name].append(curve)
            referee.add(Run(name, curve[-1]))
        word = referee.ruling("ours").word
        if word != "run again":
            found[word] += 1
            return found
    return found


def early_ends(folder: Path, half: str, duels: int, slack: float) -> dict[str, float]:
    """Shares of the reports that are saved, of false keeps, and of discards of what is truly better."""
    slacks = {"never": float("inf"), "early": slack}
    sums = {(kind, rule): Counter[str]() for kind in ("same", "better", "worse") for rule in slacks}
    counts = Counter[str]()
    for programs in curves_of(folder, half):
        for k in range(duels):
            rng = np.random.default_rng([20261204, k])
            configs = programs[rng.integers(len(programs))]
            ends = [statistics.fmean(curve[-1] for curve in runs) for runs in configs]
            one, two = (int(i) for i in rng.choice(len(configs), 2, replace=False))
            for ours in (one, two):
                kind = "same" if ours == one else "better" if ends[ours] > ends[one] else "worse"
                counts[kind] += 1
                for rule, much in slacks.items():
                    rng = np.random.default_rng([20261205, k])
                    sums[kind, rule] += duel(configs[ours], configs[one], rng, much)
    used = {rule: sum(sums[kind, rule]["reports"] for kind in counts) for rule in slacks}
    worse = {rule: sums["worse", rule]["reports"] for rule in slacks}
    measures = {
        "false keeps": ("same", "keep"),
        "kept": ("better", "keep"),
        "wrong discards": ("better", "discard"),
    }
    return {
        "duels": counts.total(),
        "saved": 1 - used["early"] / used["never"],
        "saved worse": 1 - worse["early"] / worse["never"],
    } | {
        f"{what} {rule}": sums[kind, rule][word] / counts[kind]
        for rule in slacks
        for what, (kind, word) in measures.items()
    }


def measure(found: list[World], histories: int) -> dict[str, dict[str, float]]:
    """The measures of each rule: means over tasks of means over histories."""
    table: dict[str, dict[str, list[float]]] = {rule: {} for rule in RULES}

    def note(rule: str, measure: str, values: list[float]) -> None:
        table[rule].setdefault(measure, []).append(statistics.fmean(values))

    for world in found:
        for rule, play in RULES.items():
            rngs = [np.random.default_rng([20261201, k]) for k in range(histories)]
            loops = [play(nothing(world, rng), CANDIDATES, 10**6) for rng in rngs]
            note(rule, "any false", [loop.false > 0 for loop in loops])
            note(rule, "false keeps", [loop.false for loop in loops])
            note(rule, "A/A runs", [loop.used for loop in loops])
            for gain in GAINS:
                rngs = [np.random.default_rng([20261202, k]) for k in range(histories)]
                loops = [play(one_gain(world, rng, gain), 1, 10**6) for rng in rngs]
                note(rule, f"kept {gain:g}", [loop.keeps > 0 for loop in loops])
                note(rule, f"runs {gain:g}", [loop.used for loop in loops])
            rngs = [np.random.default_rng([20261203, k]) for k in range(histories)]
            loops = [play(a_loop(world, rng), BUDGET, BUDGET) for rng in rngs]
            place = [float(np.mean(world.means <= loop.true)) for loop in loops]
            note(rule, "final", place)
            note(rule, "loop keeps", [loop.keeps for loop in loops])
            note(rule, "loop false", [loop.false for loop in loops])
        print(f"  {world.name}", flush=True)
    return {rule: {m: statistics.fmean(v) for m, v in row.items()} for rule, row in table.items()}


def main() -> None:
    parser = figures.parser(__doc__)
    parser.add_argument("--histories", type=int, default=100, help="of each task and rule")
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument("--curves", type=Path, default=outside.CURVES)
    parser.add_argument("--early", action="store_true", help="only the duels with an early end")
    options = parser.parse_args()
    early = early_ends(options.curves, options.half, options.histories, SLACK)
    print({name: round(value, 3) for name, value in early.items()}, flush=True)
    if options.write:
        told = {name: f"{100 * value:.0f}" for name, value in early.items()} | {
            "duels": f"{early['duels']:.0f}"
        }
        figures.record({f"referee.early_{name.replace(' ', '_')}": text for name, text in told.items()})
    if options.early:
        return
    found = worlds(options.curves, options.half)
    table = measure(found, options.histories)
    lines = figures.Lines()
    heads = (
        "rule", "A/A: histories with a false keep", "false keeps of 50", "gain of 1, 2, 4 deviations: kept",
        "runs until kept or given up", "a loop of 150 runs: final place", "keeps", "of which false",
    )  # fmt: skip
    lines.head(*heads, words=range(len(heads)))
    for rule, row in table.items():
        kept = ", ".join(f"{row[f'kept {gain:g}']:.0%}" for gain in GAINS)
        runs = ", ".join(f"{row[f'runs {gain:g}']:.0f}" for gain in GAINS)
        lines.row(
            rule, f"{row['any false']:.0%}", f"{row['false keeps']:.2f}", kept, runs,
            f"{row['final']:.0%}", f"{row['loop keeps']:.1f}", f"{row['loop false']:.2f}",
        )  # fmt: skip
    if options.write:
        figures.record(
            {
                "referee.rules": lines,
                "referee.tasks": str(len(found)),
                "referee.histories": str(options.histories),
                "referee.any_false": f"{table['referee']['any false']:.0%}".removesuffix("%"),
                "referee.greedy_any_false": f"{table['greedy']['any false']:.0%}".removesuffix("%"),
            }
        )


if __name__ == "__main__":
    main()
