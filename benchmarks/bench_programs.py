"""How well known recordings read whole programs: leave-one-out over all recordings, and the part test.

    python benchmarks/bench_programs.py --data data/mill
    python benchmarks/bench_programs.py --data data/mill --write docs/programs.md

No network is trained. `--bundle` also measures whether its networks help. `--write` puts the tables into the
page, between its markers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from programs.detection import detection_tables
from programs.live import live_tables
from programs.networks import network_tables
from programs.reading import reading_tables

from model.recordings import Recordings

SECTIONS: dict[str, Callable[[Recordings], Iterator[str]]] = {
    "reading": reading_tables,
    "detection": detection_tables,
    "live": live_tables,
}
MARK, END = "<!-- bench_programs: {} -->", "<!-- end -->"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/mill"), help="data set of known recordings")
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=list(SECTIONS), help="some sections")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="whose networks are tried as evidence")
    options = parser.parse_args(arguments)
    data = Recordings.load(options.data)
    sections = {name: SECTIONS[name] for name in options.only}
    if options.bundle is not None:
        sections["networks"] = lambda data: network_tables(data, options.bundle)
    for name, tables in sections.items():
        lines = list(tables(data))
        print("\n".join(lines), flush=True)
        if options.write:
            options.write.write_text(put(options.write.read_text(), name, lines))


def put(page: str, section: str, lines: Sequence[str]) -> str:
    """The page with the lines of a section between its markers."""
    start = MARK.format(section)
    before, _, rest = page.partition(start)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"the page has no '{start}' … '{END}'")
    return "\n".join([before + start, *lines, END]) + after


if __name__ == "__main__":
    main()
