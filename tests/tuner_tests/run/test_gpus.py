"""GPUs that agents share: found without torch, one agent each by default, each agent sees its own."""

from __future__ import annotations

import io
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from model.workload import Training
from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.run import launch, plan
from tuner.run.executors import gpus
from tuner.run.executors.gpus import GpuLeases
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


def test_amds_gpus_are_those_with_simd_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (gpus.VISIBLE, gpus.HIP_VISIBLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    monkeypatch.setattr(gpus, "KFD", tmp_path)
    for node, units in enumerate([0, 304, 304]):  # the first is the processor
        (tmp_path / str(node)).mkdir()
        (tmp_path / str(node) / "properties").write_text(f"cpu_cores_count 8\nsimd_count {units}\n")
    assert gpus.here() == ("0", "1")
    assert gpus.variables("1") == {"CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setenv(gpus.HIP_VISIBLE, "2,3")
    assert gpus.here() == ("2", "3")
    assert gpus.variables("3") == {"CUDA_VISIBLE_DEVICES": "3", "HIP_VISIBLE_DEVICES": "3"}


@pytest.mark.parametrize(("share", "fit"), [(0.5, 2), (1 / 3, 3), (0.34, 2), (0.4, 2), (0.6, 1), (0.75, 1)])
def test_as_many_shares_as_fit_on_a_gpu(share: float, fit: int) -> None:
    assert gpus.slots(("0",), share) == ("0",) * fit


def test_more_gpus_than_there_are_is_refused_and_none_is_said(
    make_study: Callable[..., StudyFile], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_study(**{"max_epochs: 4": "max_epochs: 4\n  resources: {gpus: 2}"})
    request, said = Request(file, url, tmp_path / "results"), list[str]()
    monkeypatch.setenv(gpus.VISIBLE, "3")
    with pytest.raises(
        InputError, match=r"'tuner\.resources\.gpus': a trial takes 2 GPUs, this machine has 1"
    ):
        plan.make(request, said.append)
    monkeypatch.setenv(gpus.VISIBLE, "")
    assert plan.make(request, said.append).gpus == ()
    assert said == ["a trial needs 2 GPUs, but this machine has none: trials run without"]


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


@pytest.fixture
def leases_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's studies share GPUs, apart from those of this machine's user."""
    folder = tmp_path / "leases"
    monkeypatch.setattr(gpus, "_own_folder", lambda: folder)
    return folder


def test_agents_of_several_studies_share_gpus_by_their_shares(leases_folder: Path) -> None:
    whole = GpuLeases(("0", "1"), 1, agents=2, study="whole")
    halves = GpuLeases(("0", "0", "1", "1"), 0.5, agents=4, study="halves")
    first, half, other = whole.take(), halves.take(), halves.take()
    assert [lease.gpus for lease in (first, half, other) if lease] == ["0", "1", "1"]
    assert halves.take() is None
    assert whole.take() is None
    assert [holder.partition(" ")[0] for holder in whole.holders()] == ["whole", "halves"]
    assert first
    whole.give_back(first)
    again = halves.take()
    assert again
    assert again.gpus == "0"
    assert whole.take() is None, "a half of each is taken, which leaves no whole one"


def test_thirds_fill_a_gpu_and_pairs_take_two(leases_folder: Path) -> None:
    thirds = GpuLeases(gpus.slots(("0",), 1 / 3), 1 / 3, agents=3, study="thirds")
    assert [thirds.take() is not None for _ in range(4)] == [True, True, True, False]
    pairs = GpuLeases(gpus.slots(("4", "5", "6"), 2), 2, agents=1, study="pairs")
    taken = pairs.take()
    assert taken
    assert (taken.gpus, taken.share) == ("4,5", 1)
    assert pairs.take() is None


def test_agents_that_were_asked_for_share_what_is_there(leases_folder: Path) -> None:
    asked = GpuLeases(("0", "1"), 1, agents=4, study="four")
    taken = [asked.take() for _ in range(5)]
    assert [lease.gpus if lease else None for lease in taken] == ["0", "1", "0", "1", None]


def test_a_killed_study_leaves_its_gpus_to_the_next(leases_folder: Path) -> None:
    killed = GpuLeases(("0",), 1, agents=1, study="killed")
    assert killed.take()
    file = leases_folder / "gpus.json"
    file.write_text(
        file.read_text().replace('"started": "', '"started": "1')
    )  # an earlier process had this id
    assert GpuLeases(("0",), 1, agents=1, study="next").take()


def test_a_study_waits_for_the_gpu_that_another_one_has(
    make_study: Callable[..., StudyFile],
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leases_folder: Path,
) -> None:
    monkeypatch.setattr(gpus, "here", lambda: ("7",))
    other = GpuLeases(("7",), 1, agents=1, study="other")
    held = other.take()
    assert held
    out = io.StringIO()

    def finish_other() -> None:
        while "waits" not in out.getvalue():
            time.sleep(0.01)
        other.give_back(held)

    thread = threading.Thread(target=finish_other, daemon=True)
    thread.start()
    request = Request(make_study(), url, tmp_path / "results", trials=3, wandb="off")
    assert launch.run(request, PlainView(Console(file=out, width=200))).fine
    assert "agent 0 waits: no GPU is free: other (process" in out.getvalue()
    assert "gpus: 0" in out.getvalue()
    assert other.holders() == [], "the study gave its GPU back"


@pytest.mark.slow
@pytest.mark.parametrize(("names", "seen"), [(("7", "9"), {"7", "9"}), (("7",), {"none"})])
def test_each_agent_sees_the_gpu_that_is_its_own(
    make_study: Callable[..., StudyFile],
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leases_folder: Path,
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
