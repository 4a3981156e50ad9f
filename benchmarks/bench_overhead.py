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

import dataclasses
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import figures
import optuna
from measure import spent
from optuna.trial import Trial
from peers import PEERS
from reliability.processes import environment
from trivial import PARAMETERS, finished, opened, run_study, write_study

from tuner.definition.study_file import StudyFile
from tuner.search import freeze_thaw, samplers
from tuner.storage.access import default_url

TRIALS, REPORTS = 60, 20
AGENTS = (1, 2, 4)
SAMPLERS = ("tpe", "gp", "cmaes", "nsgaii", "qmc", "random")
SUGGESTIONS = 15  # of which the first fills caches, and does not count
PRUNER = f"{{type: hyperband, min_resource: 1, max_resource: {REPORTS}, eta: 3}}"
Way = Callable[[Path, int], None]  # runs a study in a folder with so many agents


def ours(folder: Path, agents: int) -> None:
    """`tuner study`, from the start of the command to its end."""
    write_study(folder, TRIALS, reports=REPORTS, pruner=PRUNER)
    run_study(folder, agents)


def way_of(key: str, python: Path) -> Way:
    """A peer's script, run by the Python that has it."""
    script = [python, "-W", "ignore", figures.ROOT / "benchmarks" / "overhead" / f"peer_{key}.py"]

    def run(folder: Path, agents: int) -> None:
        subprocess.run(
            [*script, *map(str, (TRIALS, REPORTS, PARAMETERS, agents))],
            cwd=folder,
            env=environment(SYNETUNE_FOLDER=str(folder)),  # where Syne Tune writes
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    return run


def cost(way: Way, agents: int) -> float:
    """Seconds a trial, in a folder of its own, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        return spent(lambda: way(Path(folder), agents)).clock / TRIALS


def costs(repeats: int) -> tuple[figures.Lines, bool]:
    """What a trial costs; True if ours cost more than plain Optuna's."""
    print(f"{TRIALS} trials, {REPORTS} reports, {PARAMETERS} parameters, start-up included")
    lines, bad = figures.Lines(), False
    lines.head("agents", "ours, s per trial", "other tool, s per trial", "ratio", words=(0, 2))

    def add(agents: int, name: str, way: Way, repeats: int) -> float:
        pairs = [(cost(ours, agents), cost(way, agents)) for _ in range(repeats)]
        mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        lines.row(agents, f"{mine:.3f}", f"{name} {theirs:.3f}", f"{mine / theirs:.2f}")
        return mine / theirs

    for agents in AGENTS:
        bad |= add(agents, "plain Optuna", way_of("optuna", Path(sys.executable)), repeats) > 1
    for peer in PEERS:
        try:
            add(2, peer.name, way_of(peer.key, peer.python()), 1)
        except subprocess.CalledProcessError as error:
            print(f"{peer.name}: left out, {error}")
    return lines, bad


def starts(repeats: int) -> figures.Lines:
    """How long agents take to start."""
    lines = figures.Lines()
    lines.head("agents", "until the last one's first trial, s")
    for agents in AGENTS:
        lines.row(agents, f"{statistics.median(start(agents) for _ in range(repeats)):.1f}")
    return lines


def start(agents: int) -> float:
    """Seconds from the start of the command until the last of the agents begins its first trial."""
    began, first = time.time(), dict[str, float]()
    with tempfile.TemporaryDirectory() as folder:
        ours(Path(folder), agents)
        for process, at, _ in finished(Path(folder)):
            first[process] = min(at, first.get(process, at))
    return max(first.values()) - began


def suggestions() -> tuple[figures.Lines, dict[str, str]]:
    """How long a suggestion takes, in ms of CPU by sampler; and that of freeze-thaw as figures."""
    lines, chosen = figures.Lines(), {}
    for count in (100, 1000):
        with tempfile.TemporaryDirectory() as name:
            found = suggestion_ms(Path(name), count)
        if not lines:
            lines.head("finished trials", *found)
        lines.row(f"{count:,}", *(f"{ms:.0f}" for ms in found.values()))
        chosen[f"overhead.freeze_thaw_{count}"] = f"{found['freeze_thaw']:.0f}"
    return lines, chosen


def suggestion_ms(folder: Path, count: int) -> dict[str, float]:
    """Median ms of CPU to draw a configuration with `count` finished trials in the storage, by sampler.

    Freeze-thaw search is asked as an agent asks it, of so many paused curves.
    """
    file, records, study = opened(folder, default_url(folder), count, reports=REPORTS)
    search, curves = paused_curves(file, count)
    found = {"freeze_thaw": median_ms([spent(lambda: search.choose(curves)) for _ in range(SUGGESTIONS)])}
    for name in SAMPLERS:
        package, _ = samplers.NEEDS.get(name, ("", ""))
        if package and importlib.util.find_spec(package) is None:
            continue
        study.sampler = samplers.make(dataclasses.replace(file, sampler=name), 0)
        times = []
        for _ in range(SUGGESTIONS):
            trial = Trial(study, records.claim(study._study_id, user_attrs={})._trial_id)
            times.append(spent(lambda trial=trial: file.space.suggest(trial)))
            study.tell(trial, sum(trial.params.values()))
        found[name] = median_ms(times)
    return found


def paused_curves(file: StudyFile, count: int) -> tuple[freeze_thaw.FreezeThaw, list[freeze_thaw.Curve]]:
    """A search, and curves that it chooses from: one has ended, because until then the leader goes on."""
    draw, rungs = freeze_thaw.draws_of(file.space, 0), freeze_thaw.rungs_of(REPORTS)
    curves = []
    for number in range(count):
        params = draw()
        values = {epoch: sum(params.values()) * epoch / REPORTS for epoch in rungs[: 1 + number % 4]}
        curves.append(freeze_thaw.Curve(number, params, values, "paused"))
    curves[0] = dataclasses.replace(curves[0], values=dict.fromkeys(rungs, 0.0), state="ended")
    space = file.space.distributions()
    return (
        freeze_thaw.FreezeThaw(space, maximize=True, length=REPORTS, rungs=rungs, draw=draw, seed=0),
        curves,
    )


def median_ms(times: list[Any]) -> float:
    """Ms of CPU, without the first call."""
    return 1000 * statistics.median(time.processor for time in times[1:])


def main() -> int:
    parser = figures.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--suggestions", action="store_true", help="only how long a suggestion takes")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    command, bad = "python benchmarks/bench_overhead.py", False
    if not options.suggestions:
        table, bad = costs(options.repeats)
        started = starts(options.repeats)
        if options.write:
            figures.record({"overhead.cost": table, "overhead.start": started}, command=command)
    table, chosen = suggestions()
    if options.write:
        units = dict.fromkeys(chosen, "ms of CPU")
        values = {"overhead.suggestions": table, **chosen}
        figures.record(values, command=f"{command} --suggestions", units=units)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
