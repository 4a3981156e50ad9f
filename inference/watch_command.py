"""`tuner inference watch`: follows a recording while it is being made."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from inference.arguments import add_model, reader_of
from tuner.base.command_line import Help, add_common_options

WATCH = """\
Reads the rows of a recording as they come and says which program is running, on which line, and how sure that
is; it raises an alarm when the rows fit the expected program (--like; else the one found) worse than any
known recording did. Rows are CSV with a header, from standard input (-) or a file that grows, or JSON
objects from MQTT (mqtt://HOST/TOPIC, extra `mqtt`). Exit status: 0, or 1 after an alarm.

examples:
  tail -n +1 -f live.csv | tuner inference watch - --like face_012
  tuner inference watch live.csv --idle 10 --format jsonl
  tuner inference watch mqtt://mill.local/sensors --known data/mill
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "watch",
        help="follow a recording while it is being made",
        description=WATCH,
        formatter_class=Help,
    )
    parser.add_argument("source", metavar="SOURCE", help="-, a CSV file that grows, or mqtt://HOST/TOPIC")
    parser.add_argument("--like", metavar="NAME", help="a known recording of the expected program")
    parser.add_argument("--format", choices=("table", "jsonl"), default="table", help="default: table")
    parser.add_argument(
        "--every", type=int, default=4, metavar="N", help="rows between two answers (default: 4)"
    )
    parser.add_argument(
        "--idle",
        type=float,
        metavar="SECONDS",
        help="with a file: end after so many seconds without a new row (default: never)",
    )
    add_model(parser, known=True)
    add_common_options(parser)
    parser.set_defaults(run=_watch)


def _watch(options: argparse.Namespace) -> None:
    from inference.check import Checker
    from inference.live import read_rows
    from inference.watch import Watcher, follow, mqtt_messages, rows_of_messages, watch
    from tuner.base.errors import InputError

    if options.every < 1:
        raise InputError(f"--every: expected a whole number from 1, got {options.every}")
    reader = reader_of(options)
    expected = None if options.like is None else Checker(reader).like(options.like)
    rows: Iterable[Sequence[str]]
    if options.source == "-":
        rows = read_rows(sys.stdin, "standard input")
    elif options.source.startswith("mqtt://"):
        rows = rows_of_messages(mqtt_messages(options.source), reader.library.channels)
    else:
        rows = follow(Path(options.source), idle=options.idle)
    watcher = Watcher(reader.library, expected=expected, every=options.every)
    if watch(watcher, rows, sys.stdout, source=options.source, form=options.format):
        raise SystemExit(1)
