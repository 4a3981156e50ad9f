"""What a memory limit costs the search: the share of trials that fail, and the best value.

    python benchmarks/bench_memory.py --write

A world has a batch size, a width, a depth, a learning rate and an optimiser. A trial takes memory as
width^a times depth^b times batch^c and fails above a limit that a share of the space exceeds. Its loss
falls with the size of the network and has a best learning rate, so the best ones lie at the limit. Each
study has 40 trials, failed ones included. Beside the tuner's search: TPE and random search, as Optuna has
them, whom failed trials teach nothing. The settings of `tuner.search.memory` were chosen on the worlds 1000,
1001, …; these are the worlds 0, 1, ….
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
from figures import Lines, parser, record
from optuna.trial import TrialState

from tuner.definition.in_python import log, study_from_python
from tuner.definition.study_file import StudyFile
from tuner.search import samplers
from tuner.storage.attributes import OUT_OF_MEMORY

SPACE = {
    "batch_size": [16, 32, 64, 128, 256, 512],
    "width": log(32, 4096),
    "depth": (1, 12),
    "lr": log(1e-5, 1e-1),
    "optimizer": ["adam", "sgd", "lion"],
}
TRIALS, WORLDS = 40, 40
SHARES = (0.3, 0.6)  # of the space that does not fit
METHODS = {
    "random": "random search",
    "tpe": "TPE (Optuna)",
    "tuner-random": "random search (tuner)",
    "tuner-tpe": "TPE (tuner)",
}


def study_file(method: str) -> StudyFile:
    return study_from_python(
        "memory", SPACE, metric="loss", goal="minimize", method=method, own={"workload": "m:W"}
    )


class World:
    """What a configuration takes and reaches.

    Args:
        share: of the space that exceeds the limit.
    """

    def __init__(self, seed: int, share: float) -> None:
        rng = np.random.default_rng(seed)
        self.powers = rng.uniform([1.0, 0.5, 0.5], [2.0, 1.2, 1.0])  # of width, depth, batch
        self.rate, self.worth = rng.uniform(-4, -2.5), rng.uniform(0.05, 0.2)
        self.optimisers = dict(zip(SPACE["optimizer"], rng.uniform(0.0, 0.3, 3), strict=True))
        file = study_file("random")
        sampled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        drawn = [self.memory(file.space.suggest(sampled.ask())) for _ in range(400)]
        self.limit = float(np.quantile(drawn, 1.0 - share))

    def memory(self, config: dict[str, Any]) -> float:
        sizes = [math.log(config[name]) for name in ("width", "depth", "batch_size")]
        return float(np.dot(self.powers, sizes))

    def loss(self, config: dict[str, Any]) -> float:
        size = 2 * math.log(config["width"]) + math.log(config["depth"])
        off = math.log10(config["lr"]) - self.rate - 0.3 * math.log10(config["batch_size"] / 64)
        return 3.0 - self.worth * size + 0.3 * off**2 + self.optimisers[config["optimizer"]]


def run(method: str, world: World, seed: int) -> tuple[float, float]:
    """The share of trials that failed, and the best loss."""
    file = study_file("random" if "random" in method else "bayes")
    if method == "random":
        sampler: Any = optuna.samplers.RandomSampler(seed=seed)
    elif method == "tpe":
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
    else:
        sampler = samplers.make(file, seed)
    study = optuna.create_study(sampler=sampler)
    for _ in range(TRIALS):
        trial = study.ask()
        config = file.space.suggest(trial)
        if world.memory(config) > world.limit:
            trial.set_user_attr(OUT_OF_MEMORY, True)
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, world.loss(config))
    failed = sum(trial.state is TrialState.FAIL for trial in study.trials)
    return failed / TRIALS, study.best_value


def measure(first: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for share in SHARES:
        worlds = [World(first + number, share) for number in range(WORLDS)]
        runs = {m: [run(m, world, seed) for seed, world in enumerate(worlds)] for m in METHODS}
        best = np.min([[value for _, value in runs[m]] for m in METHODS], axis=0)
        found[f"{share:.0%}"] = {
            m: {
                "failed": float(np.mean([failed for failed, _ in runs[m]])),
                "behind": float(np.mean([value for _, value in runs[m]] - best)),
            }
            for m in METHODS
        }
    return found


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--first", type=int, default=0, help="number of the first world")
    options = arguments.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = measure(options.first)
    lines = Lines()
    shares = list(found)
    lines.head("search", *(f"{s} too large: failed, behind the best" for s in shares))
    for method, words in METHODS.items():
        cells = [found[s][method] for s in shares]
        lines.row(words, *(f"{cell['failed']:.0%}, {cell['behind']:.3f}" for cell in cells))
    if options.write:
        record({"memory.table": lines})


if __name__ == "__main__":
    main()
