"""Plain Optuna, as its documentation recommends for several processes: a database, a heartbeat, retries.

peer_optuna.py run TRIALS      one of the processes that work on the study; a user starts several
peer_optuna.py count TRIALS    the trials as JSON: number, state, value, x
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import optuna
from optuna.storages import RDBStorage, RetryFailedTrialCallback
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def objective(trial: optuna.Trial) -> float:
    """The same as `bench.OBJECTIVE`: a helper, six epochs, one in twenty fails."""
    x = trial.suggest_float("x", 0.0, 1.0)
    subprocess.Popen([sys.executable, "-S", "-c", SLEEP], start_new_session=True)
    for epoch in range(6):
        time.sleep(0.05)
        trial.report(x * (epoch + 1) / 6, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    if 0.5 < x < 0.55:
        raise ValueError("an unlucky configuration")
    return x


command, trials = sys.argv[1:]
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(
    storage=RDBStorage(
        "sqlite:///study.db",
        engine_kwargs={"connect_args": {"timeout": 60}},
        heartbeat_interval=1,
        grace_period=5,
        failed_trial_callback=RetryFailedTrialCallback(max_retry=2),
    ),
    study_name="kills",
    direction="maximize",
    load_if_exists=True,
    sampler=optuna.samplers.RandomSampler(),
    pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=6, reduction_factor=3),
)
if command == "run":
    enough = MaxTrialsCallback(int(trials), states=(TrialState.COMPLETE, TrialState.PRUNED))
    study.optimize(objective, callbacks=[enough], catch=(ValueError,))
else:
    print(json.dumps([(t.number, t.state.name, t.value, t.params.get("x")) for t in study.get_trials()]))
