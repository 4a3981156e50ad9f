"""What the tuner adds to a script: the W&B example run bare and run as a trial, by turns.

    .venv/bin/python benchmarks/bench_external.py [REPEATS]

Both ways write an offline W&B run. The limit is 0.5 s a trial on top.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tuner.external import ExternalObjective

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "wandb_sklearn"
LIMIT_SECONDS = 0.5


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    bare: list[float] = []
    tuned: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        objective = ExternalObjective(
            study="bench",
            program="train.py",
            command=None,
            folder=EXAMPLE,
            metric="val/accuracy",
            goal="maximize",
        )
        variables = {**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": folder, "WANDB_SILENT": "true"}
        for number in range(repeats):
            began = time.perf_counter()
            subprocess.run([sys.executable, "train.py"], cwd=EXAMPLE, env=variables, check=True)
            bare.append(time.perf_counter() - began)
            began = time.perf_counter()
            objective(
                {}, lambda epoch, metrics: None, run_folder=Path(folder, "results/runs/bench", str(number))
            )
            tuned.append(time.perf_counter() - began)
    added = [after - before for before, after in zip(bare, tuned, strict=True)]
    print(f"bare python train.py   {statistics.median(bare):6.2f} s (median of {repeats})")
    print(f"as a trial             {statistics.median(tuned):6.2f} s")
    print(f"on top                 {statistics.median(added):6.2f} s (limit {LIMIT_SECONDS} s)")
    if statistics.median(added) > LIMIT_SECONDS:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
