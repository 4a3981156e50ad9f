"""What a report costs beside training: the agent's buffer and the stopping rule.

    python benchmarks/bench_pruning.py

A study has so many finished trials of so many logged values each, two running trials of other agents, and one
of this process, whose reports are timed from the middle of its run. Trials are held in memory, so that the
table shows the work of this process. After the table: what the first report of W&B's rule takes, which reads
all that finished before, and one reading of another agent's running trial from SQLite (done twice a second at
most, and less often where it takes long: tuner/storage/records.py). `--write` stores the figures for the
docs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from typing import Any

import figures
import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.definition.pruner_settings import PrunerSettings
from tuner.search import pruners
from tuner.storage.access import open_records, patience_with
from tuner.storage.records import Records

SIZES = ((100, 100), (100, 1_000), (100, 10_000), (1_000, 100), (1_000, 1_000))
RULES = {
    "W&B hyperband": PrunerSettings("wandb_hyperband", min_iter=1, eta=3),
    "Hyperband": PrunerSettings("hyperband", min_resource=1, max_resource=100_000, eta=3, brackets=1),
    "median": PrunerSettings("median", startup_trials=5, warmup=1),
}


class NoLedger:
    """Hands nothing over: the trial of this benchmark is never written."""

    lock = None


def study_of(trials: int, values: int, rng: np.random.Generator) -> tuple[optuna.Study, Records, int]:
    """A study, its buffered storage, and the id of the trial that this process runs."""
    memory = InMemoryStorage()
    study_id = memory.create_new_study([StudyDirection.MAXIMIZE], "pruning")
    for _ in range(trials):
        memory.create_new_trial(study_id, trial_of(values, rng, ended=True))
    for _ in range(2):
        memory.create_new_trial(study_id, trial_of(values // 2, rng, ended=False))
    own = memory.create_new_trial(study_id, create_trial(state=TrialState.RUNNING))
    ledger: Any = NoLedger()
    records = Records(memory, ledger, patience_with("sqlite:///none"))
    records._open_trial(memory.get_trial(own))
    return optuna.load_study(study_name="pruning", storage=records), records, own


def trial_of(values: int, rng: np.random.Generator, *, ended: bool) -> FrozenTrial:
    """A trial with so many reports."""
    curve = dict(enumerate(rng.normal(size=values).tolist(), start=1))
    if ended:
        return create_trial(state=TrialState.COMPLETE, value=curve[values], intermediate_values=curve)
    return create_trial(state=TrialState.RUNNING, intermediate_values=curve)


def report_ms(settings: PrunerSettings, trials: int, values: int, reports: int) -> tuple[float, float]:
    """CPU ms of the first judged report, and the mean over those that follow it.

    The first one reads all that has finished before.
    """
    rng = np.random.default_rng(0)
    study, records, own = study_of(trials, values, rng)
    rule = pruners.make(settings, "pruning")
    trial = optuna.trial.Trial(study, own)
    rule.should_prune(study, trial)
    for step in range(1, values // 2):
        records.set_trial_intermediate_value(own, step, float(rng.normal()))
    costs = []
    for step in range(values // 2, values // 2 + reports):
        value = float(rng.normal())
        began = time.process_time()
        records.set_trial_intermediate_value(own, step, value)
        rule.should_prune(study, trial)
        costs.append(1000 * (time.process_time() - began))
    return costs[0], statistics.mean(costs[1:])


def reading_ms(values: int) -> float:
    """CPU ms of reading a running trial with so many reports from SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/studies.db"
        records = open_records(url, create=True)
        study_id = records.create_new_study([StudyDirection.MAXIMIZE], "reading")
        trial = records.claim(study_id, user_attrs={})
        for step in range(1, values + 1):
            records.set_trial_intermediate_value(trial._trial_id, step, step / values)
        records.flush(trial._trial_id)
        other = open_records(url)
        costs = []
        for _ in range(5):
            began = time.process_time()
            other.optuna_storage.get_all_trials(study_id, deepcopy=False)
            costs.append(1000 * (time.process_time() - began))
        other.queue.close()
        records.close()
        return statistics.median(costs)


def main() -> None:
    """Prints the table."""
    parser = figures.parser(__doc__)
    parser.add_argument("--reports", type=int, default=50, help="reports that are timed in each cell")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = figures.Lines()
    table.head("trials x values", *RULES)
    firsts = []
    for trials, values in SIZES:
        costs = [
            report_ms(rule, trials, values, min(options.reports, values // 2)) for rule in RULES.values()
        ]
        firsts.append(costs[0][0])
        table.row(f"{trials:,} x {values:,}", *(f"{later:.3f}" for _, later in costs))
    values = max(values for _, values in SIZES)
    found = {
        "pruning.first_seconds": f"{max(firsts) / 1000:.1f}",
        "pruning.reading_ms": f"{reading_ms(values):.0f}",
    }
    print(f"the first report: {found['pruning.first_seconds']} s at most")
    print(f"reading a running trial of {values:,} values: {found['pruning.reading_ms']} ms")
    if options.write:
        units = {"pruning.first_seconds": "s of CPU", "pruning.reading_ms": "ms of CPU"}
        figures.record({"pruning.reports": table, **found}, units=units)


if __name__ == "__main__":
    main()
