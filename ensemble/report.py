"""Report sections about ensembles, from `bundle.json` and `compare.json`; plugin of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemble.bundle import BUNDLE
from model.workload.base import are_in
from tuner.base.errors import InputError
from tuner.base.files import read_json
from tuner.base.words import slug
from tuner.claims.material import Material
from tuner.show.report.blocks import Block, Section, Table, Text
from tuner.show.report.charts import Bars, Chart, Panel, Series, interval_bars

HEADS = ("type", "command", "param_type", "param_value")
COMPARISON = "compare.json"
ENSEMBLES = "ensembles"  # where a report has what concerns all bundles


@dataclass(frozen=True)
class Bundle:
    """An ensemble's `bundle.json` as plain values."""

    name: str
    content: Mapping[str, Any]


def sections(material: Material) -> list[Section]:
    """Every bundle, and all of them side by side; a sentence where there is no bundle.

    Nothing in a report without studies of recordings.
    """
    if not are_in(material):
        return []
    bundles = bundles_in(material.results)
    if not bundles:
        none = "No ensemble yet: tuner ensemble build --k 10 takes the best runs of these studies."
        return [Section(ENSEMBLES, "Ensembles", [Text([none], aside=True)])]
    found = [Section(anchor(bundle), title(bundle), blocks(bundle)) for bundle in bundles]
    side_by_side = frontier(bundles) if len(bundles) > 1 else []
    compared = sizes(material.results)
    first = [block for block in compared if isinstance(block, Chart)] or weightings(bundles[-1])
    rest = [*side_by_side, *(block for block in compared if block not in first)]
    return [Section(ENSEMBLES, "Ensembles", [*first, *rest]), *found]


def intervals(
    slug: str, title: str, caption: str, labels: Sequence[str], found: Sequence[Mapping[str, Any]], x: str,
    *, scale: float = 1,
) -> Chart:  # fmt: skip
    """A chart of means with their intervals, each a mapping with `mean`, `low` and `high`."""
    known = [[f.get(key) for key in ("mean", "low", "high")] for f in found]
    scaled = [[None if value is None else scale * value for value in one] for one in known]
    return Chart(slug, title, caption, [interval_bars(labels, scaled, x)])


def weightings(bundle: Bundle) -> list[Chart]:
    """The pool against the best member alone, by weighting; [] if they were not compared."""
    candidates = ((bundle.content.get("chosen_by") or {}).get("weights") or {}).get("candidates") or []
    if len(candidates) < 2:
        return []
    return [intervals(
        f"bundle_{slug(bundle.name)}_weightings", f"Weightings of ensemble {bundle.name}",
        "Exact lines on recordings of calibrate that a weighting was not fitted to.",
        [c["method"] for c in candidates], [c["exact"] for c in candidates], "exact lines",
    )]  # fmt: skip


def needed_runs(results: Path) -> dict[str, set[int]]:
    """Study → its trials that a bundle is made of: their weights are kept."""
    found: dict[str, set[int]] = {}
    for path in (results / "ensembles").glob(f"*/{BUNDLE}"):
        try:
            for member in read_json(path)["members"]:
                found.setdefault(str(member["study"]), set()).add(int(member["number"]))
        except (InputError, KeyError, TypeError, ValueError):
            continue
    return found


def bundles_in(results: Path) -> tuple[Bundle, ...]:
    """The bundles, newest last; a torn `bundle.json` is left out."""
    found = []
    for path in sorted((results / "ensembles").glob(f"*/{BUNDLE}"), key=lambda p: p.stat().st_mtime):
        try:
            found.append(Bundle(path.parent.name, read_json(path)))
        except InputError:
            continue
    return tuple(found)


def anchor(bundle: Bundle) -> str:
    """Where a report has a bundle's section."""
    return f"bundle-{slug(bundle.name)}"


def title(bundle: Bundle) -> str:
    """The heading of a bundle's section."""
    return f"Ensemble {bundle.name}"


