"""Writes docs/command_line.md (from the parsers) and the tables of keys in docs/study_files.md.

python docs/write_reference.py            # writes both
python docs/write_reference.py --check    # exit 1 when one is stale
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

from tuner.definition.keys import Key
from tuner.definition.study_file import TUNER_KEYS, WANDB_KEYS

DOCS = Path(__file__).parent
PROGRAMS = ("tuner", "model", "ensemble", "inference")
WRITTEN = "<!-- written by docs/write_reference.py -->\n"
COMMON = ("help", "results", "storage", "debug")  # options of every command, told once

COMMAND_LINE = f"""\
# Commands

{WRITTEN}
`tuner` is the same program as `python -m tuner`, and `tuner model` the same as `python -m model`.
The same holds for `ensemble` and `inference`. Exit status: 0 done, 1 the work failed, 2 wrong input (one line
says what is wrong).

| option of every command | meaning |
| --- | --- |
| `-h` | help and examples |
| `--results DIR` | results folder (default: `$TUNER_RESULTS`, or `results/`) |
| `--storage URL` | storage of the studies, a URL of SQLite, PostgreSQL or gRPC (default: `$TUNER_STORAGE`) |
| `--debug` | show the full traceback of an error |
"""
KEYS = "<!-- from here on written by docs/write_reference.py from tuner/definition/study_file.py -->\n"


def command_line() -> str:
    """The page of all commands."""
    parts = [COMMAND_LINE]
    with mock.patch.object(sys, "argv", ["tuner"]):
        for name in PROGRAMS:
            parser = importlib.import_module(f"{name}.__main__").build_parser()
            parts.append(f"## {parser.prog}\n\n{_sentences(parser.description)}")
            for summary, command in _commands(parser):
                parts.append(_section(command, summary))
    return "\n".join(parts)


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The subcommands, and theirs, with their summaries; not the programs that `tuner` passes on to."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                command = action.choices[choice.dest]
                if command.description:
                    yield choice.help or "", command
                    yield from _commands(command)


def _section(parser: argparse.ArgumentParser, summary: str) -> str:
    """A command: what it does, arguments and options as a table, examples."""
    rows = [
        f"| {_names(action)} | {_meaning(parser, action)} |"
        for action in parser._actions
        if action.dest not in COMMON
        and action.help is not argparse.SUPPRESS
        and not isinstance(action, argparse._SubParsersAction)
    ]
    table = ["| option | meaning |", "| --- | --- |", *rows, ""] if rows else []
    examples = _examples(f"{parser.description}\n{parser.epilog or ''}")
    return "\n".join([f"### {parser.prog}\n", _sentences(parser.description or summary), *table, *examples])


def _names(action: argparse.Action) -> str:
    """`--agents N`, or the name of an argument."""
    value = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    if action.choices is not None:
        value = " | ".join(map(str, action.choices))
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    if not action.option_strings:
        return f"`{text}`".replace("|", "\\|")
    value = "" if action.nargs == 0 else f" {text}"
    return f"`{', '.join(action.option_strings)}{value}`".replace("|", "\\|")


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    help_ = parser._get_formatter()._expand_help(action) if action.help else ""
    return " ".join(help_.split()).replace("|", "\\|").replace("<", "&lt;")


def _sentences(text: str | None) -> str:
    """The description without its examples."""
    words = re.split(r"^examples?:$", text or "", flags=re.MULTILINE)[0].strip()
    return f"{words.replace('<', '&lt;')}\n"


def _examples(text: str) -> list[str]:
    found = re.split(r"^examples?:$", text, flags=re.MULTILINE)[1:]
    lines = [line.strip() for part in found for line in part.splitlines() if line.strip()]
    return ["```sh", *lines, "```", ""] if lines else []


def study_files() -> str:
    """The page of study files, with the tables of all keys at its end."""
    text, mark, _ = (DOCS / "study_files.md").read_text(encoding="utf-8").partition(KEYS)
    tables = [
        "### Under `tuner:`\n", *_key_table(TUNER_KEYS),
        "### At the top\n", "As W&B defines them.\n", *_key_table(WANDB_KEYS),
    ]  # fmt: skip
    return f"{text}{mark}\n" + "\n".join(tables)


def _key_table(keys: Mapping[str, Key]) -> list[str]:
    rows = [f"| `{name}` | {key.meaning} | {key.without} |" for name, key in keys.items() if key.meaning]
    return ["| key | meaning | default |", "| --- | --- | --- |", *rows, ""]


PAGES = {"command_line.md": command_line, "study_files.md": study_files}

if __name__ == "__main__":
    for name, page in PAGES.items():
        text, target = page(), DOCS / name
        if "--check" not in sys.argv:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            sys.exit(f"docs/{name} is stale: run `python docs/write_reference.py`")
