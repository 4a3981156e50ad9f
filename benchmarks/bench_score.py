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

import argparse
import json
import sys
from collections.abc import Iterator
from typing import NamedTuple

import figures
import numpy as np
from numpy.typing import NDArray
from scipy import stats

CURVES = figures.ROOT.parent / "shared" / "data" / "curves"
STUDIES = 2_000  # simulated a task
SIZE = 40  # configurations of a study; of AlgoPerf's, half of those that there are
LENGTHS = (0.3, 0.5, 0.7)  # at which AlgoPerf's runs are cut, of the longest one
FEWEST = 10  # configurations of a task with three seeds or more
JUDGED = ("at the end", "at the best epoch")
HEAD = "| runs | tasks | judged | the last value | mean of the last three |"

Array = NDArray[np.float64]


class Runs(NamedTuple):
    """Runs of one task; smaller is better. NaN: there is no such run.

    Attributes:
        values: `(best, last or mean of three; configuration; seed)`.
        tests: `(end or best epoch; configuration; seed)`.
    """

    values: Array
    tests: Array


def run_of(valid: Array, test: Array) -> tuple[list[float], list[float]]:
    """The values and the test scores of a run, which ends before an epoch that has none (it diverged)."""
    known = np.isfinite(valid) & np.isfinite(test)
    valid, test = valid[known], test[known]
    if len(valid) < 3:
        return [np.nan] * 3, [np.nan] * 2
    return [valid.min(), valid[-1], valid[-3:].mean()], [test[-1], test[valid.argmin()]]


def single_runs(folder: str, valid: str, test: str, *, sign: int, first: int = 0) -> Iterator[list[Runs]]:
    """The tasks of a source with one run a configuration."""
    for path in sorted((CURVES / folder).glob("*.npz")):
        with np.load(path) as file:
            pairs = zip(sign * file[valid][:, first:], sign * file[test][:, first:], strict=True)
            found = [run_of(a.astype(float), b.astype(float)) for a, b in pairs]
        found = [run for run in found if np.isfinite(run[0][0])]
        values, tests = (np.array(part).T[:, :, None] for part in zip(*found, strict=True))
        yield [Runs(values, tests)]


def seeded_runs() -> Iterator[list[Runs]]:
    """The workloads of AlgoPerf, each at every length."""
    goals = json.loads((CURVES / "algoperf" / "index.json").read_text())["workloads"]
    for path in sorted((CURVES / "algoperf").glob("*.npz")):
        sign = 1 if goals[path.stem]["goal"] == "minimize" else -1
        with np.load(path) as file:
            content = {name: file[name] for name in file.files}
        found = [cut(content, sign, length) for length in LENGTHS]
        kept = [runs for runs in found if runs.values.shape[1] >= FEWEST]
        if kept:
            yield kept


def cut(content: dict[str, NDArray], sign: int, length: float) -> Runs:
    """The runs that are long enough, up to this share of the longest one."""
    step, start = content["step"], content["run_start"]
    until = length * max(step[end - 1] for end in start[1:])
    configs, seeds = content["run_config"], content["run_study"]
    shape = (int(configs.max()) + 1, int(seeds.max()) + 1)
    values, tests = np.full((3, *shape), np.nan), np.full((2, *shape), np.nan)
    for config, seed, begin, end in zip(configs, seeds, start, start[1:], strict=False):
        if step[end - 1] >= until:
            rows = slice(begin, begin + np.searchsorted(step[begin:end], until, side="right"))
            found = run_of(*(sign * content[name][rows].astype(float) for name in ("valid", "test")))
            values[:, config, seed], tests[:, config, seed] = found
    often = np.isfinite(values[0]).sum(axis=1) >= 3
    return Runs(values[:, often], tests[:, often])


def shares(runs: Runs, rng: np.random.Generator) -> Array:
    """`(value; end or best epoch)`: the mean share of configurations better than what is kept, in percent."""
    _, count, seeds = runs.values.shape
    fields = np.sort(np.nanmean(runs.tests, axis=2))  # of all configurations
    found = np.zeros((3, 2))
    for _ in range(STUDIES):
        seed = rng.integers(seeds)
        there = np.flatnonzero(np.isfinite(runs.values[0, :, seed]))
        drawn = rng.choice(there, min(SIZE, max(1, len(there) // 2)), replace=False)
        for rule, values in enumerate(runs.values):
            kept = drawn[np.argmin(values[drawn, seed])]
            others = runs.tests[:, kept] if seeds == 1 else np.delete(runs.tests[:, kept], seed, axis=1)
            for judged, score in enumerate(np.nanmean(others, axis=1)):
                found[rule, judged] += 100 * np.searchsorted(fields[judged], score) / count / STUDIES
    return found


def change(found: Array) -> str:
    """Mean and 95 % interval over tasks of `found`: `(task,)`."""
    half = stats.t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found))
    return f"{found.mean():+.1f} [{found.mean() - half:+.1f}, {found.mean() + half:+.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", help="store the table for the docs")
    asked = parser.parse_args()
    if not CURVES.is_dir():
        sys.exit(f"skipped: there are no curves in {CURVES}")
    sources = {
        "LCBench": single_runs("lcbench", "val_balanced_accuracy", "test_balanced_accuracy", sign=-1),
        "TaskSet": single_runs("taskset", "valid_loss", "test_loss", sign=1, first=1),
        "AlgoPerf": seeded_runs(),
    }
    rng, lines = np.random.default_rng(0), [HEAD, "| --- " * 5 + "|"]
    for name, tasks in sources.items():
        found = np.array([np.mean([shares(runs, rng) for runs in task], axis=0) for task in tasks])
        against = found[:, 1:] - found[:, :1]  # (task, rule, end or best epoch)
        for place, judged in enumerate(JUDGED):
            cells = [change(against[:, rule, place]) for rule in range(2)]
            lines.append(f"| {name} | {len(found)} | {judged} | {' | '.join(cells)} |")
    print("\n".join(lines))
    if asked.write:
        figures.record({"score.test": lines}, command=figures.own_command())


if __name__ == "__main__":
    main()
