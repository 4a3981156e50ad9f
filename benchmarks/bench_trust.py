"""How good is the configuration that a study hands on, and how much too good does its score look?

    python benchmarks/bench_trust.py [--studies 200] [--write]

Replays studies on recorded runs (`data/curves.json`: 150 configurations of our network on real recordings). A
study draws 40 of them. What a configuration is worth is the mean of its last three recorded epochs: its test
score here. A run adds the noise of a seed, and a run on another split of the recordings what that split does
to all and to this configuration. Each way of choosing sees only such noisy runs. `--write` stores the
figures for the docs.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import figures
import numpy as np
from tuner.base.statistics import t_interval

from tuner.claims import race
from tuner.claims.retrain import Candidate
from tuner.definition.loading import from_plain
from tuner.definition.study_file import StudyFile

HERE = Path(__file__).parent
SINGLE = "best score on one split"
RACE = "race with the default (what a campaign does)"
LATER = "… where earlier races have measured the noise"
TRIALS = 40
SEED_NOISE = 0.005  # standard deviation between seeds of one configuration
SPLIT_NOISE = 0.004  # of what a split of the recordings does to one configuration more than to others
SPLIT_OFFSET = 0.01  # of what it does to all
KNOWN = race.Noise(float(np.hypot(SEED_NOISE, SPLIT_NOISE)), 12)
FILE = {
    "method": "random", "program": "train.py", "metric": {"name": "score", "goal": "maximize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What a way of choosing ends with: the configuration, the score it is reported with, runs it took."""

    chosen: int
    reported: float
    runs: int


class World:
    """One study: the worth of its configurations, and noisy runs of them."""

    def __init__(self, worth: np.ndarray, default: int, rng: np.random.Generator) -> None:
        self.worth, self.default, self.rng = worth, default, rng
        self.scores = worth + rng.normal(0, np.hypot(SEED_NOISE, SPLIT_NOISE), len(worth))
        self.best = np.argsort(-self.scores)
        self._offsets: dict[int, float] = {}

    def run(self, index: int, split: int) -> float:
        """A run of a configuration on another seed and split."""
        offset = self._offsets.setdefault(split, float(self.rng.normal(0, SPLIT_OFFSET)))
        noise = self.rng.normal(0, SEED_NOISE) + self.rng.normal(0, SPLIT_NOISE)
        return float(self.worth[index] + offset + noise)


def single_split(world: World) -> Choice:
    """The best score of the study."""
    chosen = int(world.best[0])
    return Choice(chosen, float(world.scores[chosen]), 0)


def once_more(world: World) -> Choice:
    """The best three once more on another seed of the same split; the mean of both scores decides."""
    means = {
        int(i): (world.scores[i] + world.worth[i] + world.rng.normal(0, SEED_NOISE)) / 2
        for i in world.best[:3]
    }
    chosen = max(means, key=means.__getitem__)
    return Choice(chosen, float(means[chosen]), 3)


def cross_validated(world: World) -> Choice:
    """The best five on three other splits each; the mean of those decides."""
    means = {int(i): statistics.fmean(world.run(int(i), k) for k in range(3)) for i in world.best[:5]}
    chosen = max(means, key=means.__getitem__)
    return Choice(chosen, means[chosen], 15)


def raced(world: World, file: StudyFile, known: race.Noise = race.UNKNOWN) -> Choice:
    """A race of the best four and the default; without a gain that was shown, the default."""
    entered = [int(i) for i in world.best[: race.TOP]]
    if world.default not in entered:
        entered.append(world.default)
    default = entered.index(world.default)
    found = [Candidate(i, {"x": i}, (float(world.scores[i]),), 0.0) for i in entered]
    tried: set[tuple[int, int]] = set()
    while True:
        wanted = race.entries(
            found,
            file,
            default=default,
            first=known.first_rounds,
            most=race.ROUNDS,
            tried=tried,
            known=known,
        )
        new = [entry for entry in wanted if entry not in tried]
        if not new:
            break
        for place, split in new:
            again = {**found[place].again, split: world.run(entered[place], split)}
            found[place] = replace(found[place], again=again, violation_again=dict.fromkeys(again, 0.0))
            tried.add((place, split))
    record = race.record(found, file, default=default, known=known)
    return Choice(int(record["number"]), float(record["mean"]), len(tried))


def compared(studies: int) -> dict[str, dict[str, list[float]]]:
    """For each way of choosing, by study: what it lost, optimism, worse than the default (0 or 1), runs."""
    curves = json.loads((HERE / "data" / "curves.json").read_text())
    worth = np.array([statistics.fmean(curve["values"][-3:]) for curve in curves])
    worth = worth[worth > np.quantile(worth, 0.5)]  # a search leaves the hopeless half soon
    file = from_plain(FILE, name="trust", path=Path("trust.yaml"))
    ways: dict[str, Callable[[World], Choice]] = {
        SINGLE: single_split,
        "best three once more, mean of both": once_more,
        "best five cross-validated on three splits": cross_validated,
        RACE: lambda world: raced(world, file),
        LATER: lambda world: raced(world, file, KNOWN),
    }
    rows: dict[str, dict[str, list[float]]] = {
        way: {"lost": [], "optimism": [], "worse": [], "runs": []} for way in ways
    }
    for number in range(studies):
        rng = np.random.default_rng(number)
        drawn = rng.choice(worth, TRIALS, replace=False)
        default = int(np.argsort(-drawn)[rng.integers(0, 8)])  # a good default: among the best fifth
        for way, choose in ways.items():
            world = World(drawn, default, np.random.default_rng([number, 1]))
            choice = choose(world)
            rows[way]["lost"].append(drawn.max() - drawn[choice.chosen])
            rows[way]["optimism"].append(choice.reported - drawn[choice.chosen])
            rows[way]["worse"].append(float(drawn[choice.chosen] < drawn[default]))
            rows[way]["runs"].append(choice.runs)
    return rows


def table(rows: dict[str, dict[str, list[float]]]) -> list[str]:
    """The comparison as a Markdown table."""
    lines = [
        "| chosen by | extra runs | lost to the best | score above its worth | worse than the default |",
        "| --- | --- | --- | --- | --- |",
    ]
    for way, found in rows.items():
        lines.append(
            f"| {way} | {statistics.fmean(found['runs']):.1f} | {_interval(found['lost'])} | "
            f"{_interval(found['optimism'], sign='+')} | {statistics.fmean(found['worse']):.0%} |"
        )
    return lines


def _interval(values: list[float], sign: str = "") -> str:
    mean, low, high = t_interval(values)
    return f"{mean:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="store the figures for the docs")
    options = parser.parse_args()
    rows = compared(options.studies)
    print("\n".join(table(rows)))
    if options.write:
        after_race = max(statistics.fmean(rows[way]["worse"]) for way in (RACE, LATER))
        figures.record(
            {
                "trust.choices": table(rows),
                "trust.studies": str(options.studies),
                "trust.worse_by_best_score": f"{100 * statistics.fmean(rows[SINGLE]['worse']):.0f}",
                "trust.worse_after_race": f"{100 * after_race:.0f}",
            },
            command="python benchmarks/bench_trust.py",
            units={"trust.worse_by_best_score": "%", "trust.worse_after_race": "%"},
        )


if __name__ == "__main__":
    main()
