"""The guided demo: its commands are ones that a user can type, and it shows what they found."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from tuner.__main__ import main
from tuner.base.errors import WorkFailed
from tuner.commands.options import console
from tuner.commands.tour import Demo
from tuner.definition.loading import EXAMPLES

STUDY = """\
method: random
run_cap: 3
metric: {name: score, goal: maximize}
parameters: {x: {min: 0.0, max: 1.0}}
tuner: {objective: "train.py:train"}
"""
TRAIN = """\
def train(config, report):
    return {"score": config.get("x", 0.1)}
"""


class Ran:
    """Takes the place of processes: keeps their arguments, and ends as it is told."""

    def __init__(self, status: int = 0, output: str = "") -> None:
        self.status, self.output = status, output
        self.commands: list[list[str]] = []

    def __call__(self, words: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(list(words))
        return subprocess.CompletedProcess(words, self.status, self.output if options["stdout"] else None)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ran]:
    """Makes a `Ran` and puts it in the place of processes."""
    monkeypatch.chdir(tmp_path)

    def make(status: int = 0, output: str = "") -> Ran:
        made = Ran(status, output)
        monkeypatch.setattr(subprocess, "run", made)
        return made

    return make


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo(tmp_path / "results", console(), None)


def test_each_command_of_the_demo_is_one_that_a_user_can_type(
    ran: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(output="one line\nthe last line\n")
    monkeypatch.setattr(Demo, "compared", lambda self, study: (5, 0))
    monkeypatch.setattr(Demo, "end", lambda self: None)

    assert main(["tour", "--agents", "2"]) == 0

    said = capsys.readouterr().out
    typed = [
        shlex.split(line[2:].partition(" | ")[0]) for line in said.splitlines() if line.startswith("$ tuner")
    ]
    assert len(typed) == 9
    for _, *words in typed:
        room, rest = (
            (words[0], words[1:]) if words[0] in ("model", "ensemble", "inference") else ("tuner", words)
        )
        importlib.import_module(f"{room}.__main__").build_parser().parse_args(rest)
    assert "the last line" in said and "one line" not in said  # of the output of `… | tail -1`


def test_a_step_whose_product_is_there_does_not_run_again(ran: Callable[..., Ran], demo: Demo) -> None:
    there = ran()
    Path("made").touch()
    demo.step("Makes a file.", "tuner list", creates=Path("made"))
    assert there.commands == []


def test_a_pattern_stands_for_the_files_that_fit_it(ran: Callable[..., Ran], demo: Demo) -> None:
    there = ran()
    for name in ("b_007.csv", "a_007.csv", "a_001.csv"):
        Path(name).touch()
    demo.step("Looks at files.", "tuner list *_007.csv")
    assert there.commands[0][-2:] == ["a_007.csv", "b_007.csv"]


@pytest.mark.parametrize(("status", "ends"), [(1, WorkFailed), (130, KeyboardInterrupt)])
def test_a_step_that_fails_or_is_stopped_ends_the_demo(
    ran: Callable[..., Ran], demo: Demo, status: int, ends: type[BaseException]
) -> None:
    ran(status)
    with pytest.raises(ends):
        demo.step("Fails.", "tuner list")


def test_the_end_says_what_each_study_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_processes: dict[str, Any], demo: Demo,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(**no_processes)
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "small.yaml").write_text(STUDY)
    main(["study", "small.yaml", "--agents", "1", "--wandb", "off", "--results", str(demo.results)])
    one, other = demo.compared("small")
    capsys.readouterr()

    demo.end()

    assert one != other
    assert re.search(rf"small: trial {one}: score 0\.\d+, too few runs", capsys.readouterr().out)


def test_the_example_has_the_defaults_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    class Seen(MLPClassifier):
        def __init__(self, **options: Any) -> None:
            given.update(options)

        def fit(self, *data: np.ndarray) -> None:
            given["images"] = len(data[0])

        def score(self, *data: np.ndarray) -> float:
            return 0.0

    monkeypatch.setattr("sklearn.neural_network.MLPClassifier", Seen)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    spec = importlib.util.spec_from_file_location("train", EXAMPLES / "digits" / "train.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main()

    defaults = {**MLPClassifier().get_params(), "random_state": 0}
    assert given.pop("batch_size") == min(200, given.pop("images"))  # what 'auto' means
    assert given == {name: defaults[name] for name in given}
    assert {"hidden_layer_sizes", "activation", "alpha", "learning_rate_init"} < set(given)
