"""The examples: each is run as its page says, and gives what the script logs when it runs alone.

An example whose framework is not installed is skipped; docs/own_script.md describes them all.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

import tuner
from tuner.definition.loading import load_study_file
from tuner.tracking.wandb_file import records

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unmeasured")]

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "own_script.md"
TRIALS = 2
ELSEWHERE = {  # tested by other tests
    *("own_function", "function_checkpoint", "pytorch_checkpoint", "lightning_checkpoint"),
    *("hf_trainer_checkpoint", "mill"),
}


def no_arguments(config: Mapping[str, Any]) -> list[str]:
    """Trial 0 has the script's own defaults."""
    return []


def flags(config: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={value}" for name, value in config.items()]


def overrides(config: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in config.items()]


@dataclass(frozen=True)
class Example:
    """A folder of examples/.

    Attributes:
        metric: what the script logs once in each of `iterations`, the study's metric.
        packages: what must be installed, by the names of the imports and of the packages.
        arguments: those with which the script alone does what trial 0 did, given its configuration.
        command: what starts the script alone, behind `python`.
    """

    folder: str
    study: str
    metric: str
    iterations: int
    packages: Mapping[str, str]
    arguments: Callable[[Mapping[str, Any]], list[str]] = no_arguments
    command: tuple[str, ...] = ("train.py",)

    @property
    def uses_wandb(self) -> bool:
        return "wandb" in self.packages


TORCH = {"torch": "torch", "wandb": "wandb"}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py")
EXAMPLES = (
    Example("json_lines", "json-lines", "val/loss", 9, {}),
    Example("digits", "digits", "accuracy", 1, {"sklearn": "scikit-learn"}),
    Example("pytorch", "pytorch-spirals", "val/accuracy", 9, TORCH),
    Example("torchrun", "torchrun-two-ranks", "val/loss", 6, TORCH, command=TORCHRUN),
    Example("wandb_sklearn", "digits-sgd", "val/accuracy", 9, {"sklearn": "scikit-learn", "wandb": "wandb"}),
    Example("lightning", "lightning-regressor", "val/loss", 6, {**TORCH, "lightning": "lightning"}),
    Example(
        "hf_trainer",
        "hf-trainer",
        "eval/loss",
        6,
        {**TORCH, "transformers": "transformers", "accelerate": "accelerate"},
        flags,
    ),
    Example("hydra", "hydra-polynomial", "val/mse", 9, {"hydra": "hydra-core", "wandb": "wandb"}, overrides),
    Example("xgboost", "xgboost-trees", "val-logloss", 20, {"xgboost": "xgboost", "wandb": "wandb"}),
)


class Reader:
    """Somebody with a copy of the examples, who runs one of them."""

    def __init__(self, example: Example, folder: Path) -> None:
        self.example = example
        self.folder = folder
        self.results = folder / "results"
        shutil.copytree(ROOT / "examples" / example.folder, folder / "examples" / example.folder)
        self.output = self.tuner("study", f"examples/{example.folder}/sweep.yaml", "--trials", str(TRIALS))

    def tuner(self, *words: str) -> str:
        return python("-m", "tuner", *words, "--results", str(self.results), folder=self.folder)

    @cached_property
    def runs(self) -> tuner.Results:
        return tuner.results(self.example.study, results=self.results)

    def logged(self, run: tuner.Run) -> list[float]:
        """The metric's values in a trial, as W&B itself kept them, or as they were printed."""
        assert run.folder is not None
        if not self.example.uses_wandb:
            return printed((run.folder / "output.log").read_text(), self.example.metric)
        names = json.loads((run.folder / "result.json").read_text())["wandb_runs"]
        assert len(names) == 1, "one W&B run a trial"
        return kept_by_wandb(self.results / "wandb" / self.example.study / names[0], self.example.metric)


def python(*words: str, folder: Path, **variables: str) -> str:
    """Runs Python and returns its standard output; with no W&B account, and on one thread."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "TUNER"))}
    modules = os.pathsep.join([str(ROOT), *filter(None, [own.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**own, "PYTHONPATH": modules, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def kept_by_wandb(run_folder: Path, metric: str) -> list[float]:
    """A metric's history in an offline run, from the records that the W&B client wrote."""
    from wandb.proto import wandb_internal_pb2

    (file,) = run_folder.glob("*.wandb")
    messages = map(wandb_internal_pb2.Record.FromString, records(file.read_bytes()))  # type: ignore[attr-defined]
    items = [item for message in messages for item in message.history.item]
    return [json.loads(item.value_json) for item in items if metric in (item.key, "/".join(item.nested_key))]


def printed(output: str, metric: str) -> list[float]:
    return [json.loads(line)[metric] for line in output.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda example: example.folder)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Each example in turn, after a study of two trials."""
    example: Example = request.param
    for module, package in example.packages.items():
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}: pip install {package}")
    yield Reader(example, tmp_path_factory.mktemp(example.folder))


def test_exactly_as_many_trials_finish_as_were_asked_for(reader: Reader) -> None:
    assert f"{reader.example.study}: {TRIALS} trials finished" in reader.output
    assert [run.number for run in reader.runs] == [0, 1]
    assert {run.state for run in reader.runs} <= {"complete", "pruned"}
    assert reader.runs[0].config != reader.runs[1].config


def test_every_value_is_one_that_the_script_logged(reader: Reader) -> None:
    metric, iterations = reader.example.metric, reader.example.iterations
    for run in reader.runs:
        values = [row[metric] for row in run.history() if metric in row]
        logged = reader.logged(run)
        assert values == pytest.approx(logged[: len(values)])
        if run.state == "complete":
            assert len(values) == len(logged) == iterations
        else:  # a script that is stopped in the middle of a call may have a row more than was told
            assert len(values) > 0 and len(logged) - len(values) in (0, 1)


def test_best_is_the_trial_whose_last_logged_value_is_best(reader: Reader) -> None:
    metric = reader.example.metric
    goal = load_study_file(ROOT / "examples" / reader.example.folder / "sweep.yaml").metric.goal
    better = max if goal == "maximize" else min
    complete = [run for run in reader.runs if run.state == "complete"]
    expected = {run.number: reader.logged(run)[-1] for run in complete}
    winner = better(expected, key=lambda number: expected[number])

    found = json.loads(reader.tuner("best", reader.example.study, "--format", "json"))

    assert {trial["number"]: trial[metric] for trial in found} == pytest.approx(expected)
    assert found[0]["number"] == winner
    exported = reader.tuner("export", reader.example.study)
    assert yaml.safe_load(exported) == dict(reader.runs[winner].config)


def test_the_script_alone_logs_what_its_trial_logged(reader: Reader, tmp_path: Path) -> None:
    example, first = reader.example, reader.runs[0]
    folder = tmp_path / example.folder
    shutil.copytree(ROOT / "examples" / example.folder, folder)

    output = python(*example.command, *example.arguments(first.config), folder=folder, WANDB_MODE="offline")

    if example.uses_wandb:
        (run_folder,) = folder.glob("wandb/offline-run-*")
        values = kept_by_wandb(run_folder, example.metric)
    else:
        values = printed(output, example.metric)
    of_trial = reader.logged(first)
    assert len(values) == example.iterations
    assert values[: len(of_trial)] == pytest.approx(of_trial, rel=1e-4)


def test_a_python_function_is_tuned(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "own_function", tmp_path / "own_function")
    words = ("own_function/study.yaml", "--agents", "1", "--wandb", "off")

    output = python("-m", "tuner", "study", *words, folder=tmp_path)

    assert "own_function: 12 trials finished" in output
    best = json.loads(
        python("-m", "tuner", "best", "own_function", "--top", "1", "--format", "json", folder=tmp_path)
    )
    assert best[0]["loss"] < 1
    assert set(best[0]["params"]) == {"learning_rate", "decay"}
    assert best[0]["config"]["epochs"] == 9


def test_every_folder_of_the_examples_is_tested() -> None:
    folders = {path.parent.name for path in ROOT.glob("examples/*/*.yaml")}
    assert folders == {example.folder for example in EXAMPLES} | ELSEWHERE
