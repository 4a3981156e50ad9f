"""How many epochs until a good configuration is found: ours against peers, on recorded learning curves.

    python benchmarks/bench_anytime.py                 # installs the peers, each in an environment of its own

Every tuner searches the same space with the same two simulated workers; a configuration behaves as the
recorded run nearest to it (record_curves.py made them). Half of the runs served to choose our defaults
(`--half choose`), the other half is reported. Each peer runs its own search and its own stopping rule:
Ray Tune with ASHA and OptunaSearch, Syne Tune with BOHB, W&B's `sweeps` with bayes and hyperband.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "anytime"))

PEERS = {
    "Ray Tune (ASHA, OptunaSearch)": ("peer_ray.py", ["ray[tune]==2.*", "optuna", "pandas"]),
    "Syne Tune (BOHB)": ("peer_syne.py", ["syne-tune[basic]==0.16.*"]),
    "W&B sweeps (bayes, hyperband)": ("peer_sweeps.py", ["sweeps==0.3.0", "numpy==1.26.*"]),
}
CURVES = HERE / "data" / "curves.json"
CHECKPOINTS = (9, 18, 36, 72, 108, 150)


def task(half: str, *, budget: int, seeds: int) -> dict[str, Any]:
    """The world that all tuners share, as JSON: space, half of the recorded runs, budget in epochs."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    from tuner import study_file

    study = study_file.load(HERE / "data" / "curves.yaml")
    space: list[dict[str, Any]] = []
    for name, distribution in study.space.distributions().items():
        if isinstance(distribution, CategoricalDistribution):
            space.append({"name": name, "choices": list(distribution.choices)})
        else:
            whole = isinstance(distribution, IntDistribution)
            bounds = {"low": distribution.low, "high": distribution.high, "log": distribution.log}
            space.append({"name": name, **bounds, "integer": whole})
    runs = json.loads(CURVES.read_text())[0 if half == "choose" else 1 :: 2]
    return {
        "space": space,
        "epochs": study.max_epochs,
        "runs": runs,
        "budget": budget,
        "workers": 2,
        "seeds": seeds,
    }


def our_traces(world: dict[str, Any]) -> list[list[float]]:
    """This project's defaults: the sampler of method bayes, and the stopping rule of the shipped studies."""
    import ours

    from tuner import study_file

    study = study_file.load(HERE / "data" / "curves.yaml")
    return ours.traces(study, world, sampler="tpe")


def peer_traces(script: str, packages: list[str], world: dict[str, Any], folder: Path) -> list[list[float]]:
    """Runs a peer's script in its own environment, which is made when it is not there."""
    environment = folder / script.removesuffix(".py")
    python = environment / "bin" / "python"
    if not (environment / "ready").exists():
        venv.create(environment, with_pip=True)
        quiet = ["--quiet", "--disable-pip-version-check"]
        subprocess.run([python, "-m", "pip", "install", *quiet, *packages], check=True)
        (environment / "ready").touch()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(world, file)
        file.flush()
        done = subprocess.run(
            [python, "-W", "ignore", HERE / "anytime" / script, file.name],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.rpartition("TRACES ")[2])


def first(trace: list[float], value: float) -> int:
    """How many epochs until `value` was reached; the whole budget where it never was."""
    return next((epoch for epoch, best in enumerate(trace, start=1) if best >= value), len(trace))


def compare(ours: list[list[float]], theirs: list[list[float]]) -> dict[str, float]:
    """Mean over seeds of: the peer's final best, its epochs to it, ours to it, and how often we got there."""
    finals = [trace[-1] for trace in theirs]
    own = [first(trace, trace[-1]) for trace in theirs]
    we = [first(trace, final) for trace, final in zip(ours, finals, strict=True)]
    reached = [trace[-1] >= final for trace, final in zip(ours, finals, strict=True)]
    return {
        "final": statistics.mean(finals),
        "theirs": statistics.mean(own),
        "ours": statistics.mean(we),
        "ratio": sum(we) / sum(own),
        "reached": statistics.mean(reached),
    }


def show(name: str, traces: list[list[float]]) -> None:
    """The mean of the best value at a few epochs."""
    means = (statistics.mean(trace[epoch - 1] for trace in traces) for epoch in CHECKPOINTS)
    print(f"{name:32}" + "".join(f"{mean:8.4f}" for mean in means), flush=True)


def main() -> None:
    """Prints the curves of all, then epochs to each peer's final best."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "gcode-tuner-peers")
    options = parser.parse_args()
    if not CURVES.exists():
        print(f"no curves in {CURVES} yet: record them with benchmarks/record_curves.py")
        return
    world = task(options.half, budget=CHECKPOINTS[-1], seeds=options.seeds)
    print(f"{len(world['runs'])} recorded runs, {options.seeds} seeds, best value after epochs:")
    print(" " * 32 + "".join(f"{epoch:8}" for epoch in CHECKPOINTS))
    ours = our_traces(world)
    show("this project", ours)
    rows = {}
    for name, (script, packages) in PEERS.items():
        try:
            theirs = peer_traces(script, packages, world, options.environments)
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{name:32} left out: {error}")
            continue
        show(name, theirs)
        rows[name] = compare(ours, theirs)
    print(
        f"\n{'epochs to a peer’s final best':32}{'final':>8}{'its':>8}{'ours':>8}{'ratio':>8}{'reached':>9}"
    )
    for name, row in rows.items():
        print(
            f"{name:32}{row['final']:8.4f}{row['theirs']:8.1f}{row['ours']:8.1f}"
            f"{row['ratio']:8.2f}{row['reached']:9.0%}"
        )


if __name__ == "__main__":
    main()
