"""Report: seconds to make the page and the PDF of a campaign of about 300 trials, and their sizes.

Usage: python benchmarks/bench_report.py [RESULTS]
Without RESULTS a campaign is made up (see synthetic_campaign.py). Prints wall and processor seconds: on a
busy machine the first says more of the neighbours than of the report.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            results = Path(sys.argv[1])
        else:
            results = Path(folder) / "results"
            print(f"{make_campaign(results)} trials")
        for name in ("report.html", "report.pdf"):
            wall, spent = make(results, Path(folder) / name)
            size = (Path(folder) / name).stat().st_size / 1e6
            in_time = "within" if spent <= TARGET_SECONDS else "over"
            small = "within" if size <= TARGET_MB else "over"
            print(
                f"{name}: {wall:.1f} s, {spent:.1f} s of processor time "
                f"({in_time} {TARGET_SECONDS:.0f} s), {size:.2f} MB ({small} {TARGET_MB:.0f} MB)"
            )


if __name__ == "__main__":
    main()
