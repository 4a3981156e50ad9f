"""`tuner model import | synthesize | baseline`: runs the command and prints its result."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from model.data_sets import default_data, synthesize
from model.importing import import_recordings
from model.intervals import LEAST_RECORDINGS, TOO_FEW
from model.recordings import SIMULATOR, Recordings
from tuner.base.errors import InputError

if TYPE_CHECKING:
    from model.row_baselines import RowBaseline

WIDE = 150  # columns of the widest table
SHOWN_ROWS = {
    "exact_acc": "windows",
    "row_acc": "rows",
    "program_error_rate": "program error",
    "line_recall": "lines found",
    "recording_operation_acc": "operation",
}
PLAIN_SECONDS = 5.0  # between two lines of progress without a terminal
NEXT = "next: tuner study loss_weighting --data {}"


def chosen_data(named: Path | None) -> Recordings:
    """The data set `named`, else the default one; says so on stderr if that is simulated."""
    data = Recordings.load(named or default_data())
    if named is None and data.kind == SIMULATOR:
        sys.stderr.write(f"no recordings imported: using the simulator's ({data.folder})\n")
    return data


def run_import(options: argparse.Namespace) -> None:
    """Imports recordings and prints what was found and dropped."""
    began = time.monotonic()
    if "" in options.sources:
        raise InputError("an empty path; expected folders or files with recordings")
    sources = [Path(source) for source in options.sources]
    first = sources[0]
    to = options.to or Path("data") / (first.resolve().name if first.is_dir() else "recordings")
    with _reading() as progress:
        report = import_recordings(sources, to, progress=progress)
    if options.json:
        found = [asdict(recording) for recording in report.data.recordings]
        content = {"folder": str(to), "content_hash": report.data.content_hash, "rows": report.data.rows}
        sys.stdout.write(json.dumps({**content, "recordings": found}) + "\n")
        return
    for line in report.lines():
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"written to {to} in {time.monotonic() - began:.1f} s\n{NEXT.format(to)}\n")


def run_synthesize(options: argparse.Namespace) -> None:
    """Writes simulated recordings, as a data set or as CSV files."""
    from model.simulator import OPERATIONS, Simulation, synthesize_csv

    simulation = Simulation(
        seed=options.seed,
        operations=tuple(options.operations) if options.operations else OPERATIONS,
        recordings_per_operation=options.recordings,
        scale=options.scale,
    )
    if options.csv:
        written = synthesize_csv(options.csv, simulation)
        sys.stdout.write(f"{len(written)} simulated recordings written to {options.csv}\n")
        sys.stdout.write(f"next: tuner model import {options.csv}\n")
        return
    data = synthesize(options.to, simulation)
    sys.stdout.write(
        f"{len(data.recordings)} simulated recordings of {len(data.operations)} operations, "
        f"{data.rows:,} rows, {len(data.channels)} channels written to {options.to}\n"
        f"{NEXT.format(options.to)}\n"
    )


def run_baseline(options: argparse.Namespace) -> None:
    """Prints the scores of the baselines."""
    from model.baselines import baselines, prepare
    from model.row_baselines import row_baselines
    from model.windows import split

    data = chosen_data(options.data)
    began = time.monotonic()
    problem = prepare(data, track=options.track, split_seed=options.split_seed, published=options.vocabulary)
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("reading windows") as status:
            scores = list(baselines(problem, seed=options.seed, progress=status.update))
    else:
        scores = list(baselines(problem, seed=options.seed, progress=_plain_line))
    read: list[RowBaseline] = []
    if options.track == "recordings":
        parts = split(data, seed=options.split_seed)
        read = list(row_baselines(data, known=parts["train"], which=parts["test"]))
    if options.json:
        rows = {
            score.name: {"overall_acc": score.overall_acc, "exact_acc": score.exact_acc} for score in scores
        }
        facts = {"track": options.track, "data": data.name, "unknown_token_rate": problem.unknown_rate}
        whole = {
            one.name: {name: interval.to_json() for name, interval in one.figures.items()} for one in read
        }
        sys.stdout.write(json.dumps({**facts, "baselines": rows, "whole_recordings": whole}) + "\n")
        return
    table = Table(title=f"{data.name}, track {options.track}: {len(problem.test):,} windows of the test part")
    table.add_column("baseline")
    table.add_column("token %", justify="right")
    table.add_column("exact %", justify="right")
    for score in scores:
        name = score.name + (" [a leak: all recordings run on one clock]" if score.leak else "")
        table.add_row(escape(name), f"{100 * score.overall_acc:.1f}", f"{100 * score.exact_acc:.1f}")
    Console().print(table)
    if read:
        Console(width=max(Console().width, WIDE)).print(_rows_table(read, len(parts["test"])))
    sys.stdout.write(
        f"{100 * problem.unknown_rate:.1f} % of the target tokens were never seen in train; "
        f"{time.monotonic() - began:.0f} s\n"
    )


def _rows_table(read: Sequence[RowBaseline], recordings: int) -> Table:
    """Whole recordings, read row by row."""
    title = f"whole recordings, read row by row: {recordings} recordings of the test part"
    table = Table(title=title, caption=None if recordings >= LEAST_RECORDINGS else TOO_FEW)
    table.add_column("baseline, % [95 % over recordings]")
    for name in SHOWN_ROWS.values():
        table.add_column(name, justify="right")
    for one in read:
        name = one.name + (" [a leak: its input has the answer]" if one.leak else "")
        table.add_row(escape(name), *(escape(str(one.figures[key])) for key in SHOWN_ROWS))
    return table


@contextmanager
def _reading() -> Iterator[Callable[[int, int], None]]:
    """Shows how many recordings were read: a bar on a terminal, else a line every few seconds."""
    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(console=console, transient=True) as bar:
            reading = bar.add_task("reading recordings")
            yield lambda done, of: bar.update(reading, completed=done, total=of)
        return
    last = time.monotonic()

    def plain(done: int, of: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_SECONDS:
            last = time.monotonic()
            _plain_line(f"{done} of {of} recordings read")

    yield plain


def _plain_line(text: str) -> None:
    sys.stderr.write(text + "\n")
