"""Processes that are forked from a server which has imported what an agent needs, and spawned ones."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from tuner.base import left_over
from tuner.run.executors import processes

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


def describe(to: Connection) -> None:
    """Sends what a process finds about itself, then ends when it is told."""
    to.send(
        {
            "environment": dict(os.environ),
            "folder": str(Path.cwd()),
            "drawn": float(np.random.random()),
            "blas": [pool["num_threads"] for pool in threadpoolctl.threadpool_info()],
            "optuna": "optuna" in sys.modules,
            "main": getattr(sys.modules["__main__"], "__file__", None),
        }
    )
    to.recv()


def fork_alone(to: Connection) -> None:
    """Forks a process that leaves its session and its parent, as a daemon does, and sends its id."""
    if (between := os.fork()) == 0:
        os.setsid()
        if os.fork() == 0:
            to.send(os.getpid())
            to.recv()
        os._exit(0)
    os.waitpid(between, 0)  # it has the mark, too, until it has ended


@pytest.fixture(params=["forked", "spawned"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(processes, "_preloaded", False)
    monkeypatch.syspath_prepend(ROOT)  # a process imports this file by its name, which pytest does not need
    if request.param == "forked":
        processes.preload()
    return str(request.param)


def started(target: Any, **options: Any) -> tuple[Any, str, Connection]:
    ours, theirs = multiprocessing.Pipe()
    process, mark = processes.start(target, (theirs,), threads=1, name="test", **options)
    theirs.close()
    return process, mark, ours


def test_a_process_has_its_own_environment_folder_threads_and_numbers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_HERE", "now")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)
    runs = [started(describe, variables={"CUDA_VISIBLE_DEVICES": str(gpu)}) for gpu in range(2)]
    found = [ours.recv() for _, _, ours in runs]
    for gpu, ((process, mark, ours), one) in enumerate(zip(runs, found, strict=True)):
        expected = {"FROM_HERE": "now", "CUDA_VISIBLE_DEVICES": str(gpu), "OMP_NUM_THREADS": "1"}
        assert expected.items() <= one["environment"].items()
        assert one["environment"][left_over.VARIABLE] == mark
        assert {"PYTHONSAFEPATH", "PYTHONPATH"} & set(one["environment"]) <= set(os.environ)
        assert Path(one["folder"]) == tmp_path
        assert set(one["blas"]) == {1}
        assert one["optuna"] == (kind == "forked")
        assert one["main"] is None  # the main program's file does not run again
        assert left_over.processes(mark) == [process.pid]
        ours.send("end")
        process.join()
        assert process.exitcode == 0
    assert found[0]["drawn"] != found[1]["drawn"]


def test_what_a_process_forked_is_found_by_its_mark(kind: str) -> None:
    process, mark, ours = started(fork_alone)
    alone = ours.recv()
    process.join()
    assert left_over.processes(mark) == [alone]
    assert left_over.LeftOver(mark).end()
    assert left_over.processes(mark) == []


SCRIPT = """
import sys
from tuner.run.executors import processes

if __name__ == "__main__":
    processes.preload()
    process, _ = processes.start(print, ("started",), threads=1, name="test")
    process.join()
    sys.exit(process.exitcode)
"""


def run_script(folder: Path, **variables: str) -> None:
    """A program that starts a process, run in `folder`."""
    (folder / "elsewhere").mkdir(exist_ok=True)
    (folder / "elsewhere" / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "elsewhere/script.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (0, "started\n"), ended.stderr


def test_the_server_imports_nothing_from_the_users_folder(tmp_path: Path) -> None:
    for name in ("numpy", "optuna", "selectors", "tuner"):
        (tmp_path / f"{name}.py").write_text(f"open('imported-{name}', 'w')\n")
    run_script(tmp_path)
    assert not list(tmp_path.glob("imported-*"))


def test_where_there_can_be_no_server_processes_are_spawned(tmp_path: Path) -> None:
    long = tmp_path / ("a-folder-whose-name-is-too-long-for-a-socket" * 3)
    long.mkdir()
    run_script(tmp_path, TMPDIR=str(long))
