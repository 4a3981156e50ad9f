"""Prints recordings that were read as a whole: as tables for people, as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO

from inference.feed import feed_values
from inference.output import console
from inference.whole import LineRun, WholeRecording
from tuner.show.console import GREEN, VERMILLION


def write_tables(recordings: Sequence[WholeRecording], out: IO[str]) -> None:
    """For each recording: operation, delay, how sure; then its lines with rows, times and probabilities."""
    from rich.markup import escape
    from rich.table import Table

    screen = console(out)
    for one in recordings:
        known = any(run.truth is not None for run in one.runs)
        others = any(run.alternatives for run in one.runs)
        table = Table(title=escape(headline(one)), title_justify="left")
        for name in ("rows", "seconds"):
            table.add_column(name, justify="right")
        table.add_column("line")
        table.add_column("probability", justify="right")
        if others:
            table.add_column("alternatives", style="dim")
        if known:
            table.add_column("true line")
        for run in one.runs:
            cells = [*_cells(run), *([_alternatives(run)] if others else [])]
            table.add_row(*cells, *([_beside(run)] if known else []))
        screen.print(table)
        if any(run.ahead for run in one.runs):
            screen.print(
                "read ahead: the machine waits, and the controller reports a later line that it has read"
            )
    _write_right(recordings, out)


def write_summary(recordings: Sequence[WholeRecording], out: IO[str]) -> None:
    """One line for each recording: its program, and the rows that are right where that is known."""
    for one in recordings:
        right = f"{one.right} of {one.known} rows right, " if one.known else ""
        program = one.operation or "no known program fits"
        out.write(f"{one.name}: {program}, {right}{one.sure}\n")
    if len(recordings) > 1:
        _write_right(recordings, out)


def _write_right(recordings: Sequence[WholeRecording], out: IO[str]) -> None:
    """How many rows are right in all, where the true lines are known."""
    right, known = sum(one.right for one in recordings), sum(one.known for one in recordings)
    if known:
        of = f" of {len(recordings)} recordings" if len(recordings) > 1 else ""
        out.write(f"{right:,} of {known:,} rows{of} right ({right / known:.0%})\n")


def headline(one: WholeRecording) -> str:
    """What was found, in one line."""
    if one.operation is None:
        return f"{one.name} · no known program fits (the nearest is {one.like}, fit {one.fit:.2f})"
    late = f"{abs(one.delay)} rows {'behind' if one.delay >= 0 else 'ahead of'} those of {one.like}"
    return (
        f"{short_title(one)} · sensors {late} · "
        f"fit {one.fit:.2f}, better than {one.worse:.0%} of known recordings"
    )


def short_title(one: WholeRecording) -> str:
    """What ran, at which feed, and how sure that is."""
    if one.operation is None:
        return f"{one.name} · no known program fits"
    return f"{one.name} · {one.operation} · {one.feed} · {one.sure}"


def write_json_lines(recordings: Sequence[WholeRecording], out: IO[str]) -> None:
    """One object per run of rows with one line; `operation` and `fit` are those of its recording."""
    for one in recordings:
        for run in one.runs:
            out.write(json_line(one, run))


def json_line(one: WholeRecording, run: LineRun) -> str:
    """A run of rows as one line of JSON."""
    content = asdict(run)
    content["alternatives"] = [{"line": line, "share": share} for line, share in run.alternatives]
    about = {"operation": one.operation, "like": one.like, "delay": one.delay, "fit": one.fit}
    about |= feed_values(one.clock)
    return json.dumps({**content, **about}) + "\n"


def _cells(run: LineRun) -> list[str]:
    rows = f"{run.start}–{run.start + run.rows - 1}" if run.rows > 1 else str(run.start)
    seconds = f"{run.seconds[0]:.1f}–{run.seconds[1]:.1f}" if run.seconds is not None else ""
    sure = "–" if run.probability is None else f"{run.probability:.1%}"
    return [rows, seconds, f"{run.line} (read ahead)" if run.ahead else run.line, sure]


def _alternatives(run: LineRun) -> str:
    return ", ".join(f"{line} {share:.0%}" for line, share in run.alternatives if share >= 0.005)


def _beside(run: LineRun) -> str:
    if run.truth is None:
        return ""
    return f"[{GREEN}]{run.truth}[/]" if run.truth == run.line else f"[{VERMILLION}]≠ {run.truth}[/]"
