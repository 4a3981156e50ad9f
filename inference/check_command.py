"""`tuner inference check`: is a recording of the expected program? Exit status as diff(1)."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from inference.arguments import add_model, add_pictures, check_pictures, reader_of
from tuner.base.command_line import Help, add_common_options, write_error
from tuner.base.errors import InputError

if TYPE_CHECKING:
    from inference.check import Checked, Checker
    from model.recordings import Recordings

CHECK = """\
Says whether recordings are of the expected program: same, different (another known program, or the expected
one with deviations), or unknown. The expected program is that of a known recording (--like), a G-code file
that is the program of known recordings (--program), or any known program. A recording of the expected
program is called otherwise with a probability of at most --alarm. Prints the first row that deviates, and
the line expected there. A file that cannot be read is named, and the others are answered. Exit status: 0 all
are the same, 1 at least one is not, 2 trouble.

examples:
  tuner inference check NEW.csv --like face_012
  tuner inference check NEW.csv --program face.nc --alarm 0.01
  tuner inference check NEW.csv --known data/mill        # of any known program? no networks needed
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "check",
        help="check that recordings are of the expected program",
        description=CHECK,
        formatter_class=Help,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".csv, .csv.gz or folder")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--program", type=Path, metavar="FILE", help="G-code of the expected program")
    which.add_argument("--like", metavar="NAME", help="a known recording of the expected program")
    parser.add_argument(
        "--alarm",
        type=float,
        metavar="RATE",
        help="rate of false alarms (default: 0.05, or the lowest that the known recordings allow)",
    )
    add_model(parser, known=True)
    add_pictures(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object per recording")
    add_common_options(parser)
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    from inference.check import SAME, Checker, sentence, to_json
    from inference.layout import check_channels, each_of, recordings_of

    reader = reader_of(options)
    checker = Checker(reader, alarm=options.alarm)
    check = checks(checker, program=options.program, like=options.like)
    sources = each_of(options.files)
    drawn = check_pictures(options, len(sources))
    status = 0
    for source in sources:
        try:
            data = recordings_of(source, channels=reader.library.channels)
            for note in check_channels(data, reader.library.channels):
                sys.stderr.write(f"{note}\n")
            check_pictures(options, len(data.recordings))  # a data set holds several
            answers = [check(data, i) for i in range(len(data.recordings))]
        except InputError as error:
            if len(sources) == 1:
                raise
            write_error(str(error))  # the others are answered
            status = 2
            continue
        for one in answers:
            sys.stdout.write(json.dumps(to_json(one)) + "\n" if options.json else f"{sentence(one)}\n")
        if drawn:
            _draw(checker, data, answers[0], options)
        if any(one.verdict != SAME for one in answers):
            status = max(status, 1)
    return status


def _draw(checker: Checker, data: Recordings, one: Checked, options: argparse.Namespace) -> None:
    """What ran over what was expected."""
    from inference.expected import read_program
    from inference.pictures import picture_of, write_pictures
    from model.merged_program import merged
    from model.recording_files import name_of

    expected = None
    if options.program is not None:
        expected = read_program(options.program)
    elif options.like is not None:
        k = checker.library.named(name_of(Path(options.like)))
        assert k is not None, "checked"
        expected = merged(checker.library, k).texts()
    whole = checker.reader.read_one(data, 0)
    picture = picture_of(whole, data, 0, checker.library, check=one, expected=expected)
    write_pictures(picture, page=options.html, plot=options.plot)


def checks(
    checker: Checker, *, program: Path | None = None, like: str | None = None
) -> Callable[[Recordings, int], Checked]:
    """What checks a recording of a data set against a program file, a known recording, or the whole library.

    Raises:
        InputError: the file is no program, or the recording is not known.
    """
    from inference.expected import operations_of, read_program

    if program is not None:
        lines = read_program(program)
        operations = operations_of(checker.library, lines)
        if operations:
            return lambda data, i: checker.check(data, i, operations, f"the program {program.name}")
        return lambda data, i: _other_program(checker, data, i, lines, program.name)
    if like is not None:
        from model.recording_files import name_of

        operation = checker.like(name_of(Path(like)))
        return lambda data, i: checker.check(data, i, [operation], f"the program of {like}")
    return lambda data, i: checker.check(data, i, [], "a known program")


def _other_program(
    checker: Checker, data: Recordings, recording: int, lines: list[str], name: str
) -> Checked:
    """A recording against a file that is no known program: different, if it is of a known one."""
    from dataclasses import replace

    from inference.check import DIFFERENT, SAME, UNKNOWN, Deviation
    from inference.expected import difference
    from model.merged_program import merged

    one = checker.check(data, recording, [], f"the program {name}, which no known recording is of")
    if one.verdict != SAME or one.operation is None:
        return replace(one, verdict=UNKNOWN)
    k = int((checker.library.operations == one.operation).argmax())
    found = difference(lines, merged(checker.library, k))
    if found is None:
        raise InputError(f"{name}: is the program of {one.operation}")
    whole = checker.reader.read_one(data, recording)
    begun = [run for run in whole.runs if not run.ahead]
    run = next((run for run in begun if run.number is not None and run.number >= found.number), begun[0])
    deviation = Deviation(
        row=run.start,
        rows=run.rows,
        seconds=None if run.seconds is None else run.seconds[0],
        line=found.expected,
        found=found.found,
    )
    return replace(one, verdict=DIFFERENT, deviation=deviation)
