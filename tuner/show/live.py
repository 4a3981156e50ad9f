"""Shows a running study: a table on a terminal or in a notebook, lines in a log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tuner.run.events import StudyRun
from tuner.show import console as shown
from tuner.show import notebook
from tuner.show.console import GREY, STATES
from tuner.show.lines import PlainView
from tuner.show.progress import COLUMNS

__all__ = ["LiveView", "PlainView", "make_view"]

BAR = 30  # characters
LEAST = {"curve": 60, "time": 75}  # the smallest width of a terminal that has the column
PARAMETERS = 100  # as much, for the parameters of the agents' trials
GAP = 2  # between columns
BETWEEN = " · "


def make_view(console: Console, *, verbose: bool = False) -> PlainView:
    """The view that suits where the output goes. `verbose`: with the probabilities of its choices."""
    kind = LiveView if console.is_terminal else PlainView
    return (notebook.NotebookView if notebook.is_here() else kind)(console, verbose=verbose)


class LiveView(PlainView):
    """A table that is updated in place; what has ended stands above it."""

    interval = 0.25
    draws = True

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False)

    def begin(self, run: StudyRun) -> None:
        super().begin(run)
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._live.start()

    def end(self) -> None:
        self._live.stop()
        super().end()

    def _say_progress(self) -> None:
        parts = [*self._parts(), self.progress.cost]
        for line in in_lines([Text(part) for part in parts], self.console.width):
            self.console.print(line, highlight=False)

    def _trial_ended(self, content: dict[str, Any]) -> None:
        outcome = str(content["outcome"])
        line = Text(self._ended_words(content))
        line.highlight_words([outcome], STATES.get(outcome, GREY))
        self.console.print(line, highlight=False)

    def _draw(self) -> None:
        self._live.update(self._picture(), refresh=True)

    def _picture(self) -> RenderableType:
        progress, width = self.progress, self.console.width
        parts = [Text(f"{count} {state}", STATES[state]) for state, count in progress.states()]
        bar = self._bar(min(BAR, max(10, width // 4))).append(f"  {progress.trials}", "default")
        best = f"{progress.best_words()}:" if progress.now.best else progress.best_words()
        return Group(
            *in_lines([bar, *map(Text, progress.times(self._agents))], width),
            *in_lines(parts, width),
            Text(fitted([best, *progress.best_params()], width)),
            self._agent_table(width),
        )

    def _bar(self, width: int) -> Text:
        """Finished trials by state, running ones, and those to come."""
        counts = self.progress.states()
        total = max(self.progress.total or 0, sum(count for _, count in counts), 1)
        bar, done = Text(), 0
        for state, count in counts:
            upto = round(width * (done + count) / total)
            bar.append("━" * (upto - round(width * done / total)), STATES[state])
            done += count
        return bar.append("─" * (width - len(bar)), GREY)

    def _agent_table(self, width: int) -> Table:
        rows = self.progress.rows(self._agents)
        room = max(1, self.console.height - 8)
        names = [name for name in COLUMNS if width >= LEAST.get(name, 0)]
        headings = {name: self.progress.now.metric if name == "value" else name for name in names}
        taken = sum(
            GAP + max([len(heading), *(len(cells[name]) for _, cells, _ in rows[:room])])
            for name, heading in headings.items()
        )
        lines = []
        for doing, cells, params in rows[:room]:
            colours = {"agent": "" if doing == "running" else GREY, "curve": STATES.get(doing, GREY)}
            lines.append([Text(cells[name], colours.get(name, "")) for name in headings])
            if width >= PARAMETERS:
                lines[-1].append(Text(fitted(params, width - taken)))
        if width >= PARAMETERS:
            headings["parameters"] = "parameters"
        right = set(headings.values()) - {"agent", "curve", "parameters"}
        table = shown.table(list(headings.values()), lines, right=right, whole=set(headings.values()))
        table.pad_edge = False
        if len(rows) > room:
            table.add_row(f"… and {len(rows) - room} more")
        return table


def fitted(parts: Sequence[str], width: int) -> str:
    """As many of the parts as fit into `width` characters, none of them cut; "…" stands for the others."""
    for count in range(len(parts), -1, -1):
        text = " ".join([*parts[:count], *(["…"] if count < len(parts) else [])])
        if len(text) <= width:
            return text
    return ""


def in_lines(parts: list[Text], width: int) -> list[Text]:
    """The parts in lines of at most `width` characters; none of them is broken."""
    lines: list[Text] = []
    for part in parts:
        if lines and len(lines[-1]) + len(BETWEEN) + len(part) <= width:
            lines[-1].append(BETWEEN, GREY).append_text(part)
        else:
            lines.append(Text().append_text(part))
    return lines
