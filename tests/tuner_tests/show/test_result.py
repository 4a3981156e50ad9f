"""The object that `tuner.study` gives back: numbers, tables and figures of one study."""

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

import tuner

SPACE = {"x": (0.0, 1.0), "kind": ["plain", "<b>"]}


def train(config: dict[str, Any], report: Any) -> dict[str, float]:
    for epoch in range(3):
        report(epoch, {"loss": config["x"] + 1 / (epoch + 1)})
    return {"loss": config["x"], "size": 2.0}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, no_processes: dict[str, Any]) -> tuner.StudyResult:
    results = tmp_path_factory.mktemp("r")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(**no_processes)
        return tuner.study(train, SPACE, metric="loss", trials=6, agents=1, results=results, quiet=True)


def test_the_best_trial_is_there_with_its_files(found: tuner.StudyResult) -> None:
    best = found.best
    assert best.value == min(run.summary["loss"] for run in found.runs) == best.config["x"]
    assert best.metrics == {"loss": best.value, "size": 2.0}
    assert best.folder == found.results / "runs" / "train" / str(best.number)
    assert best.folder is not None and (best.folder / "result.json").exists()


def test_trials_are_a_data_frame(found: tuner.StudyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    frame = found.trials
    assert list(frame.columns) == [
        "number", "state", "value", "seconds", "config.x", "config.kind", "loss", "size",
    ]  # fmt: skip
    assert frame.sort_values("value").iloc[0]["number"] == found.best.number
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(tuner.InputError, match=r"pip install .optuna-sweeps\[notebook\]"):
        _ = found.trials


def test_optunas_own_functions_take_the_study(found: tuner.StudyResult) -> None:
    assert found.optuna.best_value == found.best.value
    assert optuna.visualization.plot_optimization_history(found.optuna).data


@pytest.mark.parametrize("kind", ["history", "importances", "parallel", "slices", "curves"])
def test_a_figure_is_plotlys(found: tuner.StudyResult, kind: str) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    figure = getattr(found, f"plot_{kind}")()
    assert isinstance(figure, go.Figure)
    assert figure.data and figure.layout.title.text
    if kind == "slices":
        assert {figure.layout.xaxis.title.text, figure.layout.xaxis2.title.text} == {"x", "kind"}


@pytest.mark.usefixtures("agents_in_this_process")
def test_it_shows_what_others_have_added_and_can_be_sent_to_them(tmp_path: Path) -> None:
    found = tuner.study(train, SPACE, metric="loss", trials=1, agents=1, results=tmp_path, quiet=True)
    before = len(found.optuna.trials)
    other = copy.copy(found)
    trial = tuner.ask("train", trials=before + 1, results=found.results)
    assert trial is not None
    trial.tell({"loss": -1.0})
    assert found.best.number == other.best.number == before
    assert pickle.loads(pickle.dumps(found)).best.value == -1.0


@pytest.mark.usefixtures("agents_in_this_process")
def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    one = tuner.study(
        lambda config: 1.0, {"x": [1]}, method="grid", name="one", results=tmp_path, agents=1, quiet=True
    )
    with pytest.raises(tuner.InputError, match="no trial has reported more than once"):
        one.plot_curves()


def test_it_prints_as_text_and_in_a_notebook_as_a_table(found: tuner.StudyResult) -> None:
    first, heading, *rows = str(found).splitlines()
    assert first == "train: 6 trials finished; 0 of 6 pruned, 0 failed"
    assert heading.split() == ["trial", "loss", "kind", "x"]
    assert rows[0].split()[:2] == ["1.", str(found.best.number)]
    page = found._repr_html_()
    assert "<table>" in page and f"<td>{found.best.number}</td>" in page
    assert "<b>" not in page, "texts of the study are escaped"


def test_in_a_notebook_it_is_text_too(found: tuner.StudyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    before = str(found)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)  # where rich displays what it is to print
    assert str(found) == before


@pytest.mark.usefixtures("agents_in_this_process")
def test_nothing_of_it_is_cut_off(tmp_path: Path) -> None:
    words = ["a" * 90, "b" * 90]
    found = tuner.study(
        lambda config: len(config["word"]), {"word": words}, name="long", method="grid", agents=1,
        results=tmp_path, quiet=True,
    )  # fmt: skip
    assert "…" not in str(found) and all(word in str(found) for word in words)


def test_a_verdict_prints_as_its_sentence(found: tuner.StudyResult) -> None:
    verdict = found.verdict()
    assert str(verdict).startswith(verdict.sentence)
    page = verdict._repr_html_()
    assert page.startswith("<div>There are too few runs to say whether")
    assert str(found).endswith(str(verdict)) and found._repr_html_().endswith(page)


@pytest.mark.usefixtures("agents_in_this_process")
def test_no_command_is_named_that_cannot_run_a_function_of_this_process(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec("def of_a_notebook(config):\n    return config['x']\n", {"__name__": "__main__"}, names)
    found = tuner.study(
        names["of_a_notebook"], {"x": (0.0, 1.0)}, trials=3, agents=1, results=tmp_path, quiet=True
    )
    verdict = found.verdict()
    assert verdict.verdict == "too few runs" and verdict.decide == ""
