"""Shared by the four commands: the results folder option, and errors as one line and an exit status."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from tuner.base import extras
from tuner.base.errors import DamagedFile, InputError, WorkFailed, nearest, reason_of

RESULTS_VARIABLE = "TUNER_RESULTS"
STORAGE_VARIABLE = "TUNER_STORAGE"
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
LONGEST_ERROR = 2000  # characters
CONSOLE_SCRIPT = "tuner"


def program_name(room: str) -> str:
    """What help pages call a program: `tuner`, `tuner model`, however it was started."""
    return CONSOLE_SCRIPT if room == CONSOLE_SCRIPT else f"{CONSOLE_SCRIPT} {room}"


class Version(argparse.Action):
    """Prints `tuner 0.2.0`; which version it is, is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        try:
            found = metadata.version(extras.PROJECT)
        except metadata.PackageNotFoundError:
            found = "of a checkout that is not installed"
        sys.stdout.write(f"{CONSOLE_SCRIPT} {found}\n")
        parser.exit()


class Help(argparse.HelpFormatter):
    """Fills the paragraphs of a help page to the terminal's width, and keeps the lines of examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks = groupby(text.strip().splitlines(), lambda line: line[:1] in ("", " "))
        return "\n".join(
            "\n".join(lines) if as_it_is else textwrap.fill(" ".join(lines), width)
            for as_it_is, lines in blocks
        )


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line in one line, with the nearest name of a misspelt one."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = super().parse_known_args(args, namespace)
        if rest and rest[0].startswith("-"):
            name = rest[0].partition("=")[0]
            self.error(f"no option {name}{nearest(name, self._option_string_actions)}")
        if rest:
            self.error(f"'{rest[0]}' is one word too many")
        return found, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        if action.nargs == argparse.PARSER:
            raise argparse.ArgumentError(None, f"no command '{value}'{nearest(str(value), names)}")
        message = (
            f"expected {', '.join(names[:-1])} or {names[-1]}, got '{value}'{nearest(str(value), names)}"
        )
        raise argparse.ArgumentError(action, message)

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        message = message.replace("the following arguments are required:", "expected")
        write_error(f"{self.prog}: {message} (help: {self.prog} -h)")
        sys.exit(2)


def default_results() -> Path:
    """The results folder where a command names none."""
    return Path(os.environ.get(RESULTS_VARIABLE, "results"))


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every subcommand takes."""
    parser.add_argument(
        "--results",
        type=Path,
        default=default_results(),
        metavar="DIR",
        help=f"results folder (default: ${RESULTS_VARIABLE} or results/)",
    )
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")


def settings(pairs: Iterable[str], *, what: str = "--set") -> dict[str, Any]:
    """Parses `--set`: `["epochs=5", "loss_type=focal"]` → `{"epochs": 5, "loss_type": "focal"}`.

    Reads each value as JSON if possible, otherwise as text. Also accepts Python's True, False and None.

    Args:
        what: the option or command that took the pairs, for messages.

    Raises:
        InputError: a pair has no `=`, or a key is given twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise InputError(f"{what}: expected KEY=VALUE, got '{pair}'")
        if key in found:
            raise InputError(f"{what} {key}: given twice")
        try:
            found[key] = json.loads(_PYTHON_WORDS.get(text, text))
        except json.JSONDecodeError:
            found[key] = text
        except (ValueError, RecursionError):  # thousands of digits, or of brackets
            raise InputError(f"{what} {key}: that value is too long or nested too deeply") from None
    return found


def run_command(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> int:
    """Parses `arguments` and calls the subcommand's `run(options) -> int | None`; without any, prints help.

    Returns:
        0: done. 1: the work failed. 2: wrong usage or input. 130: Ctrl-C.
    """
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int | None] = options.run
    try:
        with _short_warnings():
            return run(options) or 0
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"{str(stop) or chr(10) + 'stopped; what was finished is kept'}\n")
        return 130
    except BrokenPipeError:  # the reader of our output closed the pipe (`… | head`): not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InputError, WorkFailed, OSError) as error:
        if options.debug:
            traceback.print_exc()
        else:
            write_error(reason_of(error, where=True))
        return 2 if isinstance(error, InputError) else 1
    except ModuleNotFoundError as error:
        remedy = extras.remedy_of(error)
        if remedy is None or options.debug:
            raise
        write_error(f"{error}; install it: {remedy}")
        return 2


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """Our own warnings are lines without the place in the code that they come from."""
    before = warnings.formatwarning

    def short(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> str:
        ours = issubclass(category, DamagedFile)
        return f"warning: {message}\n" if ours else before(message, category, *place, **more)

    warnings.formatwarning = short  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.formatwarning = before


def write_error(error: object) -> None:
    """Writes `error: …` to standard error: in one line, or in as many as a terminal needs for whole words."""
    text = f"error: {' '.join(str(error).split())}"
    if len(text) > LONGEST_ERROR:  # it has a name or value of the user's in it
        text = f"{text[: LONGEST_ERROR // 2]} … {text[-LONGEST_ERROR // 2 :]}"
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    sys.stderr.write(f"{text}\n")
