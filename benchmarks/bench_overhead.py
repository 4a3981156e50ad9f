"""What a trial costs beside training: ours against plain Optuna on the same storage, in the same run.

    python benchmarks/bench_overhead.py                    1, 2 and 4 agents, 60 trials; suggestion latency
    python benchmarks/bench_overhead.py --suggestions      only the latter

60 trials of 8 parameters and 20 reports with a trivial objective and Hyperband, start-up included. Plain
Optuna: `study.optimize` in as many processes, the same SQLite file settings (WAL), the same sampler and
pruner. Ours does more in the same time (leases, exactly N, run folders, attributes). The pair is measured
alternately, `--repeats` times, and the median is printed. Then, with 2 workers, Ray Tune and Syne Tune, each
installed in an environment of its own, and what W&B's search and stopping rule cost without server and
agent. Then how long it takes from the command to the first trial of the last agent, and how long a suggestion
takes at 100 and at 1,000 finished trials. `--write` stores the tables for the docs.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import figures
from peers import PEERS, Peer

if TYPE_CHECKING:
    from tuner.definition.study_file import StudyFile

ROOT = Path(__file__).resolve().parent.parent
TRIALS, REPORTS, PARAMETERS = 60, 20, 8
AGENTS = (1, 2, 4)
SAMPLERS = ("tpe", "gp", "cmaes", "nsgaii", "qmc", "random")

OBJECTIVE = f"""
import os, time
from pathlib import Path

def train(config, report):
    stamp = Path(f"started-{{os.getpid()}}")
    if not stamp.exists():
        stamp.write_text(repr(time.time()))
    total = sum(config[f"x{{i}}"] for i in range({PARAMETERS}))
    for epoch in range({REPORTS}):
        report(epoch, {{"score": total * (epoch + 1) / {REPORTS}}})
    return {{"score": total}}
"""


def write_study(folder: Path, trials: int) -> Path:
    """The study file and its objective."""
    (folder / "objective.py").write_text(OBJECTIVE)
    parameters = "".join(f"  x{i}: {{min: 0.0, max: 1.0}}\n" for i in range(PARAMETERS))
    path = folder / "overhead.yaml"
    path.write_text(
        f"name: overhead\nmethod: bayes\nrun_cap: {trials}\nmetric: {{name: score, goal: maximize}}\n"
        f"parameters:\n{parameters}"
        f'tuner:\n  objective: "objective.py:train"\n  max_epochs: {REPORTS}\n'
        f"  pruner: {{type: hyperband, min_resource: 1, max_resource: {REPORTS}, eta: 3}}\n"
    )
    return path


def ours(folder: Path, agents: int) -> float:
    """Seconds a trial of `tuner study`, from the start of the command to its end."""
    write_study(folder, TRIALS)
    command = [sys.executable, "-m", "tuner", "study", "overhead.yaml", "--agents", str(agents)]
    began = time.perf_counter()
    subprocess.run(
        [*command, "--wandb", "off"],
        cwd=folder,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return (time.perf_counter() - began) / TRIALS


def start(folder: Path, agents: int) -> float:
    """Seconds from the start of the command until the last of the agents begins its first trial."""
    began = time.time()
    ours(folder, agents)
    return max(float(stamp.read_text()) for stamp in folder.glob("started-*")) - began


def optuna_worker(url: str, trials: int, seed: int) -> None:
    """One process of plain Optuna."""
    import optuna
    from optuna.storages import RDBStorage

    from tuner.storage.access import WalConnection

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60, "factory": WalConnection}})
    study = optuna.create_study(
        study_name="plain",
        storage=storage,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(multivariate=True, seed=seed),
        pruner=optuna.pruners.HyperbandPruner(1, REPORTS, 3),
    )

    def objective(trial: optuna.Trial) -> float:
        total = sum(trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(PARAMETERS))
        for epoch in range(REPORTS):
            trial.report(total * (epoch + 1) / REPORTS, epoch + 1)
            if epoch + 1 < REPORTS and trial.should_prune():
                raise optuna.TrialPruned
        return total

    study.optimize(objective, n_trials=trials)


def plain(folder: Path, agents: int) -> float:
    """Seconds a trial of plain Optuna with as many processes, from the first process's start."""
    (folder / "plain.db").touch()
    url = f"sqlite:///{folder / 'plain.db'}"
    began = time.perf_counter()
    command = [sys.executable, __file__, "optuna", url, str(agents)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=folder)
    return (time.perf_counter() - began) / TRIALS


