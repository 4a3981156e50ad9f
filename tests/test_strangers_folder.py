"""A folder of a user's, whose modules have the names of ours: every command works there, and the user's own
modules are those that the user's own code gets.

`python -m NAME` is Python's own choice: where the folder has a `NAME.py`, Python runs that one. There the
console script is the way to start: it has no such folder on its path.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from reliability.clusters import cluster

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unmeasured")]

ROOT = Path(__file__).parent.parent
CONSOLE_SCRIPT = str(Path(sysconfig.get_path("scripts")) / "tuner")
PROGRAMS = ("tuner", "model", "ensemble", "inference")

MODULES = {
    "model.py": "class Net:\n    width = 3\n",
    "tuner.py": "MINE = 1000\n",
    "ensemble/__init__.py": "MINE = 200\n",
    "inference.py": "MINE = 40\n",
    "utils.py": "MINE = 5\n",
    "config.py": "MINE = 0.5\n",
    "data.py": "MINE = 0.25\n",
    "studies/__init__.py": "MINE = 0.125\n",
}
SUM = "Net.width + ensemble.MINE + inference.MINE + utils.MINE + config.MINE + data.MINE + studies.MINE"
OURS = 3 + 200 + 40 + 5 + 0.5 + 0.25 + 0.125
FUNCTION = f"""
from model import Net
import config, data, ensemble, inference, studies, utils

def train(config_, report):
    report(0, {{"score": config_["x"]}})
    from model import Net as Again  # a second time, when everything of the engine is loaded
    assert Again is Net
    return {{"score": {SUM} - config_["x"] / 1000}}

train.defaults = {{"x": 0.5}}
"""
SCRIPT = f"""
import argparse, json
import config, data, ensemble, inference, studies, tuner, utils
from model import Net

parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float, default=0.5)
x = parser.parse_args().x
print(json.dumps({{"score": x}}))
print(json.dumps({{"score": {SUM} + tuner.MINE - x / 1000}}))
"""
STUDY = """
method: random
run_cap: 3
metric: {name: score, goal: maximize}
parameters: {x: {min: 0.0, max: 1.0}}
"""
FILES = {
    **MODULES,
    "train.py": FUNCTION,
    "main.py": SCRIPT,
    "studies/function.yaml": STUDY + 'tuner: {objective: "train.py:train", max_epochs: 1}\n',
    "function.yaml": STUDY + 'tuner: {objective: "train.py:train", max_epochs: 1}\n',
    "imported.yaml": STUDY + 'tuner: {objective: "train:train", max_epochs: 1}\n',
    "script.yaml": STUDY + "program: main.py\n",
    "steps.yaml": "steps:\n- study: function.yaml\n- study: script.yaml\n- run: tuner status\n",
}
SHORT = ("--agents", "1", "--wandb", "off")
Run = Callable[..., str]


def stranger(folder: Path) -> Path:
    """Writes the user's files."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run_in(folder: Path, *words: str, status: int = 0, **variables: str) -> str:
    """Runs a program in the folder and returns what it printed, errors included."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == status, f"{' '.join(words)} ended with {done.returncode}\n{said}"
    return said


@pytest.fixture(scope="module", params=["", "1"], ids=["", "safe path"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`tuner arguments` in a stranger's folder, where both studies were run."""
    folder = stranger(tmp_path_factory.mktemp("stranger"))
    variables = {"PYTHONSAFEPATH": request.param} if request.param else {}

    def run(*arguments: str, status: int = 0) -> str:
        return run_in(folder, CONSOLE_SCRIPT, *arguments, status=status, **variables)

    run("study", "function.yaml", "--agents", "2", "--wandb", "off")
    run("study", "script.yaml", "--agents", "2", "--wandb", "off")
    return run


def best(said: str) -> dict[str, Any]:
    """The first trial of `best --format json`."""
    found: dict[str, Any] = json.loads(said[said.index("[") :])[0]
    return found


def test_a_function_gets_the_users_modules(run: Run) -> None:
    assert best(run("best", "function", "--format", "json"))["score"] == pytest.approx(OURS, abs=0.01)


