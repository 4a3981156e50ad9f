"""Shows a running study in a notebook: one table that is redrawn in place."""

from __future__ import annotations

import html
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from tuner.run.events import StudyRun
from tuner.show.console import STATES
from tuner.show.lines import PlainView
from tuner.show.progress import COLUMNS

LINES = 6  # the last things that were said, below the table
DRAW_SECONDS = 0.5


def is_here() -> bool:
    """Whether this process is the kernel of a notebook (a terminal's IPython has none)."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


class NotebookView(PlainView):
    """An HTML table, updated through IPython's display: no widgets, nothing to install."""

    interval = DRAW_SECONDS
    draws = True
    _begun = False
    _handle: Any = None
    _shown = ""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lines: deque[str] = deque(maxlen=LINES)

    def say(self, line: str) -> None:
        self._lines.append(line)
        if not self._begun:
            self._draw()

    def begin(self, run: StudyRun) -> None:
        super().begin(run)
        self._begun = True
        self._draw()

    def _say_progress(self) -> None:
        self._draw(self.progress.cost)

    def _draw(self, cost: str = "") -> None:
        """Draws what is new. `cost`: of a study that is over."""
        said = "".join(f"<div>{html.escape(line)}</div>" for line in self._lines)
        content = (
            f'<div class="tuner">{self._picture(cost) if self._begun else ""}<small>{said}</small></div>'
        )
        if content == self._shown:
            return
        self._shown = content
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(content), display_id=True)
        else:
            self._handle.update(HTML(content))

    def _picture(self, cost: str) -> str:
        progress = self.progress
        finished, total = progress.now.finished, progress.total or max(progress.now.finished, 1)
        bar = f'<progress value="{min(finished, total)}" max="{total}"></progress>'
        times = " · ".join([progress.trials, *([cost] if cost else progress.times(self._agents))])
        states = " · ".join(
            f'<span style="color:{STATES[state]}">{count} {state}</span>'
            for state, count in progress.states()
        )
        best = ": ".join(filter(None, [progress.best_words(), ", ".join(progress.best_params())]))
        lines = [f"{bar} {html.escape(times)}", states, html.escape(best)]
        shown = "".join(f"<div>{line}</div>" for line in lines if line)
        if not self._agents:
            return shown
        rows = [[*cells.values(), ", ".join(params)] for _, cells, params in progress.rows(self._agents)]
        headings = [progress.now.metric if name == "value" else name for name in COLUMNS]
        return shown + table([*headings, "parameters"], rows)


def table(headings: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table of texts, which are escaped."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
    cells = ("".join(f"<td>{html.escape(text)}</td>" for text in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
