"""Report: seconds to make the page and the PDF of a campaign of about 300 trials, and their sizes.

    python benchmarks/bench_report.py [RESULTS] [--write]

Without RESULTS a campaign is made up (see synthetic_campaign.py). Prints wall and processor seconds: on a
busy machine the first says more about the other programs than about the report. `--write` stores the figures
of the made-up campaign for the docs.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import figures
from synthetic_campaign import make_campaign

TARGET_SECONDS = 30.0
TARGET_MB = 2.0


def make(results: Path, output: Path) -> tuple[float, float]:
    """Wall and processor seconds of one report."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = [sys.executable, "-m", "tuner", "report", "--results", str(results), "--output", str(output)]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "results", type=Path, nargs="?", help="a results folder (default: a made-up campaign)"
    )
    parser.add_argument("--write", action="store_true", help="store the figures for the docs")
    options = parser.parse_args()
    if options.write and options.results:
        parser.error("--write: only for the made-up campaign, without RESULTS")
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        results = options.results or Path(folder) / "results"
        if not options.results:
            found["report.trials"] = str(make_campaign(results))
            print(f"{found['report.trials']} trials")
        for name in ("report.html", "report.pdf"):
            wall, spent = make(results, Path(folder) / name)
            size = (Path(folder) / name).stat().st_size / 1e6
            in_time = "within" if spent <= TARGET_SECONDS else "over"
            small = "within" if size <= TARGET_MB else "over"
            print(
                f"{name}: {wall:.1f} s, {spent:.1f} s of processor time "
                f"({in_time} {TARGET_SECONDS:.0f} s), {size:.2f} MB ({small} {TARGET_MB:.0f} MB)"
            )
            kind = name.rpartition(".")[2]
            found |= {f"report.{kind}_seconds": f"{spent:.1f}", f"report.{kind}_megabytes": f"{size:.2f}"}
    if options.write:
        units = {
            key: "s of processor time" if key.endswith("seconds") else "MB" for key in found if "_" in key
        }
        figures.record(found, command="python benchmarks/bench_report.py", units=units)


if __name__ == "__main__":
    main()
