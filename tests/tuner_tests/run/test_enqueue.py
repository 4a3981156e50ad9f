"""Trials that somebody chose: those that a new study tries first, and those that are queued by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.__main__ import main
from tuner.base.errors import InputError
from tuner.definition.study_file import StudyFile
from tuner.run.enqueue import Queued, enqueue
from tuner.storage import study_store
from tuner.storage.attributes import GRID_POINT
from tuner.storage.records import Records
from tuner.storage.study import load_study
from tuner.storage.study_store import Origin

MakeStudy = Callable[..., StudyFile]
MORE = {
    "y: {values: [a, b, c]}": (
        "y: {values: [a, b, c]}\n  learning_rate: {min: 0.0, max: 0.1}\n  c: {value: 4}"
    ),
    "max_epochs: 4": "max_epochs: 4\n  requires: ['x < 0.9']\n  when: {learning_rate: y == 'a'}",
}


def waiting(records: Records, name: str = "small") -> list[dict[str, Any]]:
    return [t.system_attrs["fixed_params"] for t in load_study(records, name).get_trials()]


def test_a_queued_trial_is_the_next_to_run_and_its_other_values_are_drawn(
    records: Records, make_study: MakeStudy, origin: Origin
) -> None:
    study = study_store.open_study(records, make_study(), origin)
    assert enqueue(records, "small", {"x": 0.25}) == Queued(0, 0, None)
    assert enqueue(records, "small", {"x": 0.5, "y": "b"}) == Queued(1, 1, None)
    trial = study.ask()
    config = make_study().space.suggest(trial)
    assert (trial.number, config["x"]) == (0, 0.25)
    assert config["y"] in "abc"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"lr": 0.1}, r"has no parameter 'lr'; did you mean 'learning_rate'\? \(parameters: x, y, learning"),
        ({"x": 2}, "parameter 'x': expected 0 to 1, got 2"),
        ({"c": 4}, "'c' is always 4 in study 'small'"),
        ({"learning_rate": 0.01}, "'learning_rate' exists only if y == 'a'"),
        ({"x": 0.95}, "x=0.95: breaks requires 'x < 0.9'"),
    ],
)
def test_what_cannot_be_queued_is_said(
    records: Records, make_study: MakeStudy, origin: Origin, values: dict[str, Any], expected: str
) -> None:
    study_store.open_study(records, make_study(**MORE), origin)
    with pytest.raises(InputError, match=expected):
        enqueue(records, "small", values)
    assert waiting(records) == []


def test_a_point_of_a_grid_is_queued_once(records: Records, make_study: MakeStudy, origin: Origin) -> None:
    grid = {"method: bayes\nrun_cap: 6": "method: grid", "{min: 0.0, max: 1.0}": "{values: [1, 2]}"}
    study_store.open_study(records, make_study(**grid), origin)
    enqueue(records, "small", {"x": 2, "y": "b"})
    (trial,) = load_study(records, "small").get_trials()
    assert trial.user_attrs[GRID_POINT] == 4
    with pytest.raises(InputError, match="has been tried or is queued: x=2, y=b"):
        enqueue(records, "small", {"x": 2, "y": "b"})
    with pytest.raises(InputError, match="with a value for each of x, y"):
        enqueue(records, "small", {"x": 2})


FIRST = {"max_epochs: 4": "max_epochs: 4\n  first: [{x: 0.1}, {x: 0.25, y: b}, {x: 0.3, y: c}]"}


def test_a_new_study_tries_the_default_and_then_the_configurations_of_its_file(
    records: Records, make_study: MakeStudy, origin: Origin
) -> None:
    study_store.open_study(records, make_study(**FIRST), origin, default={"x": 0.25, "y": "b"})
    assert waiting(records) == [{"x": 0.25, "y": "b"}, {"x": 0.1}, {"x": 0.3, "y": "c"}]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("first: [{z: 1}]", r"small.yaml:\d+: 'tuner.first.z': no parameter of this study"),
        ("first: [{x: 3}]", r"'tuner.first.x': expected 0 to 1, got 3"),
        ("first: [{}]", "expected at least one parameter"),
        ("defaults: {y: d}", r"'tuner.defaults.y': expected one of"),
        ("shuffle: true", "expected method grid"),
    ],
)
def test_wrong_configurations_in_the_file_are_said_with_their_line(
    make_study: MakeStudy, own: str, expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        make_study(**{"max_epochs: 4": f"max_epochs: 4\n  {own}"})


def test_a_grid_is_shuffled_by_the_name_of_the_study(make_study: MakeStudy) -> None:
    text = "method: grid\nmetric: {name: score}\nparameters: {x: {values: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}\n"
    shuffled = text + "tuner: {objective: 'objective.py:train', shuffle: true}\n"
    one, again = (make_study(shuffled, name="one.yaml").grid() for _ in range(2))
    other = make_study(shuffled, name="other.yaml").grid()
    assert one == again
    assert one != other
    assert sorted(point["x"] for point in one) == list(range(1, 10))


def test_the_command_says_which_trial_is_queued(
    records: Records,
    make_study: MakeStudy,
    origin: Origin,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = ["--results", str(tmp_path / "results")]
    study_store.open_study(records, make_study(), origin)
    assert main(["enqueue", "small", "x=0.5", "y=b", *results]) == 0
    assert capsys.readouterr().out == "small: trial 0 is queued\n"
    assert main(["enqueue", str(make_study().path), "x=0.5", "--json", *results]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "study": "small", "number": 1, "ahead": 1, "total": None, "needs": None,
    }  # fmt: skip
    assert main(["enqueue", "small", "x", *results]) == 2
    assert capsys.readouterr().err == "error: enqueue: expected KEY=VALUE, got 'x'\n"


def test_a_trial_that_nothing_would_run_is_said_to_need_a_larger_study(
    records: Records,
    make_study: MakeStudy,
    origin: Origin,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Running trials count: when they end, the study has all that it wants."""
    study = study_store.open_study(records, make_study(), origin, trials=3)
    for _ in range(2):
        study.ask()
    assert enqueue(records, "small", {"x": 0.5, "y": "b"}) == Queued(2, 0)
    assert enqueue(records, "small", {"x": 0.6, "y": "b"}) == Queued(3, 1, 3, 4)
    assert main(["enqueue", "small", "x=0.5", "y=b", "--results", str(tmp_path / "results")]) == 0
    assert "'tuner study … --trials 5'" in capsys.readouterr().out
