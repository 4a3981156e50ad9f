"""Outside results with real seeds, as tasks: one value for each configuration and seed, larger is better.

Four sources: HPOBench-MLP (balanced accuracy, 5 seeds), HPOLib (mean squared error, 4 seeds), NAS-Bench-201
(validation accuracy, 3 seeds) and the AlgoPerf logs (5 seeds). Losses change their sign; nothing else is
scaled. A run that diverged counts as a model that has learnt nothing: a mean squared error of 1 (the targets
are standardised), a word error rate of 1, a log loss of ln 2, an accuracy of 0. Configurations without a run
on each seed are left out. In AlgoPerf a value is that of the last evaluation. These runs stop once they reach
the target of their workload, so many good configurations differ only in how far they overshoot it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from arena.outside import arrays, filled_by_run, index, runs
from arena.summary import Floats
from numpy.typing import NDArray

LEAST_CONFIGURATIONS = 40
NEIGHBOURS = 2  # on each side, whose residuals a fresh run may have …
ALIKE = 3.0  # … if the standard deviations of their seeds differ by at most this factor
WORST = {"mse": 1.0, "wer": 1.0, "loss": math.log(2)}  # of a model that has learnt nothing; others: 0
METRICS = {"hpobench": "balanced accuracy", "hpolib": "mse", "nas201": "accuracy in %"}

# The settings of the race were chosen on the first half; the second half chose nothing.
CHOOSING = (
    *("hpobench/blood_transfusion", "hpobench/vehicle", "hpolib/parkinsons_telemonitoring", "nas201/cifar10"),
    *("algoperf/criteo1tb_embed_init", "algoperf/imagenet_resnet_large_bn_init"),
    *("algoperf/librispeech_conformer", "algoperf/librispeech_conformer_layernorm"),
)
KEPT = (
    *("hpobench/car", "hpobench/kc1", "hpobench/phoneme"),
    *("hpolib/naval_propulsion", "hpolib/slice_localization", "nas201/cifar100"),
    *("algoperf/fastmri_tanh", "algoperf/ogbg", "algoperf/wmt", "algoperf/wmt_glu_tanh"),
)


@dataclass(frozen=True)
class Task:
    """Configurations of one task, best first.

    Attributes:
        values: `(configuration, seed)`, larger is better.
        test: the same on test data; None where the source has none.
        baseline: the best configuration of the published baseline; None where there is none.
    """

    name: str
    metric: str
    values: Floats
    test: Floats | None = None
    baseline: int | None = None

    @cached_property
    def truth(self) -> Floats:
        """What each configuration is worth: the mean over its seeds."""
        mean: Floats = self.values.mean(axis=1)
        return mean

    @cached_property
    def residuals(self) -> Floats:
        """`(configuration, seed)`: what a seed does, with the variance that runs have around their mean."""
        seeds = self.values.shape[1]
        scaled: Floats = (self.values - self.truth[:, None]) * math.sqrt(seeds / (seeds - 1))
        return scaled

    @cached_property
    def pools(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`(configuration, 5)`: from the left itself and those next to it by truth whose seeds spread alike,
        and how many these are.
        """
        count, width = len(self.values), 2 * NEIGHBOURS + 1
        first = np.clip(np.arange(count) - NEIGHBOURS, 0, count - width)
        near = first[:, None] + np.arange(width)
        spread = self.values.std(axis=1)
        ratio = np.maximum(spread[near], spread[:, None]) <= ALIKE * np.minimum(spread[near], spread[:, None])
        return np.take_along_axis(near, np.argsort(~ratio, axis=1, kind="stable"), axis=1), ratio.sum(axis=1)

    def fresh(self, members: NDArray[np.int64], seeds: NDArray[np.int64], rng: np.random.Generator) -> Floats:
        """`(member, round)`: runs of these configurations. In each round all have the same seed.

        A run is the configuration's truth and a residual that this seed left in its pool. It is never better
        than the best real run of the pool: where one seed of five diverged, the others are not better for it.
        """
        pools, sizes = (part[members] for part in self.pools)
        drawn = rng.integers(sizes[:, None], size=(len(members), len(seeds)))
        runs = self.truth[members][:, None] + self.residuals[np.take_along_axis(pools, drawn, axis=1), seeds]
        bound = np.where(np.arange(pools.shape[1]) < sizes[:, None], self.values.max(axis=1)[pools], -np.inf)
        best: Floats = np.minimum(runs, bound.max(axis=1, keepdims=True))
        return best

    @cached_property
    def deviation(self) -> float:
        """Standard deviation of a run of a good configuration: the median over the best tenth."""
        best = self.values[: max(5, len(self.values) // 10)]
        return float(np.median(best.std(axis=1, ddof=1)))

    def default(self, rng: np.random.Generator) -> int:
        """A team's default: from the middle fifth of the best tenth."""
        tenth = len(self.values) / 10
        return int(rng.integers(math.floor(0.4 * tenth), math.floor(0.6 * tenth) + 1))


def load(folder: Path, names: tuple[str, ...] = CHOOSING + KEPT) -> list[Task]:
    """The tasks of these names (`source/task`) in the folder of outside curves."""
    return [
        _algoperf(folder, name) if name.startswith("algoperf") else _final(folder, name) for name in names
    ]


def available(folder: Path) -> tuple[str, ...]:
    """All tasks in the folder that have enough configurations with all seeds."""
    found = [f"{source}/{task}" for source in METRICS for task in index(folder, source)["tasks"]]
    for workload, about in index(folder, "algoperf")["workloads"].items():
        if about["configurations_with_5_studies"] >= LEAST_CONFIGURATIONS:
            found.append(f"algoperf/{workload}")
    return tuple(name for name in found if (folder / f"{name}.npz").exists())


def _final(folder: Path, name: str) -> Task:
    source = name.split("/")[0]
    values = arrays(folder, name)["values"].astype(float)
    values = values[~np.isnan(values).any(axis=1)]
    return _sorted(name, METRICS[source], values, index(folder, source)["goal"])


def _algoperf(folder: Path, name: str) -> Task:
    about = index(folder, "algoperf")["workloads"][name.split("/")[1]]
    content = arrays(folder, name)
    final = filled_by_run(content, 2)
    ran = np.zeros(final.shape[1:], dtype=bool)
    for config, seed, rows in runs(content):
        ran[config, seed] = rows.stop > rows.start
        if ran[config, seed]:
            final[:, config, seed] = content["valid"][rows.stop - 1], content["test"][rows.stop - 1]
    complete = ran.all(axis=1)
    valid, test = final[:, complete]
    own = content["config_team"][: len(complete)][complete] == "baseline"
    return _sorted(name, about["metric"], valid, about["goal"], test, own)


def _sorted(
    name: str,
    metric: str,
    values: Floats,
    goal: str,
    test: Floats | None = None,
    published: NDArray[np.bool_] | None = None,
) -> Task:
    sign, worst = (-1, WORST[metric]) if goal == "minimize" else (1, 0.0)

    def signed(raw: Floats) -> Floats:
        filled = np.where(np.isfinite(raw), raw, worst)
        return sign * (np.minimum(filled, worst) if goal == "minimize" else np.maximum(filled, worst))

    larger = signed(values)
    order = np.argsort(-larger.mean(axis=1), kind="stable")
    baseline = None if published is None else next((i for i, c in enumerate(order) if published[c]), None)
    return Task(name, metric, larger[order], None if test is None else signed(test)[order], baseline)
