"""GPUs that agents share: found without torch, one agent each by default, each agent sees its own."""

from __future__ import annotations

import io
import platform
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from model.workload import Training
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.run import launch, plan
from tuner.run.executors import gpus
from tuner.run.executors.local import suited
from tuner.run.request import Request
from tuner.show.live import PlainView
from tuner.storage.access import open_records

LISTED = "GPU-5a1f\nGPU-77c0\n"
SEEN = """
import os, time

def train(config, report):
    time.sleep(0.1)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
    open(f"{os.environ['SEEN']}/{seen}", "w").close()
    report(0, {"score": config["x"]})
    return {"score": config["x"]}
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`nvidia_smi(script)`: the shell script that is found by this name, and nothing else."""
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    monkeypatch.setattr(platform, "system", lambda: "Linux")

    def make(script: str) -> None:
        tool = tmp_path / "bin" / "nvidia-smi"
        tool.parent.mkdir()
        tool.write_text(f"#!/bin/sh\n{script}")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tool.parent))

    return make


def test_what_nvidia_smi_lists(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi(f"echo '{LISTED}'")
    assert gpus.here() == ("GPU-5a1f", "GPU-77c0")


@pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'"])
def test_a_driver_without_gpus(nvidia_smi: Callable[[str], None], script: str) -> None:
    nvidia_smi(script)
    assert gpus.here() == ()


@pytest.mark.parametrize(("hidden", "left"), [("", ()), ("-1", ()), ("3", ("3",)), ("0,2", ("0", "2"))])
def test_gpus_that_were_hidden_stay_hidden(
    nvidia_smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, hidden: str, left: tuple[str, ...]
) -> None:
    nvidia_smi(f"echo '{LISTED}'")
    monkeypatch.setenv(gpus.VISIBLE, hidden)
    assert gpus.here() == left


def test_one_agent_a_gpu_else_one_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert suited(300) == 16
    assert suited(300, ("0", "1")) == 2
    assert suited(1, ("0", "1")) == 1


def test_what_a_trial_takes_of_the_gpus_is_the_workloads_to_say(
    make_study: Callable[..., StudyFile], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    told = {"max_epochs: 4": "max_epochs: 4\n  resources: {gpus: 0.5}"}

    def slots(**replacements: str) -> tuple[str, ...]:
        request = Request(make_study(**replacements), url, tmp_path / "results")
        return plan.make(request, lambda line: None).gpus

    assert slots() == ("0", "1")
    assert slots(**told) == ("0", "0", "1", "1")
    assert slots(**{"max_epochs: 4": "max_epochs: 4\n  resources: {gpus: 2}"}) == ("0,1",)
    assert slots(**{"max_epochs: 4": "max_epochs: 4\n  resources: {gpus: 0}"}) == ()
    ours = Training(load_study_file("loss_weighting"))
    assert (ours.resources({}).gpus, ours.resources({"device": "cpu"}).gpus) == (1, 0)


@pytest.mark.parametrize(("names", "seen"), [(("7", "9"), {"7", "9"}), (("7",), {"none"})])
def test_each_agent_sees_the_gpu_that_is_its_own(
    make_study: Callable[..., StudyFile],
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
    seen: set[str],
) -> None:
    file = make_study()
    (tmp_path / "objective.py").write_text(SEEN)
    folder = tmp_path / "seen"
    folder.mkdir()
    monkeypatch.setenv("SEEN", str(folder))
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    monkeypatch.setattr(gpus, "here", lambda: names)
    request = Request(file, url, tmp_path / "results", trials=24, wandb="off", agents=2)
    assert launch.run(request, PlainView(Console(file=io.StringIO()))).fine
    study = optuna.load_study(study_name="small", storage=open_records(url))
    assert len(study.trials) == 24
    assert {path.name for path in folder.iterdir()} == seen
