"""What the tuner adds to a script: the W&B example run bare and run as a trial, by turns.

    python benchmarks/bench_external.py [REPEATS] [--write]

Both ways write an offline W&B run. The limit is 0.5 s a trial on top, by the clock. On a machine that is busy
with other things only the processor seconds mean something. `--write` stores these for the docs.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import figures

from tuner.definition.study_file import Metric
from tuner.workloads.script_trial import Script

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "wandb_sklearn"
LIMIT_SECONDS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("repeats", type=int, nargs="?", default=5)
    parser.add_argument("--write", action="store_true", help="store the figures for the docs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        objective = Script(
            study="bench",
            program="train.py",
            command=None,
            folder=EXAMPLE,
            metric=Metric("val/accuracy", "maximize"),
        )
        variables = {**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": folder, "WANDB_SILENT": "true"}

        def bare() -> None:
            subprocess.run([sys.executable, "train.py"], cwd=EXAMPLE, env=variables, check=True)

        def trial() -> None:
            objective({}, lambda epoch, metrics: None, run_folder=Path(folder, "results/runs/bench/0"))

        trial()  # reads what the first trial of an agent reads
        pairs = [(seconds(bare), seconds(trial)) for _ in range(options.repeats)]
    print(f"median of {options.repeats}          clock   processor")
    for name, index in (("bare python train.py", 0), ("as a trial", 1)):
        clock, processor = (statistics.median(pair[index][kind] for pair in pairs) for kind in (0, 1))
        print(f"{name:20} {clock:6.2f} s  {processor:6.2f} s")
    clock, processor = (statistics.median(b[kind] - a[kind] for a, b in pairs) for kind in (0, 1))
    print(f"{'on top':20} {clock:6.2f} s  {processor:6.2f} s   (limit {LIMIT_SECONDS} s)")
    if options.write:
        alone = statistics.median(bare[1] for bare, _ in pairs)
        figures.record(
            {"external.overhead": f"{processor:.1f}", "external.alone": f"{alone:.1f}"},
            command="python benchmarks/bench_external.py",
            units=dict.fromkeys(("external.overhead", "external.alone"), "s of processor time"),
        )
    if min(clock, processor) > LIMIT_SECONDS:
        raise SystemExit(1)


def seconds(action: Callable[[], None]) -> tuple[float, float]:
    """Seconds that `action` takes: by the clock, and of the processor (children included)."""
    began, used = time.perf_counter(), processor_seconds()
    action()
    return time.perf_counter() - began, processor_seconds() - used


def processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
