"""The wheel, installed where there is no checkout: what it holds, and the tour in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
ROOMS = ("ensemble", "inference", "model", "tuner")
NOT_CODE = (
    "inference/picture.html.j2",
    "inference/picture.js",
    "tuner/py.typed",
    "tuner/show/report/page.css",
    "tuner/show/report/page.html.j2",
    "tuner/show/report/page.js",
    "tuner/show/report/charts.js",
    "tuner/show/report/live.js",
    "tuner/workloads/child/sitecustomize.py",
)
EXAMPLES = "from tuner.definition.loading import EXAMPLES; print(EXAMPLES)"
SMALL = ("d_model=16", "heads=2", "window=16", "stride=8", "epochs=1", "device=cpu")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: the build leaves folders behind, and takes what an earlier one left."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in (*ROOMS, "studies", "examples"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    _run([*pip, "--wheel-dir", str(folder), str(source)], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `python` and `tuner` of a new environment that holds the wheel.

    Its other packages are those of this environment, through a path of theirs. Python reads no `.pth` file
    there, so that a checkout which is installed as editable does not come in with them.
    """
    folder = tmp_path_factory.mktemp("environment")
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder)
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", paths))
    there = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "packages_of_the_tests.pth").write_text("\n".join(sorted(there)) + "\n")
    python = Path(sysconfig.get_path("scripts", "venv", paths)) / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    _run([*pip, "--no-index", "--ignore-installed", str(wheel)], folder)
    return python.parent


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder that the commands run in, one after the other."""
    return tmp_path_factory.mktemp("empty")


def _run(command: list[str], folder: Path) -> str:
    """Runs a command as a user's shell would, without this checkout on the path; returns its output."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TUNER_", "WANDB_", "PYTHON", "COV"))
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_module_and_file_of_the_checkout_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    code = {path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    studies = {f"tuner/studies/{path.name}" for path in (ROOT / "studies").glob("*.yaml")}
    studies |= {
        f"tuner/examples/{name}" for name in ("digits/train.py", "digits/sweep.yaml", "mill/study.yaml")
    }
    assert sorted((code | studies | set(NOT_CODE)) - held) == []
    others = {name for name in held if ".dist-info/" not in name}
    assert sorted(others - code - studies - set(NOT_CODE)) == []


def test_the_wheels_own_modules_are_used(scripts: Path, place: Path) -> None:
    code = f"import {', '.join(ROOMS)}; print(*(m.__file__ for m in ({', '.join(ROOMS)})))"
    files = _run([str(scripts / "python"), "-c", code], place).split()
    assert len(files) == len(ROOMS)
    assert [file for file in files if not Path(file).is_relative_to(scripts.parent)] == []


def test_the_tour_runs_from_an_empty_folder(scripts: Path, place: Path) -> None:
    def run(*arguments: str) -> str:
        return _run([str(scripts / "tuner"), *arguments], place)

    settings = [part for value in SMALL for part in ("--set", value)]
    examples = Path(_run([str(scripts / "python"), "-c", EXAMPLES], place).strip())
    assert examples.is_relative_to(scripts.parent)
    run("study", str(examples / "digits" / "sweep.yaml"), "--trials", "1", "--wandb", "off")
    assert "loss_weighting" in run("list")
    small = ("--operations", "adaptive", "face", "pocket", "--scale", "0.5")
    run("model", "synthesize", "--to", "data/simulator", "--recordings", "4", *small)
    run("study", str(examples / "mill" / "study.yaml"), "--data", "data/simulator", "--trials", "2",
        "--agents", "1", "--wandb", "offline", *settings)  # fmt: skip
    run("ensemble", "build", "--k", "2", "--study", "mill", "--name", "mill")
    run("model", "synthesize", "--csv", "recordings", "--recordings", "1", *small)
    recording = next((place / "recordings").glob("face_*"))
    lines = run("inference", "decode", str(recording), "--bundle", "mill", "--format", "jsonl").splitlines()
    assert lines and all(0 <= json.loads(line)["probability"] <= 1 for line in lines)


def test_the_campaign_is_found_from_any_folder(scripts: Path, place: Path) -> None:
    code = "from tuner.definition import loading as l; print(l.FOLDER); print(*l.shipped_campaign().studies)"
    folder, studies = _run([str(scripts / "python"), "-c", code], place).splitlines()
    assert Path(folder).is_relative_to(scripts.parent)
    assert "loss_weighting" in studies.split()


def test_the_engine_alone_needs_no_package_of_the_network() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[^\w-]", line)[0] for line in project["dependencies"]}
    assert needed & {"torch", "polars", "scikit-learn", "safetensors", "pandas", "optuna-dashboard"} == set()
    model = {re.split(r"[^\w-]", line)[0] for line in project["optional-dependencies"]["model"]}
    assert {"torch", "polars", "scikit-learn"} <= model


def pinned_versions() -> dict[str, str]:
    """The versions of `constraints.txt`, by normalised name."""
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins.items()}


def test_the_lock_has_the_versions_of_the_constraints_with_hashes() -> None:
    """`pip install --require-hashes -r requirements.lock` needs all of them; `make lock` writes them."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.findall(
        r"^([a-z0-9][^=\s]*)==(\S+).*\\((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)*)", text, re.M
    )
    locked = {canonicalize_name(name): version for name, version, hashes in entries if hashes}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = {
        canonicalize_name(Requirement(line).name)
        for line in [*project["dependencies"], *extras["model"], *extras["dashboard"]]
    }

    assert len(entries) == len(re.findall("^[^# ]", text, re.M)) == len(locked)
    assert asked - locked.keys() == set()
    pins = pinned_versions()
    assert {name: version for name, version in locked.items() if pins.get(name, version) != version} == {}


def test_what_is_tested_is_what_the_constraints_name() -> None:
    """`constraints.txt` pins every package that pyproject.toml asks for, each inside its bounds."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pinned = pinned_versions()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    wrong = []
    for requirement in map(Requirement, asked):
        name = canonicalize_name(requirement.name)
        if name not in ("optuna-sweeps", "setuptools") and (
            name not in pinned or not requirement.specifier.contains(pinned[name], prereleases=True)
        ):
            wrong.append(f"{requirement}: pinned {pinned.get(name)}")
    assert wrong == []
    assert [version for version in pinned.values() if "+" in version] == []
