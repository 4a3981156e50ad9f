"""The engine where only its own packages are installed: no network, no forest, no dashboard."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONSOLE_SCRIPT = Path(sysconfig.get_path("scripts")) / "tuner"
PACKAGES = ("cmaes", "torch", "polars", "safetensors", "sklearn", "pandas", "optuna_dashboard")
ROOMS = ("model", "ensemble", "inference")  # in the wheel, but nothing of the engine may need them
MISSING = (*PACKAGES, *ROOMS)
# Python imports a module of this name when it starts: in the commands, and in the processes that they start
SITE = f"""
import os, sys

missing = {MISSING!r} if "WITHOUT_ROOMS" in os.environ else {PACKAGES!r}

class Rest:
    def __init__(self, finders):
        self.finders = finders

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            return None
        found = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((spec for spec in found if spec is not None), None)

    def find_distributions(self, *context):
        for finder in self.finders:
            yield from getattr(finder, "find_distributions", lambda *_: ())(*context)

sys.meta_path[:] = [Rest(list(sys.meta_path))]
"""
FUNCTION = """
def train(config, report):
    for epoch in range(2):
        report(epoch, {"score": config["x"] * (epoch + 1)})
    return {"score": config["x"] * 2 + len(config["kind"])}
"""
SCRIPT = """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float, default=0.5)
x = parser.parse_args().x
for epoch in range(2):
    print(json.dumps({"loss": x / (epoch + 1)}))
"""
OF_FUNCTION = """
method: bayes
run_cap: 6
metric: {name: score, goal: maximize}
parameters: {x: {min: 0.0, max: 1.0}, kind: {values: [a, bc]}}
tuner: {objective: "train.py:train", max_epochs: 2}
"""
OF_SCRIPT = """
program: main.py
method: random
run_cap: 2
metric: {name: loss, goal: minimize}
parameters: {x: {min: 0.0, max: 1.0}}
"""
Run = Callable[..., str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engine")
    files = {"train.py": FUNCTION, "main.py": SCRIPT, "function.yaml": OF_FUNCTION, "script.yaml": OF_SCRIPT}
    files["cmaes.yaml"] = OF_FUNCTION.replace("tuner: {", "tuner: {sampler: cmaes, ")
    numbers = OF_FUNCTION.replace(", kind: {values: [a, bc]}", "")
    files["auto.yaml"] = numbers.replace("tuner: {", "tuner: {sampler: auto, ")
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE)
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    def run(*arguments: str, status: int = 0, rooms: bool = False) -> str:
        """`tuner arguments`, with or without the other rooms: what it printed, errors included."""
        without = {} if rooms else {"WITHOUT_ROOMS": "1"}
        path = os.pathsep.join([str(place / "site"), str(ROOT)])
        done = subprocess.run(
            [sys.executable, str(CONSOLE_SCRIPT), *arguments],
            cwd=place,
            env={**os.environ, **without, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == status, f"{' '.join(arguments)} ended with {done.returncode}\n{said}"
        assert "Traceback" not in said, said
        return said

    return run


@pytest.fixture(scope="module")
def studies(run: Run) -> Run:
    """Both studies, run."""
    for name, total in (("function.yaml", "6"), ("script.yaml", "2")):
        assert f"{total} trials finished" in run("study", name, "--agents", "1", "--wandb", "off")
    return run


def test_the_packages_are_not_there(place: Path) -> None:
    code = f"import importlib.util as u; print([n for n in {MISSING!r} if u.find_spec(n) is not None])"
    variables = {**os.environ, "PYTHONPATH": str(place / "site"), "WITHOUT_ROOMS": "1"}
    python = [sys.executable, "-c", code]
    assert subprocess.check_output(python, env=variables, cwd=place, text=True) == "[]\n"


@pytest.mark.parametrize("command", ["-h", "list", "--version", "doctor"])
def test_what_reads_no_study_works(run: Run, command: str) -> None:
    assert run(command)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("status",), "function"),
        (("best", "function", "--top", "2"), "score"),
        (("export", "function"), "kind"),
        (("report", "function"), "fANOVA needs scikit-learn, which is not installed"),
        (("gc", "--dry-run"), "nothing to remove"),
        (("study", "auto.yaml", "--dry-run", "--wandb", "off"), "auto: bayes (gp)"),
        (("verify", "function", "--top", "1", "--seeds", "1", "--agents", "1", "--wandb", "off"), "curse"),
        (("verify", "script", "--top", "1", "--seeds", "1", "--agents", "1", "--wandb", "off"), "curse"),
    ],
)
def test_what_reads_studies_works(studies: Run, arguments: tuple[str, ...], said: str) -> None:
    assert said in studies(*arguments)


def test_a_report_is_written_without_what_needs_a_forest(studies: Run, place: Path) -> None:
    studies("report", "--output", "x.html", "--output", "x.pdf")
    page = (place / "x.html").read_text(encoding="utf-8")
    assert "PED-ANOVA" in page
    assert "fANOVA needs scikit-learn, which is not installed: pip install scikit-learn." in page
    assert "No surfaces: a surface needs scikit-learn" in page
    assert "of each word read" not in page
    assert (place / "x.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("study", "cmaes.yaml", "--agents", "1", "--wandb", "off"),
            "sampler cmaes needs a package: pip install cmaes",
        ),
        (("study", "loss_weighting"), "pip install 'optuna-sweeps[model]'"),
        (("dashboard",), "pip install 'optuna-sweeps[dashboard]'"),
        (("model", "-h"), "pip install 'optuna-sweeps[model]'"),
        (("ensemble", "build"), "pip install 'optuna-sweeps[model]'"),
    ],
)
def test_what_cannot_work_says_in_a_line_what_to_install(
    studies: Run, arguments: tuple[str, ...], said: str
) -> None:
    assert said in _error(studies(*arguments, status=2))


@pytest.mark.parametrize(
    "arguments",
    [
        ("study", "loss_weighting"),
        ("tour",),
        ("model", "baseline"),
        ("model", "train"),
        ("model", "synthesize"),
    ],
    ids=" ".join,
)
def test_the_other_programs_say_which_extra_they_need(run: Run, arguments: tuple[str, ...]) -> None:
    """`pip install .` brings their modules, which then lack the packages of the extra `model`."""
    assert "pip install 'optuna-sweeps[model]'" in run(*arguments, status=2, rooms=True)


@pytest.mark.parametrize("arguments", [("-h",), ("model", "-h"), ("ensemble", "-h"), ("inference", "-h")])
def test_help_needs_none_of_their_packages(run: Run, arguments: tuple[str, ...]) -> None:
    assert "usage: tuner" in run(*arguments, rooms=True)


def _error(said: str) -> str:
    """The one line of an error."""
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    return line
