"""Shows a running study in a notebook: one table that is redrawn in place."""

from __future__ import annotations

import html
import sys
from collections import deque
from typing import Any

from tuner.run.events import StudyRun
from tuner.show.colours import STATES
from tuner.show.lines import PlainView

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
    _handle: Any = None
    _begun = _over = False
    _shown = ""

    @property
    def _lines(self) -> deque[str]:
        return self.__dict__.setdefault("_said_lines", deque(maxlen=LINES))

    def say(self, line: str) -> None:
        self._lines.append(line)
        if not self._begun:
            self._draw()

    def begin(self, run: StudyRun) -> None:
        super().begin(run)
        self._begun = True
        self._drawn = -1e9
        self._draw()

    def end(self) -> None:
        self._count_if_reached()
        self._say_ended()
        self._agents, self._over = (), True
        self._draw()

    def _trial_ended(self, content: dict[str, Any]) -> None:
        self.say(self._ended_words(content))

    def _say_best(self) -> None:
        """It stands below the bar."""

    def _draw(self) -> None:
        content = self._html()
        if content == self._shown:
            return
        self._shown = content
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(content), display_id=True)
        else:
            self._handle.update(HTML(content))

    def _html(self) -> str:
        said = "".join(f"<div>{html.escape(line)}</div>" for line in self._lines)
        return f'<div class="tuner">{self._progress() if self._begun else ""}<small>{said}</small></div>'

    def _progress(self) -> str:
        standing = self.standing
        total = standing.total or max(standing.finished, 1)
        bar = f'<progress value="{min(standing.finished, total)}" max="{total}"></progress>'
        spent = [standing.cost] if self._over else standing.times(self._agents)
        times = " · ".join([standing.trials, *spent])
        states = " · ".join(
            f'<span style="color:{STATES[state]}">{count} {state}</span>'
            for state, count in standing.states()
        )
        best = standing.best_words()
        params = ", ".join(standing.best_params())
        lines = [f"{bar} {html.escape(times)}", states, html.escape(f"{best}: {params}" if params else best)]
        return "".join(f"<div>{line}</div>" for line in lines if line) + self._agent_table()

    def _agent_table(self) -> str:
        if not self._agents:
            return ""
        headings = ("agent", "trial", "epoch", self.standing.metric, "curve", "time", "parameters")
        rows = [
            (
                f"{row.agent} {'' if row.doing == 'running' else row.doing}".strip(),
                row.trial,
                row.epoch,
                row.value,
                row.curve,
                row.time,
                ", ".join(row.params),
            )
            for row in self.standing.rows(self._agents)
        ]
        return table(headings, rows)


def table(headings: Any, rows: Any) -> str:
    """An HTML table of texts, which are escaped."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
