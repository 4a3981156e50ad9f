"""`tuner ensemble library`: stores the library of known programs in a bundle that has none."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tuner.base.command_line import Help, add_common_options

LIBRARY = """\
Stores known recordings in a bundle, so that it reads whole programs: of each, its lines and the shapes of its
sensors. `build` and `refit` do it if the data set is there; this command is
for bundles that were built before, or to add the recordings of `test`. It takes seconds and trains nothing.

examples:
  tuner ensemble library mill10                     # all recordings but those of test
  tuner ensemble library mill10 --data data/mill --all
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "library", help="store known programs in a bundle", description=LIBRARY, formatter_class=Help
    )
    parser.add_argument("name", nargs="?", help="a bundle's name or folder (default: the newest)")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="data set of the members (default: searched in data/)"
    )
    parser.add_argument("--all", action="store_true", dest="everything", help="also the recordings of `test`")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_common_options(parser)
    parser.set_defaults(run=_library)


def _library(options: argparse.Namespace) -> None:
    from ensemble.bundle import Bundle, find_bundle
    from ensemble.library import NO_NUMBERS, required_data, store
    from model.recordings import Recordings

    folder = find_bundle(options.results, options.name)
    data = Recordings.load(required_data(Bundle.load(folder), options.data))
    library = store(folder, data, everything=options.everything)
    operations = sorted({known.operation for known in library.known})
    if options.json:
        content = {"folder": str(folder), "recordings": len(library.known), "operations": operations,
                   "lines": len(library.lines), "numbered": library.numbered}  # fmt: skip
        sys.stdout.write(json.dumps(content, indent=1) + "\n")
        return
    sys.stdout.write(
        f"{len(library.known)} known recordings of {len(operations)} operations, {len(library.lines):,} "
        f"different lines stored in {folder}\n"
    )
    if not library.numbered:
        sys.stdout.write(f"{data.name}: {NO_NUMBERS}\n")
