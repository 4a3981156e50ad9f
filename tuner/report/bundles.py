"""Ensembles, calibration and decoding as `bundle.json` tells them, and what the winner gets wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import InputError
from model.run_folder import VOCABULARY, read_json
from model.tokens import Vocabulary
from tuner.report.blocks import Block, Table, Text
from tuner.report.charts import Bars, Chart, Panel, Series
from tuner.report.data import Bundle, Study
from tuner.study_file import slug

PART = "test"  # predictions shown; nothing is chosen by them
MOST_CLASSES = 12
HEADS = ("type", "command", "param_type", "param_value")


def blocks(bundle: Bundle) -> list[Block]:
    """One bundle: members, weights, contributions, candidates, optimism, calibration, decoding."""
    content = bundle.content
    members = [f"{m['study']}/{m['number']}" for m in content["members"]]
    chosen, report = content.get("chosen_by") or {}, content.get("report") or {}
    lines = [f"{len(members)} members, {str(content.get('pooling')).replace('_', '-')} pooling."]
    weights = chosen.get("weights") or {}
    if weights:
        lines.append(f"Weights: {weights.get('method')}: {weights.get('reason')} (on {weights.get('part')}).")
    optimism = (report.get("optimism") or {}).get("pooled_exact")
    if optimism is not None:
        lines.append(f"Optimism: {100 * optimism:+.1f} points of exact lines on select over test.")
    lines += _decoding(chosen.get("decoding") or {}, content.get("decoding") or {})
    found: list[Block] = [Text(lines), _parts(report.get("pooled") or {})]
    name = slug(bundle.name)
    found.append(
        Chart(f"bundle_{name}_weights", "Weights a head", "A member's share of the pool, by head.",
              [Bars(members, {h: list(w) for h, w in content["weights"].items()}, "weight")])
    )  # fmt: skip
    contributions = [c for c in report.get("contributions") or [] if c.get("exact")]
    if len(contributions) == len(members):
        found.append(
            _intervals(f"bundle_{name}_contributions", "Contributions",
                       "Points of exact lines on calibrate that the pool loses without the member.",
                       members, [c["exact"] for c in contributions], "points", scale=100)
        )  # fmt: skip
    candidates = weights.get("candidates") or []
    if len(candidates) > 1:
        found.append(
            _intervals(f"bundle_{name}_weightings", "Weightings compared",
                       "Exact lines on recordings of calibrate that a weighting was not fitted to.",
                       [c["method"] for c in candidates], [c["exact"] for c in candidates], "exact lines")
        )  # fmt: skip
    found += _calibration(bundle)
    return found


def frontier(bundles: Sequence[Bundle]) -> list[Block]:
    """All bundles by size: exact lines against members."""
    rows, points = [], []
    for bundle in bundles:
        pooled = (bundle.content.get("report") or {}).get("pooled") or {}
        members = bundle.content["members"]
        latency = [m.get("ms_per_window") for m in members]
        exact = {part: scores.get("exact") for part, scores in pooled.items()}
        rows.append(
            [bundle.name, str(len(members)),
             *(_percent(exact.get(p)) for p in ("select", "calibrate", "test")),
             f"{sum(x for x in latency if x):.2f}" if all(latency) else "–"]
        )  # fmt: skip
        if exact.get("calibrate") is not None:
            points.append((len(members), exact["calibrate"], exact.get("test"), bundle.name))
    table = Table(["bundle", "members", "select", "calibrate", "test", "ms a window"], rows)
    if len(points) < 2:
        return [table, Text(["A frontier needs two bundles with scores."], aside=True)]
    points.sort(key=lambda p: p[0])
    names = [p[3] for p in points]
    series = [
        Series("calibrate", [p[0] for p in points], [p[1] for p in points], "line", text=names),
        Series("test", [p[0] for p in points], [p[2] for p in points], "points", text=names),
    ]
    caption = "Exact lines by number of members; calibrate is where weights were fitted."
    return [
        table,
        Chart("bundles_frontier", "Members and accuracy", caption, [Panel(series, "members", "exact lines")]),
    ]


def errors(study: Study, results: Path) -> list[Block]:
    """What the winner takes for what, on recordings that nothing was chosen by; [] without predictions."""
    winner = study.winner
    folder = None if winner is None else results / "runs" / study.name / str(winner.number)
    if folder is None or not (folder / "predictions" / f"{PART}.npz").exists():
        return []
    try:
        names, gold, guess = _command_answers(folder)
    except (InputError, KeyError, ValueError, OSError):
        return []
    if not len(gold):
        return []
    wrong = Counter((names[g], names[p]) for g, p in zip(gold, guess, strict=True) if g != p)
    shown = [c for c, _ in Counter(gold.tolist()).most_common(MOST_CLASSES)]
    groups = {names[p]: [float(np.mean(guess[gold == g] == p)) for g in shown] for p in shown}
    rows = [
        [a, b, str(n), f"{n / max(1, int(np.sum(gold == names.index(a)))):.1%}"]
        for (a, b), n in wrong.most_common(15)
    ]
    right = float(np.mean(gold == guess))
    caption = f"Share of answers a true command, {PART} part ({len(gold)} commands, {right:.1%} right)."
    chart = Chart(f"{slug(study.name)}_confusion", "Confusion of commands", caption,
                  [Bars([names[g] for g in shown], groups, "share", title="true command")])  # fmt: skip
    table = Table(["true", "taken for", "times", "of its own"], rows, "The most frequent mistakes.")
    return [chart, table] if rows else [chart]


def _command_answers(folder: Path) -> tuple[list[str], Any, Any]:
    """Names of commands, true and guessed class at each position where the command head applies."""
    vocabulary = read_json(folder / VOCABULARY)
    tokens = Vocabulary.from_json(vocabulary)
    with np.load(folder / "predictions" / f"{PART}.npz", allow_pickle=False) as file:
        applies = file["applies"][:, 1]
        gold = tokens.factor_table[file["gold"][applies], 1]
        guess = file["command"].argmax(axis=1)
    known = gold >= 0
    return list(tokens.commands), gold[known], guess[known]


def _decoding(note: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    shown = ", ".join(f"{k} {v}" for k, v in settings.items() if v and not isinstance(v, Mapping))
    lines = [f"Decoding: {shown}."]
    margin = note.get("margin") or {}
    if margin:
        lines.append(
            f"Chosen by {note.get('how')}: {100 * margin['mean']:+.2f} points of exact lines over greedy "
            f"{_range(margin, 100)} on {note.get('part')}."
        )
    inert = note.get("inert") or {}
    if inert:
        lines.append("Inert parameters: " + "; ".join(f"{k} ({v})" for k, v in inert.items()) + ".")
    joint = note.get("joint") or {}
    if joint.get("margin"):
        lines.append(
            f"Joint decoding of successive windows: {100 * joint['margin']['mean']:+.2f} points "
            f"{_range(joint['margin'], 100)} over each window alone, on {joint.get('part')}."
        )
    return lines


def _calibration(bundle: Bundle) -> list[Block]:
    """Expected calibration error before and after, by head and part."""
    note = (bundle.content.get("chosen_by") or {}).get("temperatures") or {}
    quality = note.get("quality") or {}
    if not quality:
        return [Text(["Not calibrated yet: python -m inference calibrate"], aside=True)]
    plots = []
    for part, heads in quality.items():
        names = [h for h in HEADS if h in heads]
        plots.append(
            Bars(
                names,
                {k: [heads[h][k]["ece"] for h in names] for k in ("before", "after")},
                "expected calibration error",
                {k: [heads[h][k]["ece_low"] for h in names] for k in ("before", "after")},
                {k: [heads[h][k]["ece_high"] for h in names] for k in ("before", "after")},
                title=part,
            )
        )
    temperatures = ", ".join(f"{h} {t:.2f}" for h, t in (bundle.content.get("temperatures") or {}).items())
    caption = (
        f"Gap between confidence and accuracy, 95 % intervals over recordings. Temperatures: {temperatures}."
    )
    return [Chart(f"bundle_{slug(bundle.name)}_calibration", "Calibration", caption, plots)]


def _parts(pooled: Mapping[str, Any]) -> Block:
    if not pooled:
        return Text(["This bundle has no scores of its parts."], aside=True)
    columns = ("exact", "overall", "nll", *HEADS)
    rows = [[part, *(f"{s[c]:.4f}" if c in s else "–" for c in columns)] for part, s in pooled.items()]
    return Table(
        ["part", *columns], rows, "exact: lines; overall: tokens; nll: nats a line. test chose nothing."
    )


def _intervals(
    slug_: str, title: str, caption: str, labels: Sequence[str], found: Sequence[Mapping[str, Any]], x: str,
    *, scale: float = 1,
) -> Chart:  # fmt: skip
    means = [scale * f["mean"] for f in found]
    low = [scale * (f["mean"] if f["low"] is None else f["low"]) for f in found]
    high = [scale * (f["mean"] if f["high"] is None else f["high"]) for f in found]
    return Chart(slug_, title, caption, [Bars(labels, {"": means}, x, {"": low}, {"": high})])


def _range(interval: Mapping[str, Any], scale: float) -> str:
    if interval.get("low") is None or interval.get("high") is None:
        return "[no interval]"
    return f"[{scale * interval['low']:+.2f}, {scale * interval['high']:+.2f}]"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
