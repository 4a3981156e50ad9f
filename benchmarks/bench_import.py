"""Import: seconds and peak memory; then what the mapped arrays cost each agent that reads all of them.

Usage: python benchmarks/bench_import.py [DIR of recordings]
Without DIR: ../shared/data/recordings if it is there, else recordings of the simulator.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from model.recordings import Recordings
from model.simulator import Simulation, synthesize_csv

TARGET_SECONDS = 10.0  # for 108 recordings on two cores
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "recordings"

IMPORT = """
import os, resource, sys, time
from pathlib import Path
began = time.perf_counter()
from model.importing import import_recordings
import_recordings([Path(sys.argv[1])], Path(sys.argv[2]))
times = os.times()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(time.perf_counter() - began, times.user + times.system, peak)
"""


def import_in_a_fresh_process(source: Path, to: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds (imports of modules included), and peak resident memory in MB."""
    command = [sys.executable, "-c", IMPORT, str(source), str(to)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds, processor, peak = map(float, answer.split())
    return seconds, processor, peak


def own_megabytes(folder: Path) -> float:
    """Memory that reading every row adds to this process and that the system cannot share or take back."""
    before = _anonymous()
    data = Recordings.load(folder)
    float(np.add.reduce(np.asarray(data.signals), axis=None))
    return _anonymous() - before


def _anonymous() -> float:
    rows = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith("Anonymous:")) / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(sys.argv[1]) if len(sys.argv) > 1 else REAL
        if not source.is_dir():
            source = Path(scratch) / "csv"
            synthesize_csv(source, Simulation(recordings_per_operation=18))
        to = Path(scratch) / "mill"
        seconds, processor, peak = min(import_in_a_fresh_process(source, to) for _ in range(3))
        data = Recordings.load(to)
        size = sum(path.stat().st_size for path in to.iterdir()) / 1e6
        print(f"{len(data.recordings)} recordings, {data.rows:,} rows, {len(data.channels)} channels")
        print(f"import: {seconds:.1f} s (target {TARGET_SECONDS:.0f}), {processor:.1f} s of processor time")
        print(f"peak memory: {peak:.0f} MB; data set on disk: {size:.0f} MB")
        if not Path("/proc/self/smaps_rollup").exists():
            return
        for agents in (1, 2):
            with ProcessPoolExecutor(agents, mp_context=get_context("spawn")) as pool:
                own = list(pool.map(own_megabytes, [to] * agents))
            print(
                f"{agents} agents reading all of it: {', '.join(f'{mb:.1f}' for mb in own)} MB of their own "
                f"({np.asarray(data.signals).nbytes / 1e6:.0f} MB mapped)"
            )


if __name__ == "__main__":
    main()
