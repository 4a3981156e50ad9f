"""The leaderboard of a referee: as text, as JSON and as a page."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.text import Text

from tuner.base.errors import InputError, nearest
from tuner.base.words import chance, counted, number
from tuner.plugins.referee.arms import Arm, Ruling
from tuner.plugins.referee.history import History
from tuner.plugins.referee.judge import FALSE_KEEPS, Referee
from tuner.show.console import GREEN, GREY, ORANGE, say, table
from tuner.show.report.blocks import Block, Document, Section, Table
from tuner.show.report.blocks import Text as Paragraphs
from tuner.show.report.charts import Chart, interval_bars
from tuner.show.report.palette import short

COLOURS = {"keep": GREEN, "baseline": "", "discard": GREY, "run again": ORANGE}
BAR = 25  # characters of an interval
PICTURE, CHANGES = 95, 120  # the smallest width of a terminal for the pictures, and for what was changed
LONGEST = 40  # characters of a description
ROWS, OTHERS = 30, 5  # arms on a terminal: the best (and the one that was asked for), those without a place
HEADINGS = ("arm", "verdict", "runs", "failed")


def ruling_of(referee: Referee, arm: str | None, history: History) -> Ruling:
    """The ruling that was asked for: on `arm` (a beginning of its name will do), or on the last arm.

    Raises:
        InputError: there is no such arm, or several.
    """
    names = list(dict.fromkeys(run.arm for run in history.runs))
    if arm is None:
        return referee.ruling(names[-1])
    found = [name for name in names if name == arm] or [name for name in names if name.startswith(arm)]
    if len(found) != 1:
        what = f"no arm '{arm}'{nearest(arm, names)}" if not found else f"several arms begin with '{arm}'"
        raise InputError(f"{history.source}: {what} (the last ones: {', '.join(names[-5:])})")
    return referee.ruling(found[0])


def to_dict(referee: Referee, history: History, ruling: Ruling) -> dict[str, Any]:
    """For `--json` and MCP."""
    following = referee.next_run()
    return {
        "metric": history.metric,
        "goal": "maximize" if history.maximize else "minimize",
        "source": history.source,
        "noise": referee.noise.deviation,
        "noise_from": referee.noise_words,
        "incumbent": referee.incumbent.name if referee.incumbent else None,
        "verdict": ruling.to_dict(),
        "next_run": None if following is None else {"arm": following.name, "seed": following.next_seed},
        "kept": referee.kept,
        "false_keeps": FALSE_KEEPS,
        "greedy_would_keep": greedy_keeps(referee),
        "groups": [[arm.name for arm in group] for group in referee.groups()],
        "arms": [each.to_dict() for each in referee.rulings.values()],
    }


def greedy_keeps(referee: Referee) -> int:
    """How many arms a loop keeps that keeps whatever scores better than the best so far."""
    best, kept = -math.inf, -1  # the first is the baseline
    for arm in referee.arms.values():
        if arm.scores[0] > best:
            best, kept = arm.scores[0], kept + 1
    return max(kept, 0)


def leaderboard(referee: Referee, history: History, ruling: Ruling, console: Console) -> None:
    """Prints the arms in order, what is known of the one that was asked for, and what to run next."""
    say(_heading(referee, history), console)
    console.print()
    low, high = _span(referee)
    rows: list[list[str | Text]] = []
    last = sum(width <= console.width for width in (PICTURE, CHANGES))  # columns for which there is room
    shown = 0
    for group in referee.groups():
        some = [arm for place, arm in enumerate(group, shown) if place < ROWS or arm.name == ruling.arm]
        shown += len(group)
        if rows and some:
            rows.append(["" for _ in rows[0]])
        for arm in some:
            each = referee.ruling(arm.name)
            beside: list[str | Text] = [Text(_bar(arm, referee, low, high), COLOURS.get(each.word, ""))]
            rows.append([*_cells(each, referee), *[*beside, short(each.note, LONGEST)][:last]])
    others = referee.unplaced()
    for each in others[-OTHERS:]:
        why = each.reason if each.word == "not comparable" else each.note or each.reason
        rows.append([*_cells(each, referee), *["", short(why, LONGEST)][:last]])
    names = [*HEADINGS, history.metric, "better by [95 %]", *["mean and interval", "change"][:last]]
    console.print(table(names, rows, right=(*HEADINGS[2:], history.metric), whole=names[:7]))
    if (hidden := shown + len(others) - sum(bool(row[0]) for row in rows)) > 0:
        say(f"and {counted(hidden, 'arm')} more: --json or --report has all", console)
    console.print()
    for line in _answer(referee, history, ruling):
        say(line, console)
    say("Arms without a blank line between them cannot be told apart from the first of them.", console)


def _heading(referee: Referee, history: History) -> str:
    """What was read, and how large the noise of a run is."""
    goal = "more" if history.maximize else "less"
    runs = counted(sum(run.value is not None for run in history.runs), "run")
    failed = f" and {number_} that failed" if (number_ := referee.failures.total()) else ""
    noise = f"±{number(referee.noise.deviation)}, " if referee.noise.freedom else ""
    return (
        f"{history.metric} ({goal} is better), {runs}{failed} of {counted(len(referee.rulings), 'arm')} in "
        f"{history.source}; noise of a run: {noise}{referee.noise_words}"
    )


def _answer(referee: Referee, history: History, ruling: Ruling) -> list[str]:
    """What is known of the arm that was asked for, what to run next, and how much was kept."""
    lines = [sentence(ruling, referee, history)]
    following = referee.next_run()
    if following is not None:
        more = ruling.more if following.name == ruling.arm else None
        about = f"; about {counted(more, 'more run')} of it would decide" if more else ""
        lines.append(f"Next: run {following.name} again, with seed {following.next_seed}{about}")
    changes = counted(max(0, len(referee.rulings) - 1), "change")
    return [
        *lines,
        f"{referee.kept} of {changes} kept, of which at most 5 % are false; keeping each new best would have "
        f"kept {greedy_keeps(referee)}.",
    ]


def sentence(ruling: Ruling, referee: Referee, history: History) -> str:
    """What is known of one arm, in words."""
    if ruling.difference is None:
        return f"{ruling.arm}: {ruling.word} ({ruling.reason})"
    gap = f"better by {_gap(ruling)} than {ruling.against}"
    sure = "" if ruling.chance is None else f", better with a probability of {chance(ruling.chance)}"
    return f"{ruling.arm}: {ruling.word.upper()} – {history.metric} {gap} ({ruling.reason}{sure})"


def document(referee: Referee, history: History, ruling: Ruling) -> Document:
    """The leaderboard as a page: the answer, the arms in order with their intervals, and a table of all."""
    groups = referee.groups()
    order = [(place, arm) for place, group in enumerate(groups, 1) for arm in group]
    blocks: list[Block] = [Paragraphs([_heading(referee, history), *_answer(referee, history, ruling)])]
    if order:
        first = next(arm for arm in referee.arms.values() if not arm.barred)
        spans: list[tuple[float, float | None, float | None]] = []
        for _, arm in order:
            half, gap = referee.interval(arm), arm.mean - first.mean
            spans.append((gap, gap - half, gap + half) if math.isfinite(half) else (gap, None, None))
        caption = (
            "Means of all runs with intervals that hold whenever you look. Arms of one number cannot be told "
            "apart from the first of them."
        )
        axis = f"{history.metric}: better than the mean of {first.name} by"
        labels = [f"{place}. {arm.name}" for place, arm in order]
        blocks.append(Chart("leaderboard", "Arms in order", caption, [interval_bars(labels, spans, axis)]))
    placed = [(str(place), referee.ruling(arm.name)) for place, arm in order]
    rows = [
        [place, *map(str, _cells(each, referee)), each.against, each.note, each.reason]
        for place, each in [*placed, *(("–", each) for each in referee.unplaced())]
    ]
    headings = ["group", *HEADINGS, history.metric, "better by [95 %]", "than", "change", "why"]
    best = referee.incumbent and referee.incumbent.name
    marked = frozenset(i for i, (_, each) in enumerate(placed) if each.arm == best)
    blocks.append(Table(headings, rows, marked=marked))
    return Document("Referee", history.source, [Section("leaderboard", "Leaderboard", blocks)])


def _cells(each: Ruling, referee: Referee) -> list[str | Text]:
    star = "★ " if referee.incumbent is not None and each.arm == referee.incumbent.name else ""
    mean = "–" if each.mean is None else number(each.mean)
    return [
        star + each.arm,
        Text(each.word, COLOURS.get(each.word, "")),
        str(each.runs),
        str(each.failed),
        mean,
        _gap(each),
    ]


def _gap(each: Ruling) -> str:
    """`+0.012 [-0.003, +0.027]`; nothing for an arm that was compared with none."""
    if each.difference is None:
        return ""
    ends = ", ".join(number(end, sign=True) for end in (each.low, each.high))
    return number(each.difference, sign=True) + ("" if math.isinf(each.low) else f" [{ends}]")


def _span(referee: Referee) -> tuple[float, float]:
    """The scores between which the picture lies: all means, and intervals as far as they are known."""
    ends = [arm.mean for arm in referee.arms.values() if not arm.barred]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    room = max(high - low, 2 * referee.noise.deviation if referee.noise.freedom else 0.0) / 4 or 1.0
    return low - room, high + room


def _bar(arm: Arm, referee: Referee, low: float, high: float) -> str:
    """`  ├──●──┤ `: better is right."""
    half = referee.interval(arm)
    at = [round((BAR - 1) * min(1.0, max(0.0, (score - low) / (high - low))))
          for score in (arm.mean - half, arm.mean, arm.mean + half)]  # fmt: skip
    cells = [" "] * BAR
    if math.isfinite(half):
        cells[at[0] : at[2] + 1] = "─" * (at[2] - at[0] + 1)
        cells[at[0]], cells[at[2]] = "├", "┤"
    cells[at[1]] = "●"
    return "".join(cells)