def blocks(bundle: Bundle) -> list[Block]:
    """One bundle: scores, members, weights, contributions, weightings."""
    content = bundle.content
    chosen, report = content.get("chosen_by") or {}, content.get("report") or {}
    weights = chosen.get("weights") or {}
    count = len(content["members"])
    lines = [f"{count} member{'s'[: count != 1]}, {str(content.get('pooling')).replace('_', '-')} pooling."]
    if weights:
        lines.append(f"Weights: {weights.get('method')}: {weights.get('reason')} (on {weights.get('part')}).")
    optimism = (report.get("optimism") or {}).get("pooled_exact")
    if optimism is not None:
        lines.append(
            f"Optimism: {100 * optimism:+.1f} points: the pool's exact lines on select, where members "
            "were chosen, minus those on the held-out test part."
        )
    found: list[Block] = [Text(lines), _parts(report.get("pooled") or {}), _members(content)]
    found += _charts(bundle)
    return found


def _charts(bundle: Bundle) -> list[Block]:
    content, name = bundle.content, slug(bundle.name)
    members = [_name(m) for m in content["members"]]
    found: list[Block] = [
        Chart(f"bundle_{name}_weights", "Weights a head", "A member's share of the pool, by head.",
              [Bars(members, {h: list(w) for h, w in content["weights"].items()}, "weight")])
    ]  # fmt: skip
    report = content.get("report") or {}
    contributions = report.get("contributions") or []
    if len(contributions) == len(members) and all(c.get("exact") for c in contributions):
        found.append(
            intervals(f"bundle_{name}_contributions", "Contributions",
                       "Points of exact lines on calibrate that the pool loses without the member, 95 % "
                       "intervals over recordings. Below 0: the pool would do better without it.",
                       members, [c["exact"] for c in contributions], "points", scale=100)
        )  # fmt: skip
    alone = (report.get("optimism") or {}).get("members") or []
    if len(alone) == len(members) and any(x is not None for x in alone):
        known = [(m, float(x)) for m, x in zip(members, alone, strict=True) if x is not None]
        found.append(
            Chart(f"bundle_{name}_optimism", "Optimism of the members",
                  "Each member's objective on select, where it was chosen, minus the same on test.",
                  [Bars([m for m, _ in known], {"": [x for _, x in known]}, "select − test")])
        )  # fmt: skip
    return found


def _members(content: Mapping[str, Any]) -> Table:
    """A line a member, best on select first."""
    report = content.get("report") or {}
    contributions = report.get("contributions") or []
    alone = (report.get("optimism") or {}).get("members") or []
    rows = []
    for i, member in enumerate(content["members"]):
        objective = member.get("objective") or {}
        lost = (contributions[i].get("exact") if i < len(contributions) else None) or {}
        rows.append(
            [
                _name(member),
                f"{float(objective.get('value', float('nan'))):.4f}",
                f"{member['parameters'] / 1e6:.2f} M" if member.get("parameters") else "–",
                f"{member['ms_per_window']:.2f}" if member.get("ms_per_window") else "–",
                f"{100 * lost['mean']:+.2f}" if lost else "–",
                f"{alone[i]:+.4f}" if i < len(alone) and alone[i] is not None else "–",
            ]
        )
    name = ((content["members"][0].get("objective") or {}).get("name")) or "objective"
    return Table(
        ["member", name, "parameters", "ms a window", "points lost without it", "select − test"], rows,
        "Members, best on select first.",
    )  # fmt: skip


def sizes(results: Path) -> list[Block]:
    """What each further member adds and costs, as `ensemble compare` measured it."""
    path = results / "ensembles" / COMPARISON
    try:
        content = read_json(path)
        rows = sorted(content["rows"], key=lambda r: (r["k"], r["weights"] != "uniform"))
        cells = [_size_cells(row) for row in rows]
        charts = _size_charts(rows, content.get("singles") or [])
    except InputError:
        return [Text(["The gain by number of members is not measured: tuner ensemble compare"], aside=True)]
    except (KeyError, TypeError, ValueError) as error:
        return [Text([f"{path.name} is not of this version ({error}): tuner ensemble compare"], aside=True)]
    headings = ["K", "weights", "exact, calibrate", "exact, test", "tokens, test", "nats a line, test",
                "parameters", "ms a window"]  # fmt: skip
    note = (
        "calibrate: on recordings of it that weights were not fitted to, 95 % intervals over recordings. "
        "ms: the members' own, one after another."
    )
    several = len({row["k"] for row in rows}) > 1
    return [Table(headings, cells, note), *(charts if several else ())]


