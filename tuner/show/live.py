"""What a study looks like while it runs: a table in a notebook or on a terminal, plain lines elsewhere."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.run.events import StudyRun, View
from tuner.show import notebook
from tuner.show.lines import PlainView

__all__ = ["LiveView", "PlainView", "make_view"]


def make_view(console: Console) -> View:
    """The view that suits where the output goes."""
    if notebook.is_here():
        return notebook.NotebookView(console)
    return LiveView(console) if console.is_terminal else PlainView(console)


class LiveView(PlainView):
    """A table that is updated in place, with the last trials above it."""

    interval = 0.25

    def begin(self, run: StudyRun) -> None:
        super().begin(run)
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._live.start()

    def end(self) -> None:
        self._live.stop()
        super().end()

    def _draw(self) -> None:
        self._live.update(Group(self._progress(), self._agent_table()), refresh=True)

    def _progress(self) -> Table:
        table = Table.grid(padding=(0, 2))
        total = self._total or max(self._finished, 1)
        table.add_row(
            ProgressBar(total=total, completed=min(self._finished, total), width=20), Text(self._line())
        )
        return table

    def _agent_table(self) -> Table:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for heading in ("agent", "trial", "epoch", self._file.metric.name):
            table.add_column(heading, justify="left" if heading == "agent" else "right")
        for state in self._agents:
            table.add_row(
                f"{state.index} {'' if state.doing == 'running' else state.doing}",
                "" if state.number is None else str(state.number),
                "" if state.epoch is None else str(state.epoch + 1),
                "" if state.value is None else f"{state.value:.4f}",
            )
        return table
