"""Which value of a trial finds the better configuration: that of its best epoch, or that at its end?

    python benchmarks/bench_score.py

Simulated studies of outside runs, whose curves on validation and test data lie in ../shared/data/curves (its
README names the sources). A study draws configurations at random and keeps the one with the best value: the
best of all epochs, the last one, or the mean of the last three. What it keeps is judged on test data: at the
end of the run, and at the epoch that was best on validation data, for those who deploy that checkpoint.

The measure is the share of all configurations that are better on the same test, in percent. The table shows
by how much it changes where another value replaces that of the best epoch (below 0: a better configuration is
kept), with a 95 % interval over tasks. LCBench and TaskSet have one run a configuration; LCBench's curves are
those of a surrogate, without noise. AlgoPerf has five seeds: a study sees one, and the test score is the mean
of the others. Its runs end when they reach a target, so that a lucky epoch is their last one: they are cut
before that, at three lengths. `--write` stores the table for the docs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

import figures
import numpy as np
from arena.outside import CURVES, Arrays, arrays, filled_by_run, index, runs
from arena.summary import Floats
from scipy import stats

SIZE = 40  # configurations of a study; of AlgoPerf's, half of those that there are
LENGTHS = (0.3, 0.5, 0.7)  # at which AlgoPerf's runs are cut, of the longest one
FEWEST = 10  # configurations of a task with three seeds or more
JUDGED = ("at the end", "at the best epoch")


class Scores(NamedTuple):
    """Runs of one task; smaller is better. NaN: there is no such run.

    Attributes:
        values: `(best, last or mean of three; configuration; seed)`.
        tests: `(end or best epoch; configuration; seed)`.
    """

    values: Floats
    tests: Floats


def scores_of(valid: Floats, test: Floats) -> list[float]:
    """Values and test scores of a run, which ends before an epoch that has none (it diverged)."""
    known = np.isfinite(valid) & np.isfinite(test)
    valid, test = valid[known], test[known]
    if len(valid) < 3:
        return [np.nan] * 5
    return [valid.min(), valid[-1], valid[-3:].mean(), test[-1], test[valid.argmin()]]


def single_runs(source: str, valid: str, test: str, *, sign: int, first: int = 0) -> Iterator[list[Scores]]:
    """The tasks of a source with one run a configuration."""
    for path in sorted((CURVES / source).glob("*.npz")):
        content = arrays(CURVES, f"{source}/{path.stem}")
        pairs = zip(sign * content[valid][:, first:], sign * content[test][:, first:], strict=True)
        found = np.array([scores_of(a.astype(float), b.astype(float)) for a, b in pairs])
        found = found[np.isfinite(found[:, 0])].T[:, :, None]
        yield [Scores(found[:3], found[3:])]


def seeded_runs() -> Iterator[list[Scores]]:
    """The workloads of AlgoPerf, each at every length."""
    goals = index(CURVES, "algoperf")["workloads"]
    for path in sorted((CURVES / "algoperf").glob("*.npz")):
        content = arrays(CURVES, f"algoperf/{path.stem}")
        sign = 1 if goals[path.stem]["goal"] == "minimize" else -1
        kept = [cut(content, sign, length) for length in LENGTHS]
        if kept := [scores for scores in kept if scores.values.shape[1] >= FEWEST]:
            yield kept


def cut(content: Arrays, sign: int, length: float) -> Scores:
    """The runs that are long enough, up to this share of the longest one."""
    step = content["step"]
    until = length * max(step[end - 1] for end in content["run_start"][1:])
    found = filled_by_run(content, 5)
    for config, seed, rows in runs(content):
        if step[rows.stop - 1] >= until:
            here = slice(rows.start, rows.start + np.searchsorted(step[rows], until, side="right"))
            valid, test = (sign * content[name][here].astype(float) for name in ("valid", "test"))
            found[:, config, seed] = scores_of(valid, test)
    often = np.isfinite(found[0]).sum(axis=1) >= 3
    return Scores(found[:3, often], found[3:, often])


def shares(scores: Scores, rng: np.random.Generator, studies: int) -> Floats:
    """`(value; end or best epoch)`: the mean share of configurations better than what is kept, in percent."""
    _, count, seeds = scores.values.shape
    fields = np.sort(np.nanmean(scores.tests, axis=2))  # of all configurations
    found = np.zeros((3, 2))
    for _ in range(studies):
        seed = rng.integers(seeds)
        there = np.flatnonzero(np.isfinite(scores.values[0, :, seed]))
        drawn = rng.choice(there, min(SIZE, max(1, len(there) // 2)), replace=False)
        for rule, values in enumerate(scores.values):
            kept = scores.tests[:, drawn[np.argmin(values[drawn, seed])]]
            others = kept if seeds == 1 else np.delete(kept, seed, axis=1)
            for judged, score in enumerate(np.nanmean(others, axis=1)):
                found[rule, judged] += 100 * np.searchsorted(fields[judged], score) / count / studies
    return found


def change(found: Floats) -> str:
    """Mean and 95 % interval over tasks of `found`: `(task,)`."""
    half = stats.t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found))
    return f"{found.mean():+.1f} [{found.mean() - half:+.1f}, {found.mean() + half:+.1f}]"


def main() -> None:
    parser = figures.parser(__doc__)
    parser.add_argument("--studies", type=int, default=2000, help="simulated, of each task (default: 2000)")
    options = parser.parse_args()
    if not CURVES.is_dir():
        sys.exit(f"skipped: there are no curves in {CURVES}")
    sources = {
        "LCBench": single_runs("lcbench", "val_balanced_accuracy", "test_balanced_accuracy", sign=-1),
        "TaskSet": single_runs("taskset", "valid_loss", "test_loss", sign=1, first=1),
        "AlgoPerf": seeded_runs(),
    }
    rng, lines = np.random.default_rng(0), figures.Lines()
    lines.head("runs", "tasks", "judged", "the last value", "mean of the last three", words=range(5))
    for name, tasks in sources.items():
        found = np.array(
            [np.mean([shares(runs, rng, options.studies) for runs in task], axis=0) for task in tasks]
        )
        against = found[:, 1:] - found[:, :1]  # (task, rule, end or best epoch)
        for place, judged in enumerate(JUDGED):
            lines.row(name, len(found), judged, *(change(against[:, rule, place]) for rule in range(2)))
    if options.write:
        figures.record({"score.test": lines})


if __name__ == "__main__":
    main()