def _size_cells(row: Mapping[str, Any]) -> list[str]:
    test = row.get("test") or {}
    interval = ""
    if row.get("exact_low") is not None and row.get("exact_high") is not None:
        low, high = max(0.0, row["exact_low"]), min(1.0, row["exact_high"])  # files before 0.3 go beyond
        interval = f" [{100 * low:.1f}, {100 * high:.1f}]"
    return [
        str(row["k"]),
        str(row["weights"]),
        f"{100 * row['exact']:.1f} %{interval}",
        percent(test.get("exact")),
        percent(test.get("overall")),
        f"{test['nll']:.3f}" if "nll" in test else "–",
        f"{row['parameters'] / 1e6:.2f} M",
        "–" if row.get("ms") is None else f"{row['ms']:.2f}",
    ]


def _size_charts(rows: Sequence[Mapping[str, Any]], singles: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Exact lines and tokens against K, and exact lines against milliseconds a window."""
    kinds = {"uniform": [r for r in rows if r["weights"] == "uniform"],
             "learned": [r for r in rows if r["weights"] != "uniform"]}  # fmt: skip
    kinds = {name: some for name, some in kinds.items() if some}
    tested = [r for r in rows if r.get("test")]

    def lines(value: str) -> list[Series]:
        return [
            Series(f"{name}, test", [r["k"] for r in some], [r["test"][value] for r in some], "line")
            for name, some in ((n, [r for r in s if r.get("test")]) for n, s in kinds.items())
            if some
        ]

    calibrate = [
        Series(f"{name}, calibrate", [r["k"] for r in some], [r["exact"] for r in some], "faint line")
        for name, some in kinds.items()
    ]
    panels = [Panel([*lines("exact"), *calibrate], "members (K)", "exact lines")]
    if tested:
        panels.append(Panel(lines("overall"), "members (K)", "tokens"))
    timed = [r for r in tested if r.get("ms") is not None]
    if timed:
        alone = [s for s in singles if s.get("ms") is not None and s.get("test")]
        panels.append(
            Panel(
                [
                    *(
                        Series(name, [r["ms"] for r in some], [r["test"]["exact"] for r in some],
                               text=[f"K = {r['k']}" for r in some])
                        for name, some in ((n, [r for r in s if r in timed]) for n, s in kinds.items())
                        if some
                    ),
                    Series("members alone", [s["ms"] for s in alone], [s["test"]["exact"] for s in alone],
                           "faint", text=[str(s["name"]) for s in alone]),
                ],
                "ms a window", "exact lines, test",
            )
        )  # fmt: skip
    caption = "What a further member adds, and what it costs. test is held out."
    return [Chart("ensemble_sizes", "Members, accuracy and time", caption, panels)]


def frontier(bundles: Sequence[Bundle]) -> list[Block]:
    """All bundles side by side."""
    rows = []
    for bundle in bundles:
        pooled = (bundle.content.get("report") or {}).get("pooled") or {}
        members = bundle.content["members"]
        latency = [m.get("ms_per_window") for m in members]
        rows.append(
            [bundle.name, str(len(members)),
             *(percent((pooled.get(p) or {}).get("exact")) for p in ("select", "calibrate", "test")),
             f"{sum(x for x in latency if x):.2f}" if all(latency) else "–"]
        )  # fmt: skip
    note = "Exact lines by part. Members were chosen on select, weights on calibrate; test is held out."
    return [Table(["bundle", "members", "select", "calibrate", "test", "ms a window"], rows, note)]


def _parts(pooled: Mapping[str, Any]) -> Block:
    if not pooled:
        return Text(["This bundle has no scores of its parts."], aside=True)
    columns = ("exact", "overall", "nll", *HEADS)
    rows = [[part, *(f"{s[c]:.4f}" if c in s else "–" for c in columns)] for part, s in pooled.items()]
    return Table(
        ["part", *columns], rows, "exact: lines; overall: tokens; nll: nats a line. test is held out."
    )


def _name(member: Mapping[str, Any]) -> str:
    return f"{member['study']}/{member['number']}"


def percent(value: float | None) -> str:
    """`61.3 %`, or a dash."""
    return "–" if value is None else f"{100 * value:.1f} %"
