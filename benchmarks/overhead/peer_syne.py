"""Syne Tune with its local backend and BOHB on the trivial objective of bench_overhead.py.

    python peer_syne.py TRIALS REPORTS PARAMETERS WORKERS

Its tuner polls the trials' logs; twice a second here, ten times as often as it does by default.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import LocalBackend
from syne_tune.config_space import uniform
from syne_tune.optimizer.baselines import BOHB

logging.disable(logging.WARNING)
trials, reports, parameters, workers = map(int, sys.argv[1:])

SCRIPT = f"""
from argparse import ArgumentParser
from syne_tune import Reporter

parser = ArgumentParser()
for i in range({parameters}):
    parser.add_argument(f"--x{{i}}", type=float)
values, _ = parser.parse_known_args()
report, total = Reporter(), sum(vars(values).values())
for epoch in range(1, {reports} + 1):
    report(epoch=epoch, score=total * epoch / {reports})
"""

with tempfile.TemporaryDirectory() as folder:
    script = Path(folder) / "objective.py"
    script.write_text(SCRIPT)
    space = {f"x{i}": uniform(0, 1) for i in range(parameters)}
    Tuner(
        trial_backend=LocalBackend(entry_point=str(script)),
        scheduler=BOHB(
            space,
            metric="score",
            time_attr="epoch",
            max_t=reports,
            do_minimize=False,
            random_seed=0,
            grace_period=1,
            reduction_factor=3,
        ),
        stop_criterion=StoppingCriterion(max_num_trials_started=trials),
        n_workers=workers,
        sleep_time=0.5,
        print_update_interval=1e9,
        tuner_name="overhead",
        suffix_tuner_name=True,
        save_tuner=False,
    ).run()
