"""`tuner inference decode`: the programs that recordings were made by, or lines window by window."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from inference.arguments import (
    add_model,
    add_options,
    add_pictures,
    check_pictures,
    decoder_of,
    reader_if_known,
    reader_of,
)
from tuner.base.command_line import Help, add_common_options
from tuner.base.errors import InputError

DECODE = """\
Names the program of each recording: its operation, and the line of each row with its
probability, from known recordings that the bundle (or --known) holds. Where no known program fits, and with
--windows, the networks decode each window alone. --format gcode writes a file for a viewer: the whole
program, with arcs, feeds and the words in force; lines of low probability carry it as a comment. --format
summary prints one line a recording. Where a file has the true lines, table and summary say how many rows
are right. `-` reads rows of CSV (with a header) from standard input and writes the line of each window as
soon as it is full.

examples:
  tuner inference decode face_012_aligned.csv.gz
  tuner inference decode face_012.csv --format gcode > program.nc
  tuner inference decode recordings/ --format jsonl > lines.jsonl
  tuner inference decode face_012.csv --known data/mill    # no networks needed
  tuner inference decode face_012.csv --html face.html --plot face.svg
  tail -f live.csv | tuner inference decode - --format jsonl
"""
FORMATS = ("table", "summary", "jsonl", "gcode")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "decode", help="decode recordings into programs", description=DECODE, formatter_class=Help
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help=".csv, .csv.gz, folder, or - for live rows")
    add_model(parser, known=True)
    parser.add_argument("--format", choices=FORMATS, default="table", help="output format (default: table)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--joint", action="store_true", help="whole programs, or an error if the bundle knows none"
    )
    how.add_argument("--windows", action="store_true", help="each window alone, by the networks")
    parser.add_argument(
        "--alternatives", type=int, default=3, metavar="N", help="alternatives per line (default: 3)"
    )
    parser.add_argument(
        "--missing",
        choices=("allow", "refuse"),
        default="allow",
        help="allow or refuse recordings with missing boards (default: allow, and list them)",
    )
    add_pictures(parser)
    add_options(parser)
    add_common_options(parser)
    parser.set_defaults(run=_decode)


def _decode(options: argparse.Namespace) -> None:
    if options.files == ["-"]:
        from inference.live import decode_stream

        decode_stream(decoder_of(options), sys.stdin, sys.stdout, format=options.format)
        return
    if options.windows and (options.html or options.plot):
        raise InputError("--html and --plot draw whole programs; leave --windows out")
    read = reader_of if options.joint else reader_if_known
    reader = None if options.windows else read(options)
    if reader is None:
        _decode_windows(options)
        return
    from inference.gcode_file import write_programs
    from inference.layout import recordings_of
    from inference.whole_output import write_json_lines, write_summary, write_tables

    data = recordings_of([Path(name) for name in options.files], channels=reader.library.channels)
    drawn = check_pictures(options, len(data.recordings))
    found = reader.read(data, alternatives=options.alternatives, allow_missing=options.missing == "allow")
    for one in found:
        for note in one.notes:
            sys.stderr.write(f"{note}\n")
    write = {
        "table": write_tables, "summary": write_summary, "jsonl": write_json_lines, "gcode": write_programs
    }  # fmt: skip
    write[options.format](found, sys.stdout)
    if drawn:
        from inference.pictures import picture_of, write_pictures

        write_pictures(picture_of(found[0], data, 0, reader.library), page=options.html, plot=options.plot)


def _decode_windows(options: argparse.Namespace) -> None:
    from inference.output import write_gcode, write_jsonl, write_summary, write_table

    decoded = decoder_of(options).decode(
        [Path(name) for name in options.files],
        alternatives=options.alternatives,
        allow_missing=options.missing == "allow",
    )
    for note in decoded.notes:
        sys.stderr.write(f"{note}\n")
    write = {"table": write_table, "summary": write_summary, "jsonl": write_jsonl, "gcode": write_gcode}
    write[options.format](decoded, sys.stdout)
