"""A view that fails ends no study."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tuner.definition.study_file import StudyFile
from tuner.run.events import AgentState, ShieldedView
from tuner.run.launch import run
from tuner.run.request import Request
from tuner.show.lines import PlainView
from tuner.storage.outage import StorageFailed


class Failing(PlainView):
    """Fails at every tick, and counts them."""

    def __init__(self, error: Exception) -> None:
        self.written = io.StringIO()
        super().__init__(Console(file=self.written, width=400))
        self.error, self.ticks, self.ended = error, 0, 0

    def tick(self, agents: Sequence[AgentState]) -> None:
        self.ticks += 1
        raise self.error

    def end(self) -> None:
        self.ended += 1


def test_a_study_goes_on_without_its_view(
    make_study: Callable[..., StudyFile], url: str, tmp_path: Path
) -> None:
    view = Failing(ZeroDivisionError("no agent is left"))
    request = Request(make_study(), url, tmp_path / "results", wandb="off", agents=1)
    result = run(request, view)
    assert result.fine and result.finished == result.total
    assert (view.ticks, view.ended) == (1, 1)
    said = view.written.getvalue()
    assert "the study is not shown any more (ZeroDivisionError: no agent is left), but it goes on" in said


@pytest.mark.parametrize("error", [BrokenPipeError(), StorageFailed("the storage is away")])
def test_the_caller_sees_that_the_storage_or_the_terminal_is_away(error: Any) -> None:
    view = Failing(error)
    with pytest.raises(type(error)):
        ShieldedView(view).tick([])
