"""Report: seconds to make the page and the PDF of a campaign of about 300 trials, and their sizes.

    python benchmarks/bench_report.py [RESULTS] [--write]

Without RESULTS a campaign is made up (see synthetic_campaign.py). Prints wall and processor seconds: on a
busy machine the first says more about the other programs than about the report. `--write` stores the figures
of the made-up campaign for the docs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import figures
from measure import spent
from synthetic_campaign import make_campaign

TARGET_SECONDS = 30.0
TARGET_MB = 2.0


def main() -> None:
    parser = figures.parser(__doc__)
    parser.add_argument(
        "results", type=Path, nargs="?", help="a results folder (default: a made-up campaign)"
    )
    options = parser.parse_args()
    if options.write and options.results:
        parser.error("--write: only for the made-up campaign, without RESULTS")
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        results = options.results or Path(folder) / "results"
        if not options.results:
            found["report.trials"] = str(make_campaign(results))
            print(f"{found['report.trials']} trials")
        for kind in ("html", "pdf"):
            page = Path(folder) / f"report.{kind}"
            command = [sys.executable, "-m", "tuner", "report", "--results", results, "--output", page]
            took = spent(lambda command=command: subprocess.run(command, check=True, capture_output=True))
            size = page.stat().st_size / 1e6
            print(
                f"{page.name}: {took.clock:.1f} s, {took.processor:.1f} s of processor time "
                f"(target {TARGET_SECONDS:.0f} s), {size:.2f} MB (target {TARGET_MB:.0f} MB)"
            )
            found[f"report.{kind}_seconds"] = f"{took.processor:.1f}"
            found[f"report.{kind}_megabytes"] = f"{size:.2f}"
    if options.write:
        units = {"seconds": "s of processor time", "megabytes": "MB"}
        named = {key: units[key.rpartition("_")[2]] for key in found if "_" in key}
        figures.record(found, units=named)


if __name__ == "__main__":
    main()
