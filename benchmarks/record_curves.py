"""Records learning curves of our model, once, for bench_anytime.py to replay.

    python benchmarks/record_curves.py --data data/mill   # about 15 minutes of one core; may be interrupted

Configurations are quasi-random points of benchmarks/data/curves.yaml: they fill its space evenly. A line
of benchmarks/data/curves.json is one run: its parameters, the metric after each epoch, and seconds an epoch.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import optuna

from model.errors import TrainingFailed
from tuner import samplers, study_file

FOLDER = Path(__file__).parent / "data"


def record(data: Path, curves: Path) -> None:
    """Trains what is not in `curves` yet, and writes the file after each run."""
    import torch

    from model.trainer import train

    torch.set_num_threads(1)
    study = study_file.load(FOLDER / "curves.yaml")
    done = read(curves)
    drawn = optuna.create_study(sampler=samplers.make(study, 0))
    for number in range(study.run_cap or 0):
        trial = drawn.ask()
        config = study.space.suggest(trial)
        drawn.tell(trial, 0.0)
        if number < len(done):
            assert done[number]["params"] == config, f"{curves}: run {number} is of another space; remove it"
            continue
        values: list[float] = []
        began = time.monotonic()
        try:
            train(
                {**config, "epochs": study.max_epochs},
                lambda _, metrics: values.append(round(metrics[study.metric.name], 5)),  # noqa: B023
                data=data,
            )
        except TrainingFailed:
            values += [0.0] * ((study.max_epochs or 0) - len(values))
        seconds = (time.monotonic() - began) / len(values)
        done.append({"params": config, "values": values, "seconds": round(seconds, 2)})
        write(curves, done)
        print(f"{number}: {values[-1]:.3f} after {len(values)} epochs of {seconds:.1f} s", flush=True)


def read(curves: Path) -> list[dict[str, Any]]:
    """The recorded runs; none where there is no file yet."""
    return json.loads(curves.read_text()) if curves.exists() else []


def write(curves: Path, runs: list[dict[str, Any]]) -> None:
    """One run a line, in one step."""
    beside = curves.with_suffix(".partial")
    beside.write_text("[\n" + ",\n".join(json.dumps(run) for run in runs) + "\n]\n")
    beside.replace(curves)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    record(options.data, FOLDER / "curves.json")
