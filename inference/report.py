"""Report sections about calibration and decoding of bundles, from what was stored beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ensemble.report import ENSEMBLES, Bundle, anchor, bundles_in, intervals, title
from model.workload.base import are_in
from model.workload.confusion import MOST_CLASSES, confusions
from model.workload.samples import differences
from tuner.base.errors import InputError
from tuner.base.files import read_json
from tuner.base.words import slug
from tuner.claims.material import Material
from tuner.show.report.blocks import Block, Section, Table, Text
from tuner.show.report.charts import Bars, Chart, Panel, Series

HEADS = ("type", "command", "param_type", "param_value")
NAMES = {"command": "commands", "param_type": "parameter letters", "param_value": "values"}
RELIABILITY = "reliability.json"
EVALUATIONS = "evaluations"
MOST_ERRORS = 12
MOST_PATHS = 3  # tool paths drawn
UNSURE = 0.5
WHOLE = {
    "row_acc": "rows right",
    "program_error_rate": "program error",
    "recording_operation_acc": "operation right",
}
FIGURES = ("exact_acc", "overall_acc", "command_acc", "row_acc", "program_error_rate")


def sections(material: Material) -> list[Section]:
    """Calibration and decoding of every bundle, below what `ensemble.report` says about it.

    Nothing in a report without studies of recordings.
    """
    if not are_in(material):
        return []
    bundles = bundles_in(material.results)
    first = [chart for bundle in bundles[-1:] for chart in programs(bundle, material.results / "ensembles")]
    return [
        Section(ENSEMBLES, "Ensembles", first),
        *(Section(anchor(bundle), title(bundle), blocks(bundle, material.results / "ensembles" / bundle.name))
          for bundle in bundles),
    ]  # fmt: skip


def programs(bundle: Bundle, ensembles: Path) -> list[Block]:
    """Whole programs as the newest evaluation of a bundle measured and drew them; [] without one."""
    measured = evaluations(ensembles / bundle.name)
    name, content = next(((k, c) for k, c in measured.items() if "row_acc" in c["metrics"]), ("", {}))
    if not content:
        return []
    known = {title: key for key, title in WHOLE.items() if key in content["metrics"]}
    found = [
        {"mean": content["metrics"][key], **((content.get("intervals") or {}).get(key) or {})}
        for key in known.values()
    ]
    bars = intervals(
        f"programs_{slug(bundle.name)}", "Whole programs",
        f"{name}: shares of whole recordings, with 95 % intervals over recordings where there are enough.",
        list(known), found, "%", scale=100,
    )  # fmt: skip
    paths = [_path(title, path) for title, path in list((content.get("paths") or {}).items())[:MOST_PATHS]]
    if not paths:
        return [bars]
    caption = (
        "Decoded tool paths in XY, one recording of each operation, in program units. Marked: moves whose "
        f"line has a probability below {UNSURE:.0%}."
    )
    return [bars, Chart(f"paths_{slug(bundle.name)}", "Decoded tool paths", caption, paths)]


def _path(title: str, path: Mapping[str, Any]) -> Panel:
    points, sure = path["points"], path["sure"]
    unsure = [i for i, p in enumerate(sure) if p is not None and p < UNSURE]
    series = [Series("decoded", [p[0] for p in points], [p[1] for p in points], "line")]
    if unsure:
        text = [f"probability {sure[i]:.0%}" for i in unsure]
        series.append(
            Series("unsure", [points[i][0] for i in unsure], [points[i][1] for i in unsure], text=text)
        )
    return Panel(series, "X", "Y", title=title, equal=True)


def blocks(bundle: Bundle, folder: Path) -> list[Block]:
    """Calibration and decoding of one bundle; `folder` is its own, where what was measured is kept."""
    return [*calibration(bundle, folder), *decoding(bundle, folder)]


def calibration(bundle: Bundle, folder: Path) -> list[Block]:
    """Expected calibration error and reliability curves, before and after."""
    note = (bundle.content.get("chosen_by") or {}).get("temperatures") or {}
    quality, name = note.get("quality") or {}, slug(bundle.name)
    if not quality:
        return [Text(["Not calibrated yet: tuner inference calibrate"], aside=True)]
    plots = [
        Bars(
            (names := [h for h in HEADS if h in heads]),
            {k: [heads[h][k]["ece"] for h in names] for k in ("before", "after")},
            "expected calibration error",
            {k: [heads[h][k]["ece_low"] for h in names] for k in ("before", "after")},
            {k: [heads[h][k]["ece_high"] for h in names] for k in ("before", "after")},
            title=part,
        )
        for part, heads in quality.items()
    ]
    temperatures = ", ".join(f"{h} {t:.2f}" for h, t in (bundle.content.get("temperatures") or {}).items())
    caption = (
        f"Gap between confidence and accuracy, 95 % intervals over recordings. Temperatures: {temperatures}."
        + _exponents(bundle)
    )
    errors = Chart(f"bundle_{name}_calibration", "Calibration", caption, plots)
    return [errors, *_reliability(name, folder)]


def _exponents(bundle: Bundle) -> str:
    exponents = bundle.content.get("exponents") or {}
    bent = [f"{head} {value:.2f}" for head, value in exponents.items() if value != 1]
    return f" Exponents of the gaps between logits: {', '.join(bent)}." if bent else ""


def _reliability(name: str, folder: Path) -> list[Block]:
    try:
        curves = read_json(folder / RELIABILITY)
        part = "test" if "test" in curves else next(iter(curves))
        panels = [
            Panel(
                [
                    Series(k, curves[part][head][k]["confidence"], curves[part][head][k]["accuracy"],
                           "faint line" if k == "before" else "line",
                           text=[f"{n} positions" for n in curves[part][head][k]["size"]])
                    for k in ("before", "after")
                ],
                "confidence", "share that is right", title=head, square=True,
            )
            for head in HEADS if head in curves[part]
        ]  # fmt: skip
    except InputError:
        return [Text(["No reliability curves: tuner inference calibrate stores them."], aside=True)]
    except (KeyError, TypeError, StopIteration):
        return [Text([f"{RELIABILITY} is not of this version: tuner inference calibrate"], aside=True)]
    caption = (
        f"On the part {part}: bins of as many positions each, most confident to the right. On the dotted "
        "line a head is right as often as it says; below it, it is too sure. Grey: before calibration."
    )
    return [Chart(f"bundle_{name}_reliability", "Reliability", caption, panels)]


def decoding(bundle: Bundle, folder: Path) -> list[Block]:
    """How lines are chosen, what that gains, which parameters are inert, and what was measured."""
    note = (bundle.content.get("chosen_by") or {}).get("decoding") or {}
    found: list[Block] = [Text(_sentences(note, bundle.content.get("decoding") or {}))]
    gains = _gains(note)
    if gains:
        found.append(
            intervals(f"bundle_{slug(bundle.name)}_decoding", "Gain of decoding",
                      "Points of exact lines, paired over recordings, 95 % intervals; test is held out.",
                      [label for label, _ in gains], [gain for _, gain in gains], "points", scale=100)
        )  # fmt: skip
    else:
        found.append(Text(["The decoder is not tuned yet: tuner inference tune"], aside=True))
    inert = note.get("inert") or {}
    if inert:
        rows = [[name, str(why)] for name, why in inert.items()]
        found.append(Table(["inert parameter", "why"], rows, "Parameters that change no line."))
    measured = evaluations(folder)
    if not measured:
        wanted = "tuner inference evaluate data/NAME --part test --joint"
        return [*found, Text([f"No errors to show: {wanted} measures and keeps them."], aside=True)]
    found.append(_measured(measured))
    drawn: list[Any] = []  # how windows are joined changes no head: its confusion is shown once
    for key, content in measured.items():
        name = f"bundle_{slug(bundle.name)}_{slug(key)}"
        if content["heads"] not in drawn:
            found += confusions(name, _caption(key), _pairs(content["heads"]))
            drawn.append(content["heads"])
        found.append(_wrong_lines(key, content))
    return found


def evaluations(folder: Path) -> dict[str, Mapping[str, Any]]:
    """What `inference evaluate` measured of a bundle, by name; torn files and others' are left out."""
    found = {}
    for path in sorted((folder / EVALUATIONS).glob("*.json")):
        try:
            content = read_json(path)
        except InputError:
            continue
        if isinstance(content, Mapping) and {"metrics", "heads", "errors"} <= set(content):
            found[path.stem] = content
    return found


