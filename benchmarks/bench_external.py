"""What the tuner adds to a script: the W&B example run bare and run as a trial, by turns.

    python benchmarks/bench_external.py [REPEATS] [--write]

Both ways write an offline W&B run. The limit is 0.5 s a trial on top, by the clock. On a machine that is busy
with other things only the processor seconds mean something. `--write` stores these for the docs.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import figures
import numpy as np
from measure import Spent, spent

from tuner.definition.metric import Metric
from tuner.workloads.script_trial import Script

EXAMPLE = figures.ROOT / "examples" / "wandb_sklearn"
LIMIT_SECONDS = 0.5


def pairs_of(repeats: int) -> list[tuple[Spent, Spent]]:
    """What the script alone and the script as a trial take, by turns."""
    with tempfile.TemporaryDirectory() as folder:
        metric = Metric("val/accuracy", "maximize")
        script = Script(study="bench", program="train.py", command=None, folder=EXAMPLE, metric=metric)
        variables = {**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": folder, "WANDB_SILENT": "true"}

        def bare() -> None:
            subprocess.run([sys.executable, "train.py"], cwd=EXAMPLE, env=variables, check=True)

        def trial() -> None:
            script({}, lambda epoch, metrics: None, run_folder=Path(folder, "results/runs/bench/0"))

        trial()  # reads what the first trial of an agent reads
        return [(spent(bare), spent(trial)) for _ in range(repeats)]


def main() -> None:
    parser = figures.parser(__doc__)
    parser.add_argument("repeats", type=int, nargs="?", default=5)
    options = parser.parse_args()
    pairs = np.array(pairs_of(options.repeats))  # (repeat, bare or trial, clock or processor)
    alone, trial = np.median(pairs, axis=0)
    on_top = np.median(pairs[:, 1] - pairs[:, 0], axis=0)
    print(f"median of {options.repeats}          clock   processor   (limit {LIMIT_SECONDS} s on top)")
    for name, (clock, processor) in {
        "bare python train.py": alone,
        "as a trial": trial,
        "on top": on_top,
    }.items():
        print(f"{name:20} {clock:6.2f} s  {processor:6.2f} s")
    if options.write:
        found = {"external.overhead": f"{on_top[1]:.1f}", "external.alone": f"{alone[1]:.1f}"}
        figures.record(found, units=dict.fromkeys(found, "s of processor time"))
    if min(on_top) > LIMIT_SECONDS:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
