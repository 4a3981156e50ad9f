"""The process between an agent and its script: what is written, how it ends, and what it leaves."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuner.workloads import keeper

SECRET = "correct-horse-battery"
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(code)`: the keeper with a script; its log is `output.log`, its scratch folder `scratch`."""
    started: list[subprocess.Popen[bytes]] = []
    (tmp_path / "scratch").mkdir()

    def start(
        code: str = "", *, command: list[str] | None = None, grace: float = 30.0, agent: int | None = None
    ) -> Any:
        settings = {
            "output": str(tmp_path / "output.log"),
            "scratch": str(tmp_path / "scratch"),
            "passed": [],
            "grace": grace,
            "mark": "none",
            "agent": agent or os.getpid(),
        }
        if command is None:
            command = [sys.executable, "-u", "-c", textwrap.dedent(code)]
        # an agent starts it by its path, with -I and -S; this way its coverage is measured
        process = subprocess.Popen(
            [sys.executable, "-m", keeper.__name__, json.dumps(settings), *command],
            stdin=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "MY_API_TOKEN": SECRET},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def log(folder: Path) -> str:
    return (folder / "output.log").read_text()


def until_said(folder: Path, word: str) -> None:
    while not (folder / "output.log").exists() or word not in log(folder):
        pass


def test_it_ends_with_the_scripts_status_and_writes_no_secret(start: Start, tmp_path: Path) -> None:
    script = start(
        """
        import os, sys
        print("my token is", os.environ["MY_API_TOKEN"])
        sys.stderr.write("no end of line")
        sys.exit(3)
        """
    )
    assert script.wait(120) == 3
    assert SECRET not in log(tmp_path)
    assert log(tmp_path).startswith("my token is ")
    assert log(tmp_path).endswith("no end of line")


def test_it_ends_by_the_scripts_signal(start: Start) -> None:
    assert start("import os; os.kill(os.getpid(), 10)").wait(120) == -10


def test_a_command_that_is_not_there_is_a_line(start: Start, tmp_path: Path) -> None:
    assert start(command=["no-such-program"]).wait(120) == 127
    assert log(tmp_path) == "no-such-program: No such file or directory\n"


def test_a_script_that_is_told_to_end_may_clean_up(start: Start, tmp_path: Path) -> None:
    script = start(
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (print("saved"), sys.exit(0)))
        print("ready")
        time.sleep(300)
        """
    )
    until_said(tmp_path, "ready")
    assert script.stdin is not None
    script.stdin.write(b"%d\n" % signal.SIGTERM)
    script.stdin.flush()
    assert script.wait(120) == 0
    assert log(tmp_path) == "ready\nsaved\n"
    assert (tmp_path / "scratch").exists(), "the agent is there and removes it"


def test_one_that_does_not_is_killed_after_the_grace_time(start: Start, tmp_path: Path) -> None:
    script = start(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready'); time.sleep(300)", grace=0.1
    )
    until_said(tmp_path, "ready")
    assert script.stdin is not None
    script.stdin.write(b"15\n")
    script.stdin.flush()
    assert script.wait(120) == -signal.SIGKILL


def test_without_its_agent_the_script_ends_and_its_scratch_folder_goes(start: Start, tmp_path: Path) -> None:
    script = start(
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        print("ready")
        time.sleep(300)
        """
    )
    until_said(tmp_path, "ready")
    assert script.stdin is not None
    script.stdin.close()
    assert script.wait(120) == 5
    assert not (tmp_path / "scratch").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are found on Linux only")
def test_what_a_script_leaves_running_ends_with_it(start: Start, tmp_path: Path) -> None:
    script = start(
        """
        import subprocess, sys
        ignoring = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
        child = subprocess.Popen([sys.executable, "-c", ignoring], start_new_session=True, stdout=subprocess.PIPE)
        child.stdout.readline()
        print("child", child.pid)
        """  # noqa: E501
    )
    assert script.wait(120) == 0
    child = int(log(tmp_path).split()[-1])
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


class Plain:
    """A mask that hides nothing."""

    longest = 0

    def data(self, data: bytes) -> bytes:
        return data


def test_endless_output_is_cut_but_for_metrics_and_the_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "OUTPUT_LIMIT", 1000)
    output = keeper.Output(tmp_path / "output.log", Plain())
    for number in range(200):
        output.take(b"line %d\n" % number)
    output.take(b'{"loss": 1}\n')
    output.take(b"the reason\n")
    output.close()
    kept = log(tmp_path)
    assert kept.startswith("line 0\n")
    assert "[the output is cut here" in kept
    assert '{"loss": 1}\n' in kept
    assert kept.endswith("the reason\n")
    assert len(kept) < 1000 + keeper.LAST_BYTES + 200


@pytest.mark.parametrize("size", [1 << 10, 1 << 16, 10_000_000])
def test_a_line_of_megabytes_is_cut_and_the_next_is_whole(tmp_path: Path, size: int) -> None:
    lines = [
        b"x" * keeper.LONGEST_LINE,
        b"y" * (keeper.LONGEST_LINE + 1),
        b'{"loss": 1}',
        b"z" * 3_000_000,
        b"end",
    ]
    printed = b"\n".join(lines)
    output = keeper.Output(tmp_path / "output.log", Plain())
    for start in range(0, len(printed), size):
        output.take(printed[start : start + size])
    output.close()
    written = (tmp_path / "output.log").read_bytes().split(b"\n")
    assert (written[0], written[2], written[4]) == (lines[0], lines[2], lines[4])
    for cut, letter in ((written[1], b"y"), (written[3], b"z")):
        assert cut == letter * keeper.LONGEST_LINE + b" [the line is cut here]"
    assert (tmp_path / "output.log").stat().st_mode & 0o077 == 0


def test_a_line_of_megabytes_does_not_wait_for_its_end(tmp_path: Path) -> None:
    output = keeper.Output(tmp_path / "output.log", Plain())
    output.take(b"x" * (keeper.CHUNK + 1))
    assert (tmp_path / "output.log").stat().st_size == keeper.CHUNK + 1


def test_an_agent_that_dies_before_its_log_has_begun_leaves_nothing(start: Start) -> None:
    """The end of this pipe is still held by another process, as by what a function has started."""
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()
    process = start(command=[], agent=gone.pid)
    assert process.wait(timeout=60) == 0
