"""`tuner ensemble build` from 300 run folders at full size: target under 10 s and under 1 GiB.

    python benchmarks/bench_ensemble.py [--runs 300] [--k 10,20] [--keep DIR]

Every folder has its own small files and predictions of 700 windows a part with 720 values, more than the
mill's recordings give. The arrays of the best 40 runs are drawn apart, the others' are links to them (they
are ranked, never read). CPU seconds stand beside the wall's: a busy machine stretches only the latter.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import synthetic_runs

DISTINCT = 40
LIMIT_SECONDS, LIMIT_BYTES = 10.0, 2**30


def make_study(results: Path, runs: int) -> None:
    """Writes `runs` folders below `results/runs/bench`; the first `DISTINCT` are the best."""
    root = results / "runs" / "bench"
    for i in range(runs):
        folder = root / str(i)
        if i < DISTINCT:
            skill = 5.5 - 0.01 * i
            synthetic_runs.make_run(folder, size=synthetic_runs.FULL, skill=skill, seed=i)
            continue
        model = root / str(i % DISTINCT)
        (folder / "predictions").mkdir(parents=True)
        for file in [*model.glob("*.json*"), model / "model.safetensors", *model.glob("predictions/*")]:
            os.link(file, folder / file.relative_to(model))
        for name in ("result.json", "trial.json"):
            content = json.loads((model / name).read_text())
            content["number"] = i
            if "objective" in content:
                content["objective"]["value"] = 0.3 - 0.0001 * i
            (folder / name).unlink()
            (folder / name).write_text(json.dumps(content))


def measure(results: Path, k: int) -> dict[str, float]:
    """Seconds and peak bytes of one `build` in a process of its own, start-up included."""
    command = [sys.executable, "-m", "ensemble", "build", "--k", str(k), "--name", f"bench{k}", "--json"]
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    started, before = time.perf_counter(), usage.ru_utime + usage.ru_stime
    answer = subprocess.run([*command, "--results", str(results)], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    bundle = json.loads(answer.stdout)["bundle"]
    return {
        "k": k,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime - before, 2),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "members": len(bundle["members"]),
        "pooled_test_exact": bundle["report"]["pooled"]["test"]["exact"],
    }


def main() -> int:
    """Prints one JSON line a size; status 1 when a limit is missed at the first size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--k", default="10,20")
    parser.add_argument("--keep", type=Path, help="make the folders here, or use those that are here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = options.keep or Path(scratch)
        if not (results / "runs").is_dir():
            make_study(results, options.runs)
        rows = [measure(results, int(k)) for k in options.k.split(",")]
    for row in rows:
        print(json.dumps(row))
    first = rows[0]
    return int(first["seconds"] > LIMIT_SECONDS or first["peak_mib"] * 2**20 > LIMIT_BYTES)


if __name__ == "__main__":
    raise SystemExit(main())