def run_optuna(url: str, agents: int) -> None:
    """Plain Optuna's `agents` processes; the schema is made before they start, as it must be."""
    import optuna
    from optuna.storages import RDBStorage

    from tuner.storage.access import WalConnection

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60, "factory": WalConnection}})
    optuna.create_study(study_name="plain", storage=storage, direction="maximize")
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=optuna_worker, args=(url, TRIALS // agents, seed)) for seed in range(agents)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def script_of(peer: Peer) -> Callable[[Path, int], float]:
    """Measures a peer: seconds a trial of its script, from its start to its end."""
    python = peer.python()

    def run(folder: Path, agents: int) -> float:
        arguments = [str(number) for number in (TRIALS, REPORTS, PARAMETERS, agents)]
        began = time.perf_counter()
        subprocess.run(
            [python, "-W", "ignore", ROOT / "benchmarks" / "overhead" / f"peer_{peer.key}.py", *arguments],
            cwd=folder,
            env={**os.environ, "SYNETUNE_FOLDER": str(folder)},  # where Syne Tune writes
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return (time.perf_counter() - began) / TRIALS

    return run


def suggestions(folder: Path, finished: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds, wall and CPU, to draw a configuration with `finished` trials in the storage.

    By sampler. Freeze-thaw search is asked as an agent asks it, of so many paused curves.
    """
    import optuna
    from optuna.trial import Trial, TrialState, create_trial

    from tuner.definition.loading import load_study_file
    from tuner.search import samplers
    from tuner.storage import study_store
    from tuner.storage.access import default_url, open_records

    file = load_study_file(write_study(folder, finished))
    records = open_records(default_url(folder), create=True)
    study = study_store.open_study(records, file, study_store.Origin({}))
    draw = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(finished):
        params = file.space.suggest(draw.ask())
        value = sum(params.values())
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                params=params,
                distributions=file.space.distributions(),
                value=value,
                intermediate_values=dict.fromkeys(range(1, REPORTS + 1), value),
            )
        )
    found = {"freeze_thaw": freeze_thaw_choices(file, finished)}
    for name in SAMPLERS:
        package, _ = samplers.NEEDS.get(name, ("", ""))
        if package and importlib.util.find_spec(package) is None:
            continue
        study.sampler = samplers.make(dataclasses.replace(file, sampler=name), 0)
        times = []
        for _ in range(15):
            claimed = records.claim(study._study_id, user_attrs={})
            began = time.perf_counter(), time.process_time()
            trial = Trial(study, claimed._trial_id)
            config = file.space.suggest(trial)
            times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
            study.tell(trial, sum(config.values()))
        found[name] = medians(times)
    return found


def freeze_thaw_choices(file: StudyFile, started: int) -> tuple[float, float]:
    """Median milliseconds, wall and CPU, of a choice among so many paused curves."""
    from tuner.search import freeze_thaw

    draw = freeze_thaw.draws_of(file.space, 0)
    rungs = freeze_thaw.rungs_of(REPORTS)
    curves = []
    for number in range(started):
        params = draw()
        values = {epoch: sum(params.values()) * epoch / REPORTS for epoch in rungs[: 1 + number % 4]}
        curves.append(freeze_thaw.Curve(number, params, values, "paused"))
    whole = dict.fromkeys(rungs, 0.0)  # one has ended: until then, the leader goes on without a choice
    curves[0] = dataclasses.replace(curves[0], values=whole, state="ended")
    search = freeze_thaw.FreezeThaw(
        file.space.distributions(), maximize=True, length=REPORTS, rungs=rungs, draw=draw, seed=0
    )
    times = []
    for _ in range(15):
        began = time.perf_counter(), time.process_time()
        search.choose(curves)
        times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return medians(times)


def medians(times: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Milliseconds of wall and CPU, without the first call, which fills caches."""
    wall, cpu = (1000 * statistics.median(part) for part in zip(*times[1:], strict=True))
    return wall, cpu


def cost(run: Callable[[Path, int], float], agents: int) -> float:
    """Seconds a trial, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), agents)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--suggestions", action="store_true", help="only how long a suggestion takes")
    parser.add_argument("--write", action="store_true", help="store the tables for the docs")
    options = parser.parse_args()
    command = "python benchmarks/bench_overhead.py"
    bad = False
    if not options.suggestions:
        table, bad = costs(options.repeats)
        started = start_table(options.repeats)
        if options.write:
            figures.record({"overhead.cost": table, "overhead.start": started}, command=command)
    table, chosen = suggestion_table()
    if options.write:
        units = dict.fromkeys(chosen, "ms of CPU")
        figures.record(
            {"overhead.suggestions": table, **chosen}, command=f"{command} --suggestions", units=units
        )
    return 1 if bad else 0


def suggestion_table() -> tuple[list[str], dict[str, str]]:
    """Prints how long a suggestion takes, in ms of CPU by sampler; and that of freeze-thaw as figures."""
    table: list[str] = []
    chosen = {}
    for finished in (100, 1000):
        with tempfile.TemporaryDirectory() as name:
            found = suggestions(Path(name), finished)
        new = [f"| {finished:,} | " + " | ".join(f"{cpu:.0f}" for _, cpu in found.values()) + " |"]
        if not table:
            new = [f"| finished trials | {' | '.join(found)} |", "| --- |" + " --: |" * len(found), *new]
        print("\n".join(new), flush=True)
        table += new
        chosen[f"overhead.freeze_thaw_{finished}"] = f"{found['freeze_thaw'][1]:.0f}"
    return table, chosen


def start_table(repeats: int) -> list[str]:
    """Prints how long agents take to start."""
    table = ["| agents | until the last one's first trial, s |", "| --- | --: |"]
    for agents in AGENTS:
        seconds = statistics.median(cost(start, agents) for _ in range(repeats))
        table.append(f"| {agents} | {seconds:.1f} |")
    print("\n".join(table), flush=True)
    return table


def costs(repeats: int) -> tuple[list[str], bool]:
    """Prints what a trial costs as a table; True if ours cost more than plain Optuna's."""
    table = ["| agents | ours, s per trial | other tool, s per trial | ratio |", "| --- | --: | --- | --: |"]
    print(f"{TRIALS} trials, {REPORTS} reports, {PARAMETERS} parameters, start-up included")
    print("\n".join(table))
    bad = False

    def add(agents: int, mine: float, name: str, theirs: float) -> None:
        table.append(f"| {agents} | {mine:.3f} | {name} {theirs:.3f} | {mine / theirs:.2f} |")
        print(table[-1], flush=True)

    for agents in AGENTS:
        pairs = [(cost(ours, agents), cost(plain, agents)) for _ in range(repeats)]
        mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        bad |= mine > theirs
        add(agents, mine, "plain Optuna", theirs)
    for peer in PEERS:
        try:
            add(2, cost(ours, 2), peer.name, cost(script_of(peer), 2))
        except subprocess.CalledProcessError as error:
            print(f"{peer.name}: left out, {error}")
    return table, bad


if __name__ == "__main__":
    if sys.argv[1:2] == ["optuna"]:
        run_optuna(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(main())
