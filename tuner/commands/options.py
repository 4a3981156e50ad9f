"""Options that several subcommands share, and their conversions. Imports nothing heavy."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.base import words
from tuner.base.command_line import STORAGE_VARIABLE, Help, add_common_options, default_results
from tuner.base.command_line import settings as settings
from tuner.base.sqlite_url import sqlite_url

if TYPE_CHECKING:
    from rich.console import Console

    from tuner.artifacts.run_store import Fetched
    from tuner.claims.material import Material
    from tuner.definition.study_file import StudyFile
    from tuner.run.request import Request
    from tuner.show.report.blocks import Document
    from tuner.storage.records import Records

Subparsers = Any  # argparse's class for this is private

ARTIFACTS_VARIABLE = "TUNER_ARTIFACTS"


def subcommand(
    subparsers: Subparsers, name: str, summary: str, description: str | None, example: str
) -> argparse.ArgumentParser:
    """Adds a subcommand. Returns its parser, which has an example and the common options.

    Args:
        summary: for the list of commands. description: for its help page: what its module says of itself.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=Help,
    )
    add_common_options(parser)
    return parser


def _shared() -> dict[str, dict[str, Any]]:
    """The options that several subcommands have, by name."""
    return {
        "agents": {"type": positive, "metavar": "N"},
        "trials": {"type": positive, "metavar": "N", "help": "total number of finished trials"},
        "timeout": {"type": seconds, "metavar": "2h", "help": "stop after this long"},
        "data": {"type": Path, "metavar": "DIR"},
        "set": {
            "action": "append",
            "default": [],
            "metavar": "KEY=VALUE",
            "help": "fix a value of the configuration",
        },
        "seed": {"type": int, "default": 0, "metavar": "N", "help": "seed of the sampler (default: 0)"},
        "fresh": {
            "action": "store_true",
            "help": "start again; the old study is kept under another name",
        },
        "json": {"action": "store_true", "help": "print the result as JSON"},
        "verbose": {"action": "store_true", "help": "also say how likely each chosen trial is to win"},
        "wandb": {
            "choices": ("auto", "online", "offline", "off"),
            "default": "auto",
            "help": "W&B runs of the trials (default: online with a key and a server, else offline)",
        },
        "notify": {
            "action": "append",
            "default": [],
            "metavar": "URL",
            "help": "send a message when a study is done, fails or has a new best: desktop:, "
            "command:PROGRAM, or an address of apprise (ntfy://TOPIC, mailto://…, slack://…); can be "
            "repeated",
        },
        "storage": {
            "metavar": "URL",
            "default": os.environ.get(STORAGE_VARIABLE),
            "help": "storage of the studies: sqlite:///FILE, postgresql://USER@HOST/DATABASE or "
            f"grpc://HOST:PORT (default: ${STORAGE_VARIABLE} or sqlite:///RESULTS/studies.db)",
        },
        "artifacts": {
            "metavar": "URL",
            "default": os.environ.get(ARTIFACTS_VARIABLE),
            "help": "store to share run folders and data sets: file:///DIR or s3://BUCKET/PREFIX "
            f"(default: ${ARTIFACTS_VARIABLE} or the store that the study was started with)",
        },
    }


def add_options(parser: argparse.ArgumentParser, *names: str, **changed: Any) -> None:
    """Adds shared options by name. `changed`: arguments of argparse that this subcommand has of its own."""
    for name in names:
        flags = ["-v", "--verbose"] if name == "verbose" else [f"--{name}"]
        parser.add_argument(*flags, **{**_shared()[name], **changed})


