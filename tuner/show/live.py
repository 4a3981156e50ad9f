"""What a study looks like while it runs: a table in a notebook or on a terminal, lines in a log."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tuner.run.events import StudyRun, View
from tuner.show import notebook
from tuner.show.colours import GREY, STATES
from tuner.show.lines import PlainView, ended_words
from tuner.show.standing import AgentRow, fitted

__all__ = ["LiveView", "PlainView", "make_view"]

BAR = 30  # characters
# the smallest width of a terminal that has the column
COLUMNS = {"agent": 0, "trial": 0, "epoch": 0, "value": 0, "curve": 60, "time": 75, "parameters": 100}
LEFT = ("agent", "curve", "parameters")


def make_view(console: Console) -> View:
    """The view that suits where the output goes."""
    if notebook.is_here():
        return notebook.NotebookView(console)
    return LiveView(console) if console.is_terminal else PlainView(console)


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

    def _trial_ended(self, content: dict[str, Any]) -> None:
        outcome = str(content["outcome"])
        line = Text(ended_words(content, self.standing.metric))
        line.highlight_words([outcome], STATES.get(outcome, GREY))
        self.console.print(line, highlight=False)

    def _say_best(self) -> None:
        """It stands below the bar."""

    def _first_estimate(self) -> bool:
        return False

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
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
        shown = [name for name, least in COLUMNS.items() if width >= least]
        for name in shown:
            heading = self.standing.metric if name == "value" else name
            side = "left" if name in LEFT else "right"
            table.add_column(heading, justify=side, no_wrap=True)  # type: ignore[arg-type]
        rows = self.standing.rows(self._agents)
        room = max(1, self.console.height - 8)
        cells = [self._cells(row, width) for row in rows[:room]]
        for cell in cells:
            table.add_row(*(cell[name] for name in shown))
        if len(rows) > room:
            table.add_row(f"… and {len(rows) - room} more")
        return table

    def _cells(self, row: AgentRow, width: int) -> dict[str, Text]:
        doing = "" if row.doing == "running" else f" {row.doing}"
        colour = STATES.get(row.doing, GREY)
        return {
            "agent": Text(f"{row.agent}{doing}", GREY if doing else ""),
            "trial": Text(row.trial),
            "epoch": Text(row.epoch),
            "value": Text(row.value),
            "curve": Text(row.curve, colour),
            "time": Text(row.time),
            "parameters": Text(fitted(row.params, max(20, width - 75))),
        }


def in_lines(parts: list[Text], width: int, *, between: str = " · ") -> list[Text]:
    """The parts in lines of at most `width` characters; none of them is broken."""
    lines: list[Text] = []
    for part in parts:
        if lines and len(lines[-1]) + len(between) + len(part) <= width:
            lines[-1].append(between, GREY).append_text(part)
        else:
            lines.append(Text().append_text(part))
    return lines