def test_a_script_gets_the_users_modules(run: Run) -> None:
    score = best(run("best", "script", "--format", "json"))["score"]
    assert score == pytest.approx(OURS + 1000, abs=0.01)


def test_a_function_is_found_as_a_module_too(run: Run) -> None:
    run("study", "imported.yaml", *SHORT)
    assert best(run("best", "imported", "--format", "json"))["score"] == pytest.approx(OURS, abs=0.01)


@pytest.mark.parametrize("run", [""], ids=[""], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("-h", "commands:"),
        ("--version", "tuner"),
        ("completion bash", "_tuner"),
        ("list", "loss_weighting"),
        ("status", "script"),
        ("best function --top 2", "score"),
        ("export function", "x: "),
        ("export script.yaml --wandb", "program: main.py"),
        ("verify function --top 1 --seeds 1 --agents 1 --wandb off", "curse"),
        ("verify script --top 1 --seeds 1 --agents 1 --wandb off", "curse"),
        ("report", "function"),
        ("report --output report.html --output report.pdf", "wrote report.html"),
        ("gc --dry-run", "nothing to remove"),
        ("doctor", "python"),
        ("sync -h", "usage: tuner sync"),
        ("study function.yaml --dry-run --wandb off", "begun: it has 3 trials and goes on"),
        ("study script.yaml --dry-run --probe --wandb off", "cost: "),
        ("study studies/function.yaml --dry-run --wandb off", "trial 0"),
        ("model -h", "usage: tuner model"),
        (
            "model synthesize --csv recordings --recordings 1 --operations face --scale 0.2",
            "recordings written",
        ),
        ("ensemble -h", "usage: tuner ensemble"),
        ("inference -h", "usage: tuner inference"),
    ],
)
def test_every_command_works(run: Run, arguments: str, said: str) -> None:
    assert said in run(*arguments.split())


def test_a_campaign_of_the_users_runs_their_studies(run: Run) -> None:
    said = run("study", "steps.yaml", *SHORT, "--results", "campaign")
    assert "the campaign is done" in said
    raced = ("The next study starts from ", "No gain over the default configuration was shown")
    assert sum(any(word in line for word in raced) for line in said.splitlines() if "retraining" in line) == 2


@pytest.mark.parametrize("program", PROGRAMS)
def test_python_dash_m_works_where_python_does_not_find_the_users_file_first(
    program: str, tmp_path: Path
) -> None:
    stranger(tmp_path)
    for own in (tmp_path / f"{program}.py", tmp_path / program / "__init__.py"):
        own.unlink(missing_ok=True)
    name = "tuner" if program == "tuner" else f"tuner {program}"
    assert f"usage: {name} " in run_in(tmp_path, "-m", program, "-h")


def test_python_dash_m_runs_a_study_there(tmp_path: Path) -> None:
    (stranger(tmp_path) / "tuner.py").unlink()
    run_in(tmp_path, "-m", "tuner", "study", "function.yaml", *SHORT)
    score = best(run_in(tmp_path, "-m", "tuner", "best", "function", "--format", "json"))["score"]
    assert score == pytest.approx(OURS, abs=0.01)


def test_python_dash_m_runs_the_users_file_where_there_is_one(tmp_path: Path) -> None:
    """Which is Python's rule; the README names the console script for such folders."""
    stranger(tmp_path)
    assert run_in(tmp_path, "-m", "tuner", "--version") == ""


@pytest.fixture(params=["dask", "ray"])
def foreign_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A cluster of one worker that was started elsewhere: its kind and address."""
    package = {"dask": "distributed"}.get(request.param, request.param)
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    with cluster(request.param, tmp_path, places=1) as address:
        yield request.param, address


def test_a_clusters_workers_get_the_users_modules(foreign_cluster: tuple[str, str], tmp_path: Path) -> None:
    kind, address = foreign_cluster
    folder = stranger(tmp_path / "stranger")
    options = ("--executor", kind, "--address", address, "--agents", "1", "--wandb", "off")
    run_in(folder, CONSOLE_SCRIPT, "study", "imported.yaml", *options)
    score = best(run_in(folder, CONSOLE_SCRIPT, "best", "imported", "--format", "json"))["score"]
    assert score == pytest.approx(OURS, abs=0.01)
