"""Everything that a trial started ends with it, whoever dies first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.base import left_over
from tuner.base.left_over import LeftOver
from tuner.storage.leases import Observer, Owner

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="orphans are found on Linux only"),
]

# A script that ignores SIGTERM, its child in the background, and one that left its session and its parent.
STUBBORN = """
    import json, os, pathlib, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sleep = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
    background = subprocess.Popen([sys.executable, "-S", "-c", sleep])
    away = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-S', '-c', sys.argv[1]], " \\
           "start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
    orphan = subprocess.run([sys.executable, "-S", "-c", away, sleep], capture_output=True, text=True).stdout
    pids = pathlib.Path("pids.new")
    pids.write_text(f"{os.getpid()} {background.pid} {orphan}")
    pids.rename("pids")
    print(json.dumps({"acc": 1}), flush=True)
    time.sleep(EPOCH)
    print(json.dumps({"acc": 2}), flush=True)
"""


def pids_in(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def test_a_killed_agent_leaves_nothing(
    sandbox: Any, is_running: Callable[[int], bool], wait_until: Callable[..., bool]
) -> None:
    sandbox.script(STUBBORN.replace("EPOCH", "300"))
    agent = f"""
from pathlib import Path
from tuner.definition.metric import Metric
from tuner.workloads.script_trial import Script
folder = Path({str(sandbox.folder)!r})
run = Script(study="s", program="train.py", command=None, folder=folder, metric=Metric("acc"))
run({{}}, lambda *_: None, run_folder=Path({str(sandbox.run_folder)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", agent])
    assert wait_until((sandbox.folder / "pids").exists)
    process.kill()
    process.wait()

    assert wait_until(lambda: not any(map(is_running, pids_in(sandbox.folder))), 5)


def test_a_finished_script_leaves_nothing_that_ran_away(
    sandbox: Any, is_running: Callable[[int], bool]
) -> None:
    sandbox.script(STUBBORN.replace("EPOCH", "0"))

    assert sandbox.run() == {"acc": 2}

    assert not any(map(is_running, pids_in(sandbox.folder)))


def test_a_killed_keeper_takes_the_script_along(
    sandbox: Any, is_running: Callable[[int], bool], wait_until: Callable[..., bool]
) -> None:
    """Out of memory, the kernel may choose it; its script must not run on unseen."""
    sandbox.script("""
        import json, os, time
        print(json.dumps({"acc": 1, "pid": os.getpid(), "keeper": os.getppid()}))
        time.sleep(300)
    """)

    def kill(epoch: int, metrics: dict[str, float]) -> None:
        os.kill(int(metrics["keeper"]), signal.SIGKILL)

    with pytest.raises(Exception, match="killed by SIGKILL"):
        sandbox.run(report=kill)

    assert wait_until(lambda: not is_running(int(sandbox.rows[0]["pid"])))


@pytest.mark.parametrize("how", ["Ctrl-C twice", "kill -9 of the agent"])
def test_a_stopped_study_leaves_nothing(
    tmp_path: Path, how: str, is_running: Callable[[int], bool], wait_until: Callable[..., bool]
) -> None:
    (tmp_path / "train.py").write_text(textwrap.dedent(STUBBORN).replace("EPOCH", "300"))
    (tmp_path / "sweep.yaml").write_text(
        textwrap.dedent("""
            program: train.py
            method: random
            metric: {name: acc, goal: maximize}
            parameters: {x: {min: 0.0, max: 1.0}}
        """)
    )
    command = [sys.executable, "-m", "tuner", "study", "sweep.yaml", "--trials", "2", "--agents", "1"]
    study = subprocess.Popen(
        [*command, "--wandb", "off"], cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        assert wait_until((tmp_path / "pids").exists, 60)
        first = pids_in(tmp_path)
        if how == "Ctrl-C twice":
            for _ in range(2):
                study.send_signal(signal.SIGINT)
                time.sleep(0.5)
            study.wait(20)
            assert wait_until(lambda: not any(map(is_running, first)), 5)
        else:
            os.kill(parent(parent(first[0])), signal.SIGKILL)
            assert wait_until(lambda: not any(map(is_running, first)), 5)
    finally:
        if study.poll() is None:
            study.send_signal(signal.SIGINT)
            time.sleep(0.3)
            study.send_signal(signal.SIGINT)
            study.wait(20)
    assert wait_until(lambda: not any(map(is_running, pids_in(tmp_path))), 5)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# -- functions: what they start is not watched by a keeper

HELPERS = """
    import os, pathlib, subprocess, sys, time

    STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"

    def train(config, report):
        helpers = [subprocess.Popen([sys.executable, "-S", "-c", STUBBORN], start_new_session=new).pid
                   for new in (False, True)]
        pids = pathlib.Path("pids.new")
        pids.write_text(" ".join(map(str, [os.getpid(), *helpers])))
        pids.rename("pids")
        report(0, {"acc": config["x"]})
        time.sleep(EPOCH)
        return {"acc": config["x"]}
"""
SWEEP = """
    method: random
    metric: {name: acc, goal: maximize}
    parameters: {x: {min: 0.0, max: 1.0}}
    tuner: {objective: "objective.py:train"}
"""


def study_of_helpers(folder: Path, epoch: int, *more: str) -> subprocess.Popen[bytes]:
    (folder / "objective.py").write_text(textwrap.dedent(HELPERS).replace("EPOCH", str(epoch)))
    (folder / "sweep.yaml").write_text(textwrap.dedent(SWEEP))
    command = [sys.executable, "-m", "tuner", "study", "sweep.yaml", "--trials", "1", "--agents", "1", *more]
    return subprocess.Popen(
        [*command, "--wandb", "off"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_helpers_of_a_function_end_with_the_study(tmp_path: Path, is_running: Callable[[int], bool]) -> None:
    assert study_of_helpers(tmp_path, 0).wait(60) == 0

    assert not any(map(is_running, pids_in(tmp_path)))


def test_a_trial_of_a_killed_agent_begins_anew_when_its_helpers_are_gone(
    tmp_path: Path, is_running: Callable[[int], bool], wait_until: Callable[..., bool]
) -> None:
    study = study_of_helpers(tmp_path, 300)
    try:
        assert wait_until((tmp_path / "pids").exists, 60)
        first = pids_in(tmp_path)
        (tmp_path / "pids").unlink()
        os.kill(first[0], signal.SIGKILL)

        assert wait_until((tmp_path / "pids").exists, 60)
        assert not any(map(is_running, first))
    finally:
        for _ in range(2):
            study.send_signal(signal.SIGINT)
            time.sleep(0.3)
        study.wait(30)
    assert not any(map(is_running, pids_in(tmp_path)))


def test_whoever_finds_a_dead_agent_ends_what_it_left_first(
    tmp_path: Path, is_running: Callable[[int], bool], wait_until: Callable[..., bool]
) -> None:
    """Supervisor and agent are killed at once: the next start finds the trial and its helpers."""
    study = study_of_helpers(tmp_path, 300)
    assert wait_until((tmp_path / "pids").exists, 60)
    first = pids_in(tmp_path)
    for pid in (study.pid, first[0]):
        os.kill(pid, signal.SIGKILL)
    study.wait()
    (tmp_path / "pids").unlink()

    again = study_of_helpers(tmp_path, 0)

    assert wait_until((tmp_path / "pids").exists, 60)
    assert not any(map(is_running, first))
    assert again.wait(60) == 0


@pytest.mark.parametrize("epoch", [0, 300])
def test_helpers_of_a_killed_agent_end_also_where_nobody_comes_again(
    tmp_path: Path, epoch: int, wait_until: Callable[..., bool]
) -> None:
    """Supervisor and agent are killed at once, in a trial or after it: no lease names them then."""
    study = study_of_helpers(tmp_path, epoch, "--trials", "1000")
    assert wait_until((tmp_path / "pids").exists, 60)
    for pid in (study.pid, pids_in(tmp_path)[0]):
        os.kill(pid, signal.SIGKILL)
    study.wait()

    assert wait_until(lambda: not helpers_of(tmp_path), 20)


def helpers_of(folder: Path) -> list[str]:
    """The helpers of all trials of the study there that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").resolve() == folder.resolve():
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return [line for line in found if "SIG_IGN" in line]


def test_a_dead_owner_is_gone_when_nothing_with_its_mark_is_left(
    is_running: Callable[[int], bool], wait_until: Callable[..., bool]
) -> None:
    mark, clock = left_over.new_mark(), [0.0]
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "
    helper = subprocess.Popen(
        [sys.executable, "-S", "-c", stubborn + "time.sleep(300)"],
        env={**os.environ, left_over.VARIABLE: f"{mark}/of-an-agent-inside"},
        stdout=subprocess.PIPE,
    )
    assert helper.stdout is not None
    helper.stdout.readline()
    lease = replace(Owner.this_process(mark=mark), pid=2**22 + 1, started="1").lease(0)
    observer = Observer(clock=lambda: clock[0])

    assert observer.gone(1, lease) is None
    assert observer.gone(1, lease) is None
    assert is_running(helper.pid)
    clock[0] += left_over.TERM_SECONDS + 1
    assert observer.gone(1, lease) is None
    assert wait_until(lambda: not is_running(helper.pid))
    assert observer.gone(1, lease) == f"process {2**22 + 1} has died"
    helper.wait()
    helper.stdout.close()


def test_a_mark_is_not_that_of_others() -> None:
    sleeper = subprocess.Popen(
        [sys.executable, "-S", "-c", "import time; time.sleep(300)"],
        env={**os.environ, left_over.VARIABLE: "abc1"},
    )
    try:
        assert left_over.processes("abc") == []
        assert LeftOver("").gone()
    finally:
        sleeper.kill()
        sleeper.wait()
