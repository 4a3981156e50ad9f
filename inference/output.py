"""Output formats: tables, JSON lines, a G-code program."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

from ensemble.choose import Interval as Gain
from inference.calibrate import Calibration, in_words
from inference.evaluate import Evaluation
from inference.pipeline import Decoded, DecodedWindow
from model.intervals import LEAST_RECORDINGS, TOO_FEW, Interval
from model.tokens import HEADS
from tuner.show.console import GREEN, VERMILLION

if TYPE_CHECKING:
    from inference.tune import Conclusion, Tuned, TunedTemperatures

SHOWN_ERRORS = 10
NO_TERMINAL_WIDTH = 140
PERCENT = ("_acc", "_rate", "within_tol", "composite", "_recall", "_invented")


def console(out: IO[str]) -> Any:
    """As wide as the terminal; without one, wide enough for all tables."""
    from rich.console import Console

    found = Console(file=out, highlight=False)
    return found if found.is_terminal else Console(file=out, highlight=False, width=NO_TERMINAL_WIDTH)


def write_table(decoded: Decoded, out: IO[str]) -> None:
    """One row per run of windows with the same line: rows, line, probability, alternatives, true line."""
    from rich.table import Table

    screen = console(out)
    known = any(window.truth is not None for window in decoded.windows)
    for title, windows in _by_recording(decoded):
        table = Table(title=title, title_justify="left")
        table.add_column("rows", justify="right")
        table.add_column("line")
        table.add_column("probability", justify="right")
        table.add_column("alternatives", style="dim")
        if known:
            table.add_column("true line")
        for window in windows:
            others = ", ".join(f"{line} {p:.0%}" for line, p in window.alternatives if p >= 0.005)
            rows = f"{window.start}–{window.start + window.rows - 1}"
            cells = [rows, window.line, f"{window.probability:.1%}", others]
            if known:
                cells.append(_beside(window))
            table.add_row(*cells)
        screen.print(table)


def write_summary(decoded: Decoded, out: IO[str]) -> None:
    """One line for each recording: its operation, and how many windows are right if that is known."""
    for title, _ in _by_recording(decoded):
        out.write(f"{title}\n")


def _by_recording(decoded: Decoded) -> Iterator[tuple[str, list[DecodedWindow]]]:
    """What is said of each recording, and its windows."""
    for name, (operation, share) in decoded.operation.items():
        windows = [window for window in decoded.windows if window.recording == name]
        known = [window for window in windows if window.truth is not None]
        right = f" · {sum(map(_right, known))} of {len(known)} windows right" if known else ""
        yield f"{name} · looks like {operation} ({share:.0%}){right}", windows


def _right(window: DecodedWindow) -> bool:
    from model.metrics import exact_matches

    return window.truth is not None and bool(exact_matches([window.line], [window.truth])[0])


def _beside(window: DecodedWindow) -> str:
    if window.truth is None:
        return ""
    return f"[{GREEN if _right(window) else VERMILLION}]{window.truth}[/]"


def write_jsonl(decoded: Decoded, out: IO[str]) -> None:
    """One object per window."""
    for window in decoded.windows:
        out.write(json_line(window))


def json_line(window: DecodedWindow) -> str:
    """A window as one line of JSON."""
    content = asdict(window)
    content["tokens"] = [{"token": token, "probability": p} for token, p in window.tokens]
    content["alternatives"] = [{"line": line, "probability": p} for line, p in window.alternatives]
    return json.dumps(content) + "\n"


def write_gcode(decoded: Decoded, out: IO[str]) -> None:
    """The program, with consecutive equal lines merged."""
    for line in decoded.program():
        out.write(f"{line}\n")


def write_json(content: Mapping[str, Any], out: IO[str]) -> None:
    """One object, indented."""
    out.write(json.dumps(content, indent=1) + "\n")


def write_evaluation(evaluation: Evaluation, out: IO[str], *, joint: bool) -> None:
    """Prints metrics with intervals, metrics by operation, confused commands, and errors."""
    screen = console(out)
    metrics = evaluation.metrics
    how = "read with the whole recording" if joint else "each alone"
    screen.print(f"{metrics['windows']:.0f} windows of {metrics['recordings']:.0f} recordings, {how}")
    if metrics["recordings"] < LEAST_RECORDINGS:
        screen.print(TOO_FEW)
    screen.print(_metrics_table(metrics, evaluation.intervals))
    screen.print(_operations_table(evaluation.by_operation))
    screen.print(_confusion_table(evaluation.confusion))
    if evaluation.errors:
        screen.print(_errors_table(evaluation))


def _metrics_table(metrics: Mapping[str, float], intervals: Mapping[str, Interval]) -> Any:
    from rich.table import Table

    table = Table(title="metrics (95 % interval over recordings)", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("interval", justify="right")
    for name, value in metrics.items():
        if name in ("windows", "recordings"):
            continue
        interval = intervals.get(name)
        text = ""
        if interval is not None and interval.low is not None and interval.high is not None:
            text = f"{100 * interval.low:.1f} … {100 * interval.high:.1f} %"
        table.add_row(name, _figure(name, value), text)
    return table


def _operations_table(by_operation: Mapping[str, Mapping[str, float]]) -> Any:
    from rich.table import Table

    shown = {
        "row_acc": "rows",
        "program_error_rate": "program error",
        "exact_acc": "exact",
        "exact_acc_window": "window",
        "overall_acc": "token",
        "command_acc": "command",
        "operation_acc": "named",
    }
    table = Table(title="by operation (window: exact by each window alone)", title_justify="left")
    table.add_column("operation")
    table.add_column("windows", justify="right")
    for name in shown.values():
        table.add_column(name, justify="right")
    for operation, metrics in by_operation.items():
        cells = [_figure(name, metrics[name]) if name in metrics else "" for name in shown]
        table.add_row(operation, f"{metrics['windows']:.0f}", *cells)
    return table


def _confusion_table(confusion: Mapping[tuple[str, str], int]) -> Any:
    from rich.table import Table

    names = sorted({name for pair in confusion for name in pair})
    table = Table(title="commands: true (rows) against decoded (columns), windows", title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for true in names:
        counts = [confusion.get((true, decoded), 0) for decoded in names]
        if any(counts):
            table.add_row(true, *(str(n) if n else "·" for n in counts))
    return table


def _errors_table(evaluation: Evaluation) -> Any:
    from rich.table import Table

    wrong = int((~evaluation.right).sum())
    table = Table(
        title=f"most frequent errors ({wrong} windows, {len(evaluation.errors)} kinds)", title_justify="left"
    )
    for name in ("true line", "decoded", "windows", "for example"):
        table.add_column(name, justify="right" if name == "windows" else "left")
    for true, decoded, count, example in evaluation.errors[:SHOWN_ERRORS]:
        table.add_row(true, decoded, str(count), example)
    return table


def _figure(name: str, value: float) -> str:
    if name.endswith(PERCENT) or "_acc" in name:
        return f"{100 * value:.1f} %"
    return f"{value:.3f}"


def write_calibration(calibration: Calibration, out: IO[str]) -> None:
    """One table per part: scaling and calibration of each head before and after."""
    from rich.table import Table

    screen = console(out)
    for part, after in calibration.after.items():
        chosen = "fitted here" if part == "calibrate" else "report only: nothing is chosen by it"
        table = Table(title=f"{part} ({chosen})", title_justify="left")
        table.add_column("head")
        for name in (
            "samples",
            "scaling",
            "ECE before",
            "ECE after",
            "fitted here",
            "by chance",
            "NLL",
            "Brier",
        ):
            table.add_column(name, justify="right")
        for head in HEADS:
            was, now = calibration.before[part][head], after[head]
            table.add_row(
                head,
                str(now.samples),
                in_words(calibration.scalings[head]),
                f"{was.ece:.2%} ({was.ece_low:.1%} … {was.ece_high:.1%})",
                f"{now.ece:.2%} ({now.ece_low:.1%} … {now.ece_high:.1%})",
                f"{now.ece_fitted_here:.2%}",
                f"{now.ece_by_chance:.2%}",
                f"{was.nll:.4f} → {now.nll:.4f}",
                f"{was.brier:.4f} → {now.brier:.4f}",
            )
        screen.print(table)
    out.write("fitted here: the ECE with the scaling that is fitted on this part itself\n")
    out.write("by chance: the mean ECE of a perfectly calibrated head on as many samples\n")


def write_tuned_lines(tuned: Tuned, out: IO[str]) -> None:
    """The best options, their gain over greedy with interval, parameters without effect, what is stored."""
    shown = {name: value for name, value in tuned.options.to_dict().items() if value is not None}
    out.write(f"best of {tuned.trials} trials: {json.dumps(shown)}\n")
    for part, gain in (("calibrate", tuned.gain), ("test", tuned.test_gain)):
        exact = tuned.exact[part]
        out.write(
            f"{part}: greedy {exact['greedy']:.2%}, best {exact['best']:.2%} exact; gain {_points(gain)}\n"
        )
    for name, why in tuned.inert.items():
        out.write(f"inert: {name} ({why})\n")
    if tuned.kept == tuned.options and tuned.gain.low > 0:
        out.write("the gain is significant: stored in the bundle\n")
    else:
        out.write("no significant gain: the bundle decodes greedily\n")


def write_tuned_temperatures(tuned: TunedTemperatures, out: IO[str]) -> None:
    """Learned and exact temperatures."""
    from rich.table import Table

    table = Table(title=f"temperatures after {tuned.trials} trials", title_justify="left")
    table.add_column("head")
    table.add_column("learned", justify="right")
    table.add_column("exact", justify="right")
    for head in HEADS:
        table.add_row(head, f"{tuned.learned[head]:.3f}", f"{tuned.exact[head]:.3f}")
    table.add_section()
    table.add_row("NLL a token", f"{tuned.nll['learned']:.5f}", f"{tuned.nll['exact']:.5f}")
    screen = console(out)
    screen.print(table)
    screen.print(
        f"without temperatures: {tuned.nll['none']:.5f}; the bundle keeps the exact ones", markup=False
    )


def _points(gain: Gain) -> str:
    low, high = (f"{100 * bound:+.1f}" if abs(bound) < 1e9 else "?" for bound in (gain.low, gain.high))
    return f"{100 * gain.mean:+.2f} points ({low} … {high}, 95 % over recordings)"


def write_conclusion(conclusion: Conclusion, out: IO[str]) -> None:
    """What became of a bundle after a study on it."""
    if conclusion.temperatures is not None:
        write_tuned_temperatures(conclusion.temperatures, out)
    if conclusion.lines is not None:
        write_tuned_lines(conclusion.lines, out)
