"""How well known recordings read whole programs: leave-one-out over all recordings, and the part test.

    python benchmarks/bench_programs.py --data data/mill
    python benchmarks/bench_programs.py --data data/mill --write

No network is trained. `--run` also measures whether trained networks help. `--write` stores the tables for
the docs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import figures
from programs.detection import detection_tables
from programs.feeds import feed_tables
from programs.live import live_tables
from programs.networks import network_tables
from programs.reading import reading_tables

from model.recordings import Recordings

SECTIONS: dict[str, Callable[[Recordings, figures.Lines], None]] = {
    "feeds": feed_tables,
    "reading": reading_tables,
    "detection": detection_tables,
    "live": live_tables,
}
TEST_ROWS = re.compile(  # of the vote, in the table of the part test
    r"^\| part test, .*\n(?:\|.*\n)*?\| vote of known recordings \| [^|]*\| ([\d.]+) \[([^\]]+)\]",
    re.MULTILINE,
)


def main() -> None:
    parser = figures.parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/mill"), help="data set of known recordings")
    parser.add_argument("--only", choices=SECTIONS, nargs="*", default=list(SECTIONS), help="some sections")
    parser.add_argument(
        "--run", type=Path, metavar="DIR", nargs="+", help="run folders, whose networks are tried as evidence"
    )
    options = parser.parse_args()
    data = Recordings.load(options.data)
    sections = {name: SECTIONS[name] for name in options.only}
    if options.run is not None:
        sections["networks"] = partial(network_tables, runs=options.run)
    for name, tables in sections.items():
        lines = figures.Lines()
        tables(data, lines)
        if options.write:
            only = (
                f"--run {' '.join(map(str, options.run))} --only" if name == "networks" else f"--only {name}"
            )
            command = f"python benchmarks/bench_programs.py --data {options.data} {only}"
            figures.record(stored(name, lines), command=command, units={"programs.rows": "%"})


def stored(section: str, lines: Sequence[str]) -> dict[str, figures.Value]:
    """The tables of a section; for `reading` also the share of right rows of the part test."""
    found: dict[str, figures.Value] = {f"programs.{section}": lines}
    if section == "reading" and (rows := TEST_ROWS.search("\n".join(lines))):
        found |= {"programs.rows": rows[1], "programs.rows_interval": rows[2]}
    return found


if __name__ == "__main__":
    main()
