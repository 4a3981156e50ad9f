"""Shows a running study: a table on a terminal or in a notebook, lines in a log."""

from __future__ import annotations

from typing import Any, Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tuner.run.events import StudyRun
from tuner.show import notebook
from tuner.show.colours import GREY, STATES
from tuner.show.lines import PlainView
from tuner.show.standing import AgentRow, fitted

__all__ = ["LiveView", "PlainView", "make_view"]

BAR = 30  # characters
# the smallest width of a terminal that has the column
COLUMNS = {"agent": 0, "trial": 0, "epoch": 0, "value": 0, "curve": 60, "time": 75}
PARAMETERS = 100  # as much, for the parameters of the agents' trials
GAP = 2  # between columns
LEFT = ("agent", "curve", "parameters")


def make_view(console: Console, *, verbose: bool = False) -> PlainView:
    """The view that suits where the output goes. `verbose`: with the probabilities of its choices."""
    kind = LiveView if console.is_terminal else PlainView
    return (notebook.NotebookView if notebook.is_here() else kind)(console, verbose=verbose)


class LiveView(PlainView):
    """A table that is updated in place; what has ended stands above it."""

    interval = 0.25

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False)

    def begin(self, run: StudyRun) -> None:
        super().begin(run)
        self._drawn = -1e9
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._live.start()

    def end(self) -> None:
        self._live.stop()
        super().end()

    def _say_standing(self) -> None:
        parts = [*self._parts(), self.standing.cost]
        for line in in_lines([Text(part) for part in parts], self.console.width):
            self.console.print(line, highlight=False)

    def _trial_ended(self, content: dict[str, Any]) -> None:
        outcome = str(content["outcome"])
        line = Text(self._ended_words(content))
        line.highlight_words([outcome], STATES.get(outcome, GREY))
        self.console.print(line, highlight=False)

    def _say_best(self) -> None:
        """It stands below the bar."""

    def _draw(self) -> None:
        self._live.update(self._picture(), refresh=True)

    def _picture(self) -> RenderableType:
        standing, width = self.standing, self.console.width
        parts = [Text(f"{count} {state}", STATES[state]) for state, count in standing.states()]
        progress = self._bar(min(BAR, max(10, width // 4))).append(f"  {standing.trials}", "default")
        best = f"{standing.best_words()}:" if standing.best else standing.best_words()
        return Group(
            *in_lines([progress, *map(Text, standing.times(self._agents))], width),
            *in_lines(parts, width),
            Text(fitted([best, *standing.best_params()], width)),
            self._agent_table(width),
        )

    def _bar(self, width: int) -> Text:
        """Finished trials by state, running ones, and those to come."""
        counts = self.standing.states()
        total = max(self.standing.total or 0, sum(count for _, count in counts), 1)
        bar, done = Text(), 0
        for state, count in counts:
            upto = round(width * (done + count) / total)
            bar.append("━" * (upto - round(width * done / total)), STATES[state])
            done += count
        return bar.append("─" * (width - len(bar)), GREY)

    def _agent_table(self, width: int) -> Table:
        rows = self.standing.rows(self._agents)
        room = max(1, self.console.height - 8)
        columns = {name: _column(name, rows[:room]) for name, least in COLUMNS.items() if width >= least}
        taken = sum(
            GAP + max([len(self._heading(name)), *map(len, cells)]) for name, cells in columns.items()
        )
        if width >= PARAMETERS:
            columns["parameters"] = [Text(fitted(row.params, width - taken)) for row in rows[:room]]
        table = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold", pad_edge=False)
        for name in columns:
            justify: Literal["left", "right"] = "left" if name in LEFT else "right"
            table.add_column(self._heading(name), justify=justify, no_wrap=True)
        for cells in zip(*columns.values(), strict=True):
            table.add_row(*cells)
        if len(rows) > room:
            table.add_row(f"… and {len(rows) - room} more")
        return table

    def _heading(self, column: str) -> str:
        return self.standing.metric if column == "value" else column


def _column(name: str, rows: list[AgentRow]) -> list[Text]:
    """The cells of a column."""
    if name == "agent":
        doing = ["" if row.doing == "running" else f" {row.doing}" for row in rows]
        return [
            Text(f"{row.agent}{words}", GREY if words else "") for row, words in zip(rows, doing, strict=True)
        ]
    colour = {row: STATES.get(row.doing, GREY) if name == "curve" else "" for row in rows}
    return [Text(getattr(row, name), colour[row]) for row in rows]


def in_lines(parts: list[Text], width: int, *, between: str = " · ") -> list[Text]:
    """The parts in lines of at most `width` characters; none of them is broken."""
    lines: list[Text] = []
    for part in parts:
        if lines and len(lines[-1]) + len(between) + len(part) <= width:
            lines[-1].append(between, GREY).append_text(part)
        else:
            lines.append(Text().append_text(part))
    return lines
