"""Plain Optuna on the trivial objective of bench_overhead.py: the same SQLite settings, sampler and pruner.

python peer_optuna.py TRIALS REPORTS PARAMETERS WORKERS
"""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from tuner.storage.databases import WalConnection

trials, reports, parameters, workers = map(int, sys.argv[1:])


def storage() -> RDBStorage:
    options = {"connect_args": {"timeout": 60, "factory": WalConnection}}
    return RDBStorage("sqlite:///plain.db", engine_kwargs=options)


def objective(trial: optuna.Trial) -> float:
    total = sum(trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(parameters))
    for epoch in range(1, reports + 1):
        trial.report(total * epoch / reports, epoch)
        if epoch < reports and trial.should_prune():
            raise optuna.TrialPruned
    return total


def work(seed: int) -> None:
    """One of the processes."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(
        study_name="plain",
        storage=storage(),
        sampler=optuna.samplers.TPESampler(multivariate=True, seed=seed),
        pruner=optuna.pruners.HyperbandPruner(1, reports, 3),
    )
    study.optimize(objective, n_trials=trials // workers)


if __name__ == "__main__":  # the schema is made before they start, as it must be
    Path("plain.db").touch()
    optuna.create_study(study_name="plain", storage=storage(), direction="maximize")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(seed,)) for seed in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