def write_json(content: Any) -> None:
    """The result of a command for programs: one object or list on standard output."""
    sys.stdout.write(json.dumps(words.finite(content), indent=1, default=str) + "\n")


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """Where JSON is wanted: what this process and its children print meanwhile goes to standard error."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def study_name(text: str, records: Records, results: Path) -> str:
    """The name of a study: of `entity/project/name`, or of a study file, too."""
    if text.endswith((".yaml", ".yml")):
        from tuner.definition.loading import load_study_file
        from tuner.storage.study_store import named_apart

        return named_apart(records, load_study_file(text), results).name
    return text.rpartition("/")[2]


def places(options: argparse.Namespace) -> list[str]:
    """The options that name the same storage and results folder, for a command to be shown."""
    from tuner.storage.outage import hide_password

    told = ["--results", str(options.results)] if options.results != default_results() else []
    if options.storage and options.storage != os.environ.get(STORAGE_VARIABLE):
        told += ["--storage", hide_password(options.storage)]
    return told


def storage_url(options: argparse.Namespace) -> str:
    """The storage in the options, or the one in the results folder."""
    return options.storage or sqlite_url(options.results / "studies.db")


def request_for(options: argparse.Namespace, study: str | StudyFile, **changed: Any) -> Request:
    """What the options ask for, as a request for `study`. `changed`: what is not as the options say."""
    from tuner.definition.loading import load_study_file
    from tuner.run.request import Request

    same = ("trials", "agents", "timeout", "data", "seed", "count", "fresh", "wandb", "wandb_artifacts",
            "artifacts")  # fmt: skip
    told = {name: value for name, value in vars(options).items() if name in same}
    told["overrides"] = settings(getattr(options, "set", []))
    file = load_study_file(study) if isinstance(study, str) else study
    return Request(file, **{"url": storage_url(options), "results": options.results, **told, **changed})


def records(options: argparse.Namespace) -> Records:
    """The records in the storage of the options.

    Raises:
        InputError: there is none, or it can't be used.
    """
    from tuner.storage.access import open_records

    return open_records(storage_url(options))


def fetched(
    records: Records,
    studies: Sequence[str],
    results: Path,
    *,
    top: int | None = None,
    say_failures: bool = True,
) -> Fetched:
    """Downloads missing run folders of `studies` (none named: of all).

    Prints progress to stderr. A failing store is not an error, because the results folder may have enough.
    """
    import optuna

    from tuner.artifacts.run_store import ATTRIBUTE, fetch_missing

    known = optuna.get_all_study_names(records)
    names = [
        name
        for name in (studies or known)
        if name in known and ATTRIBUTE in records.get_study_user_attrs(records.get_study_id_from_name(name))
    ]
    found = fetch_missing(records, names, results, top=top)
    if found.runs:
        runs = "run folder" if found.runs == 1 else "run folders"
        sys.stderr.write(f"fetched {found.runs} {runs} ({found.size / 2**20:.1f} MiB) from the store\n")
    if say_failures:
        for line in found.failed:
            sys.stderr.write(f"not fetched: {line}\n")
    return found


def material(options: argparse.Namespace, studies: Sequence[str] = (), data: Path | None = None) -> Material:
    """What reports and verdicts rest on: these studies (none: all), with their run folders in a store."""
    from datetime import datetime

    from tuner.claims import material

    found = records(options)
    fetched(found, studies, options.results)
    return material.load(found, studies, options.results, data=data, made=datetime.now())


def seconds(text: str) -> float:
    """Converts `90`, `90s`, `30m`, `2h` or `1h30m` to seconds."""
    try:
        return words.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    """Converts to a whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got '{text}'")
    return int(text)


def port(text: str) -> int:
    """Converts to the number of a port."""
    if (found := positive(text)) >= 1 << 16:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got '{text}'")
    return found


def report_file(text: str) -> Path:
    """Converts to the path of a report."""
    path = Path(text)
    if path.suffix not in (".pdf", ".html"):
        raise argparse.ArgumentTypeError(f"expected a name that ends in .pdf or .html, got '{text}'")
    return path


def write_report(document: Document, path: Path) -> None:
    """Writes a report as PDF or HTML, by the ending of its name, and says where."""
    if path.suffix == ".html":
        from tuner.show.report import html as writer
    else:
        from tuner.show.report import pdf as writer  # type: ignore[no-redef]
    writer.write(document, path)
    error_console().print(f"wrote {path}, numbers in {path.stem}_data/", markup=False)


def console() -> Console:
    """The console for results: standard output."""
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=160)


def error_console() -> Console:
    """The console for progress: standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)