def _sentences(note: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    shown = ", ".join(f"{k} {v}" for k, v in settings.items() if v and not isinstance(v, Mapping))
    lines = [f"Decoding: {shown}."]
    margin = note.get("margin") or {}
    if margin:
        lines.append(
            f"Chosen by {note.get('how')}: {100 * margin['mean']:+.2f} points of exact lines over greedy "
            f"{_range(margin, 100)} on {note.get('part')}."
        )
    return lines


def _gains(note: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    gains = [
        (f"tuned over greedy, {note.get('part')}", note.get("margin")),
        ("tuned over greedy, test", note.get("on_test")),
    ]
    return [(label, gain) for label, gain in gains if gain]


def _measured(measured: Mapping[str, Mapping[str, Any]]) -> Table:
    """A line an evaluation: accuracies with intervals, and how long a window took."""
    rows = []
    for key, content in measured.items():
        metrics, ms = content["metrics"], content.get("ms_per_window") or {}
        rows.append(
            [
                key,
                "whole recordings" if content.get("joint") else "each window alone",
                f"{metrics.get('recordings', 0):.0f} / {metrics.get('windows', 0):.0f}",
                *(_accuracy(content, name) for name in FIGURES),
                _share(metrics.get("value_within_tol")),
                _share(metrics.get("unknown_line_rate")),
                f"{sum(ms.values()):.2f}" if ms else "–",
            ]
        )
    headings = ["recordings", "read as", "recordings / windows", "exact lines", "tokens", "commands",
                "rows", "program error",
                "values within 0.5 mm", "out of reach", "ms a window"]  # fmt: skip
    note = (
        "Measured by inference evaluate, 95 % intervals over recordings. Rows and program error: of whole "
        "recordings, read with known programs. Out of reach: lines with a token "
        "that training never saw. ms: with the search, as measured then."
    )
    return Table(headings, rows, note)


def _caption(name: str) -> str:
    return (
        f"{name}: what each head says (columns) for what is true (rows), the true tokens before it given. "
        f"Shade: share of the row. At most {MOST_CLASSES} classes; of more, the most mistaken."
    )


def _pairs(heads: Mapping[str, Any]) -> dict[str, list[tuple[str, str, int]]]:
    return {title: [(str(a), str(b), int(n)) for a, b, n in heads.get(h) or ()] for h, title in NAMES.items()}


def _wrong_lines(name: str, content: Mapping[str, Any]) -> Block:
    errors = content["errors"]
    if not errors:
        return Text([f"{name}: no line was decoded wrongly."])
    rows = [
        [e["true"], e["decoded"], differences(e["true"], e["decoded"]), str(e["windows"]), e["example"]]
        for e in errors[:MOST_ERRORS]
    ]
    kinds = content.get("kinds_of_error", len(errors))
    note = f"{name}: the most frequent wrong lines, {len(rows)} of {kinds} kinds, and where they differ."
    return Table(["true line", "decoded line", "differs", "windows", "for example"], rows, note)


def _accuracy(content: Mapping[str, Any], name: str) -> str:
    text = _share(content["metrics"].get(name))
    interval = (content.get("intervals") or {}).get(name) or {}
    if interval.get("low") is None or interval.get("high") is None:
        return text
    low, high = max(0.0, interval["low"]), min(1.0, interval["high"])  # of few recordings it would be wider
    return f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _range(interval: Mapping[str, Any], scale: float) -> str:
    if interval.get("low") is None or interval.get("high") is None:
        return "[no interval]"
    return f"[{scale * interval['low']:+.2f}, {scale * interval['high']:+.2f}]"
