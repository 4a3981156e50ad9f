"""Prints a bundle: members, differences of their configs, weights, contributions, optimism."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ensemble.bundle import WEIGHTED, Bundle
from tuner.base.files import read_json
from tuner.base.run_folder import CONFIG

BAR = 7  # width of a full weight bar
SEED_KEYS = ("seed", "device")  # config keys that do not count as a difference


def show(console: Console, bundle: Bundle, folder: Path) -> None:
    """Writes the page."""
    parts: list[Table | str] = [_headline(bundle), _members_table(bundle)]
    if len(bundle.members) > 1:
        parts += [_differences_table(differences(bundle, folder)), _weights_table(bundle)]
    candidates = (bundle.chosen_by.get("weights") or {}).get("candidates") or []
    if len(candidates) > 1:
        parts.append(_candidates_table(bundle, candidates))
    for part in [*parts, "\n".join(notes(bundle))]:
        console.print(part, highlight=False)
        console.print()


def differences(bundle: Bundle, folder: Path) -> dict[str, list[Any]]:
    """Config key → value of each member, for keys whose values differ (without seeds)."""
    configs = [read_json(folder / member.path / CONFIG) for member in bundle.members]
    keys = sorted({key for config in configs for key in config} - set(SEED_KEYS))
    values = {key: [config.get(key) for config in configs] for key in keys}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def trained_on(bundle: Bundle) -> Sequence[str]:
    """Parts beside test that a distilled network was trained on; its scores there say nothing."""
    return (bundle.report.get("distilled") or {}).get("trained_on") or ()


def notes(bundle: Bundle) -> list[str]:
    """How the bundle was chosen and its scores, one sentence per line."""
    lines = []
    if len(bundle.members) == 1:
        lines.append(_single(bundle))
    weights = bundle.chosen_by.get("weights") or {}
    if weights:
        lines.append(
            f"weights: {weights['method']} — {weights['reason']} (on calibrate, {weights['folds']} folds)"
        )
    members = bundle.chosen_by.get("members") or {}
    if members:
        lines.append(f"members: {members['how']}, on select; {len(members['taken'])} of {members['of']} runs")
    if "refit" in bundle.chosen_by:
        lines.append(f"refit: {bundle.chosen_by['refit']['how']}")
    pooled = bundle.report.get("pooled") or {}
    learnt = trained_on(bundle)
    for part, scores in pooled.items():
        here = ", where the weights were fitted" if part == "calibrate" else ""
        here = ", which the network was trained on" if part in learnt else here
        lines.append(
            f"{part}: lines exact {percent(scores['exact'])}, tokens {percent(scores['overall'])}, "
            f"{scores['nll']:.3f} nats a line{here}"
        )
    optimism = (bundle.report.get("optimism") or {}).get("pooled_exact")
    if optimism is not None and not learnt:
        lines.append(f"optimism (select − test): {100 * optimism:+.1f} points of exact lines")
    temperatures = ", ".join(f"{head} {value:.2f}" for head, value in bundle.temperatures.items())
    lines.append(f"calibration temperatures: {temperatures}")
    bent = [f"{head} {value:.2f}" for head, value in bundle.exponents.items() if value != 1]
    if bent:
        lines.append(f"calibration exponents: {', '.join(bent)}")
    settings = ", ".join(f"{key} {value}" for key, value in bundle.decoding.items() if value)
    lines.append(f"decoding: {settings}")
    return lines


def _single(bundle: Bundle) -> str:
    """Why a bundle has one member, and what to do if it should have more."""
    one = "this bundle is a single network, not an ensemble"
    chosen = bundle.chosen_by.get("members") or {}
    if not chosen:
        return one
    left_out = len(chosen["taken"]) - 1
    if left_out:
        return f"{one}: the weights leave out the other {left_out} runs (--weights uniform uses all)"
    if chosen["of"] > 1:
        return f"{one}: of {chosen['of']} runs, one was taken (--k 10 takes up to ten)"
    return f"{one}: only one run is usable; train more runs on the same data, then build again"


def _headline(bundle: Bundle) -> str:
    parameters = sum(member.parameters for member in bundle.members)
    latency = [member.ms_per_window for member in bundle.members]
    speed = f", {sum(x for x in latency if x):.2f} ms a window" if all(latency) else ""
    count = len(bundle.members)
    members = f"{count} member{'s'[: count != 1]}"
    digits = "all" if bundle.vocabulary_digits is None else bundle.vocabulary_digits
    return (
        f"[bold]{bundle.name}[/]: {members}, {parameters / 1e6:.2f} M parameters{speed}; "
        f"track {bundle.track}, {digits} digits, {bundle.pooling.replace('_', '-')} pooling, "
        f"data {bundle.data_hash[:12]}"
    )


def _members_table(bundle: Bundle) -> Table:
    objective = str(bundle.members[0].objective["name"])
    table = plain_table("members, best on select first")
    learnt = trained_on(bundle)
    table.caption = (
        "a student: it was trained on select and calibrate, too, so only its scores on test count"
        if learnt
        else "Δ lines (points), Δ nats: what the pool loses on calibrate without the member. "
        "optimism: select − test. *: misses a constraint of its study."
    )
    table.caption_justify = "left"
    for column in ("", "run", objective, "size", "ms", "Δ lines", "Δ nats", "optimism"):
        table.add_column(column, justify="left" if column in ("", "run") else "right")
    contributions = bundle.report.get("contributions") or [{}] * len(bundle.members)
    optimism = {} if learnt else bundle.report.get("optimism") or {}
    optimisms = optimism.get("members") or [None] * len(bundle.members)
    for i, member in enumerate(bundle.members):
        table.add_row(
            str(i),
            f"{member.name}{'' if member.feasible else ' *'}",
            f"{float(member.objective['value']):.4f}",
            f"{member.parameters / 1e6:.2f} M",
            "–" if member.ms_per_window is None else f"{member.ms_per_window:.2f}",
            _signed(contributions[i].get("exact"), scale=-100, digits=2),
            _signed(contributions[i].get("nll"), scale=1, digits=3),
            "–" if optimisms[i] is None else f"{optimisms[i]:+.3f}",
        )
    return table


def _differences_table(rows: Mapping[str, list[Any]]) -> Table | str:
    if not rows:
        return "members differ only in their seeds"
    table = plain_table("differences between the members")
    table.add_column("option")
    table.add_column("values")
    for key, values in rows.items():
        table.add_row(key, "  ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values))
    return table


def _weights_table(bundle: Bundle) -> Table:
    table = plain_table("weights a head")
    table.add_column("")
    for head in WEIGHTED:
        table.add_column(head)
    top = max(max(bundle.weights[head]) for head in WEIGHTED)
    for i in range(len(bundle.members)):
        weights = [bundle.weights[head][i] for head in WEIGHTED]
        table.add_row(str(i), *(f"{w:.2f} {'█' * round(BAR * w / top):<{BAR}}" for w in weights))
    return table


def _candidates_table(bundle: Bundle, candidates: Sequence[Mapping[str, Any]]) -> Table:
    table = plain_table("weightings, cross-validated on calibrate")
    table.caption = "95 % intervals over recordings; those of the gains hold for all rows together"
    table.caption_justify = "left"
    for column in ("weighting", "lines", "gain over uniform", "nats/line", "gain over uniform"):
        table.add_column(column, justify="left" if column == "weighting" else "right")
    chosen = bundle.chosen_by["weights"]["method"]
    for score in candidates:
        table.add_row(
            f"{'→' if score['method'] == chosen else ' '} {score['method']}",
            percent(score["exact"]["mean"]),
            gain_text(score["exact_gain"], scale=100, digits=1),
            f"{score['nll']['mean']:.3f}",
            gain_text(score["nll_gain"], scale=1, digits=2),
        )
    return table


def plain_table(title: str) -> Table:
    """A table without a frame, with its title above."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )


def gain_text(interval: Mapping[str, Any], *, scale: float, digits: int, sign: str = "+") -> str:
    """`+1.2 [-0.3, +2.7]`: a mean and its interval, times `scale`."""
    mean = f"{scale * interval['mean']:{sign}.{digits}f}"
    if interval["low"] is None or interval["high"] is None:
        return f"{mean} [one recording]"
    low, high = (f"{scale * interval[bound]:{sign}.{digits}f}" for bound in ("low", "high"))
    return f"{mean} [{low}, {high}]"


def _signed(interval: Mapping[str, Any] | None, *, scale: float, digits: int) -> str:
    return "–" if not interval else f"{scale * interval['mean']:+.{digits}f}"


def percent(value: float) -> str:
    """`61.3 %`."""
    return f"{100 * value:.1f} %"
