"""In a notebook's kernel a study is one table that is drawn anew in its place."""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

import tuner
from tuner.definition.study_file import StudyFile
from tuner.run.events import AgentState, StudyRun
from tuner.show.live import PlainView, make_view
from tuner.show.notebook import NotebookView
from tuner.storage import study_store
from tuner.storage.records import Records

pytest.importorskip("IPython")

Shown = list[tuple[str, bool]]
MakeStudy = Callable[..., StudyFile]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """IPython's shell as a kernel has it; `shown` collects what it is given to display."""
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    class Publisher(DisplayPublisher):
        def publish(self, data: Any, metadata: Any = None, *, update: bool = False, **rest: Any) -> None:
            shell.shown.append((data.get("text/html", ""), update))

    shell: Any = InteractiveShell.instance()
    shell.shown, shell.kernel = [], object()
    monkeypatch.setattr(shell, "display_pub", Publisher())
    yield shell
    del shell.kernel
    InteractiveShell.clear_instance()


def test_without_a_kernel_it_is_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(make_view(Console(file=io.StringIO()))) is PlainView
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert type(make_view(Console(file=io.StringIO()))) is PlainView


def test_a_cell_that_runs_a_study_updates_one_table(kernel: Any, tmp_path: Path) -> None:
    assert type(make_view(Console(file=io.StringIO()))) is NotebookView
    kernel.run_cell(
        "import tuner\n"
        "def train(config):\n"
        "    return config['x']\n"
        f"found = tuner.study(train, {{'x': (0.0, 1.0)}}, trials=3, agents=1, results={str(tmp_path)!r})\n",
        store_history=False,
    ).raise_error()
    assert len(kernel.user_ns["found"].runs) == 3

    shown: Shown = kernel.shown
    assert [update for _, update in shown].count(False) == 1, "one display, then updates of it"
    last = shown[-1][0]
    assert '<progress value="3" max="3">' in last
    assert "3/3 trials" in last
    assert "trial 2 complete: value" in last


def test_a_study_that_is_done_says_so(kernel: Any, tmp_path: Path) -> None:
    for _ in range(2):
        kernel.shown.clear()
        tuner.study(
            lambda config: 1.0, {"x": (0, 1)}, trials=1, agents=1, name="<i>", results=tmp_path
        )  # fmt: skip
    assert [page for page, _ in kernel.shown] == [
        '<div class="tuner"><small><div>study i is done: 1 trial finished</div></small></div>'
    ]


def test_agents_are_rows_of_the_table(kernel: Any, records: Records, make_study: MakeStudy) -> None:
    file = make_study()
    study = study_store.open_study(records, file, study_store.Origin({}))
    view = make_view(Console(file=io.StringIO()))
    view.begin(StudyRun(study, 2))
    worker = cast(Any, None)
    view.tick([AgentState(0, worker, "running", number=7, epoch=2, value=0.25), AgentState(1, worker)])
    last = kernel.shown[-1][0]
    for row in ("<td>0</td><td>7</td><td>3</td><td>0.2500</td>", "<td>1 starting</td><td></td>"):
        assert row in last
    view.end()
    assert "<table>" not in kernel.shown[-1][0], "nobody is at work any more"
