"""Scripts, folders and terminals that do harm while a study runs, with real processes.

Each study ends: done, or with one line that says why not. No traceback of the tuner's, no process is left,
and nothing is written outside of the results folder.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from optuna.trial import TrialState
from reliability.processes import MARK, marked, send, wait_for

from tuner.storage.access import default_url, open_records
from tuner.storage.databases import NoStudiesYet

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300  # for a study of one or two trials on a busy machine
TRAIN = """
import json, os, signal, subprocess, sys, time
x = float(sys.argv[1].partition("=")[2])
def reports():
    print(json.dumps({"score": x}), flush=True)
"""
SWEEP = """\
program: train.py
name: small
method: random
run_cap: 2
metric: {name: score, goal: maximize}
parameters:
  x: {min: 0.0, max: 1.0}
"""
MANY_FAIL = "trials in a row failed"
PARENT = 'int(open(f"/proc/{os.getppid()}/stat").read().rpartition(")")[2].split()[1])'
STAYS = "\n    if os.fork() == 0:\n        time.sleep(600)\n"


@dataclass
class Place:
    """A folder of a user, with a home folder beside it."""

    folder: Path
    home: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    def start(self, *words: object, shell: str = "", **variables: str | None) -> subprocess.Popen[str]:
        """Starts a command of the tuner. `shell`: what a shell does before; variables of None are missing."""
        own = {"PYTHONPATH": str(ROOT), "HOME": str(self.home), MARK: self.mark, "OMP_NUM_THREADS": "1"}
        known = {**os.environ, **own, **variables}
        command = [sys.executable, "-m", "tuner", *map(str, words)]
        return subprocess.Popen(
            ["sh", "-c", f'{shell}\nexec "$@"', "sh", *command],
            cwd=self.folder,
            env={name: value for name, value in known.items() if value is not None},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *words: object, shell: str = "", **variables: str | None) -> tuple[int, str]:
        """A command's exit status, and what it said; fails the test where that is a traceback of ours."""
        process = self.start(*words, shell=shell, **variables)
        out, err = process.communicate(timeout=SECONDS)
        assert "Traceback" not in out + err, err
        assert sum(line.startswith("error: ") for line in err.splitlines()) == bool(process.returncode), err
        return process.returncode, out + err

    def states(self) -> list[TrialState]:
        """Of the trials of the study `small`, as soon as there is one."""
        try:
            records = open_records(default_url(self.folder / "results"))
            return [trial.state for trial in records.get_all_trials(records.get_study_id_from_name("small"))]
        except (KeyError, NoStudiesYet):
            return []

    def files(self) -> set[str]:
        outside = ("results", "__pycache__")
        every = [*self.folder.rglob("*"), *self.home.rglob("*")]
        return {str(path) for path in every if path.is_file() and not set(outside) & set(path.parts)}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path / "own", tmp_path / "home")
    found.folder.mkdir()
    found.home.mkdir()
    (found.folder / "sweep.yaml").write_text(SWEEP)
    (found.folder / "train.py").write_text(f"{TRAIN}reports()\n")
    before = found.files()
    yield found
    wait_for(lambda: not marked(found.mark), seconds=30)
    left = marked(found.mark)
    for pid in left:
        send(pid, signal.SIGKILL)
    assert not left, "processes were left"
    assert found.files() <= before, "files were written outside of the results folder"


STUDY = ("study", "sweep.yaml", "--agents", 1, "--wandb", "off")

SCRIPTS: dict[str, tuple[str, str]] = {  # what a script does, and what is said; "": its trials are complete
    "leaves by os._exit": ("reports()\nos._exit(0)", ""),
    "leaves by os._exit with nothing": ("os._exit(0)", MANY_FAIL),
    "leaves by SystemExit(0) with nothing": ("raise SystemExit(0)", MANY_FAIL),
    "leaves with a text of escape sequences": ("sys.exit('\\x1b[2J\\x1b]0;harm\\x07')", MANY_FAIL),
    "kills its parent": ("os.kill(os.getppid(), 9)\ntime.sleep(60)", MANY_FAIL),
    "kills its agent": (f"os.kill({PARENT}, 9)\ntime.sleep(60)", "agents keep dying"),
    "stops its parent": ("reports()\nos.kill(os.getppid(), signal.SIGSTOP)", ""),
    "kills its group": ("reports()\nos.killpg(0, 9)", MANY_FAIL),
    "forks, and the parent leaves": ("if os.fork():\n    os._exit(0)\ntime.sleep(1)\nreports()", MANY_FAIL),
    "forks forty that stay": (f"reports()\nfor _ in range(40):{STAYS}", ""),
    "closes all its files": ("reports()\nos.closerange(0, 256)\ntime.sleep(1)", ""),
    "waits for its input": ("input()", MANY_FAIL),
    "prints bytes that are no text": (
        "sys.stdout.buffer.write(b'\\xff\\xfe\\0\\n')\nsys.stdout.flush()\nreports()", ""
    ),
    "makes pipes of the tuner's files": (
        "import pathlib\nfor path in pathlib.Path('results/runs/small').glob('*/*.json*'):\n"
        "    path.unlink()\n    os.mkfifo(path)\nreports()", "",
    ),
    "makes pipes of the lines beside its checkpoint": (
        "import pathlib\nfiles = pathlib.Path(os.environ['TUNER_CHECKPOINT_DIR'])\n(files / 'x').touch()\n"
        "for name in ('reports.jsonl', 'metrics.jsonl'):\n    (files.parent / name).unlink(missing_ok=True)\n"
        "    os.mkfifo(files.parent / name)\nreports()", "",
    ),
    "makes folders of the tuner's files": (
        "import pathlib\nfor path in pathlib.Path('results/runs/small').glob('*.partial-*'):\n"
        "    (path / 'result.json' / 'x').mkdir(parents=True)\nreports()", MANY_FAIL,
    ),
}  # fmt: skip


@pytest.mark.hostile("scripts that exit, kill, fork, deform")
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that(name: str, place: Place) -> None:
    code, says = SCRIPTS[name]
    (place.folder / "train.py").write_text(f"{TRAIN}{code}\n")
    status, said = place.run(*STUDY)
    assert says in said and bool(status) == bool(says), said
    complete = place.states().count(TrialState.COMPLETE)
    assert complete == (0 if says else 2)


@pytest.mark.hostile("scripts that exit, kill, fork, deform")
def test_a_script_of_its_own_sweep_that_forks_is_run(place: Place) -> None:
    (place.folder / "own_sweep.py").write_text(
        "import os, time, wandb\n"
        "def train():\n"
        f"    run = wandb.init()\n    for _ in range(5):{STAYS.replace('    ', '        ')}"
        "    wandb.log({'score': run.config.x})\n"
        "sweep = wandb.sweep({'name': 'small', 'method': 'random', 'metric': {'name': 'score'},"
        " 'parameters': {'x': {'min': 0.0, 'max': 1.0}}})\n"
        "wandb.agent(sweep, train, count=2)\n"
    )
    status, said = place.run("run", "--agents", 1, "own_sweep.py", WANDB_MODE="disabled")
    assert status == 0 and place.states() == [TrialState.COMPLETE] * 2, said
    (place.folder / "own_sweep.py").unlink()


AROUND: dict[str, dict[str, str | None]] = {  # the study is done nevertheless
    "no HOME": {"HOME": None},
    "HOME is a device": {"HOME": "/dev/null"},
    "HOME cannot be written": {"HOME": "/proc"},
    "TMPDIR is not there": {"TMPDIR": "/nowhere"},
    "TMPDIR cannot be written": {"TMPDIR": "/proc", "TEMP": "/proc", "TMP": "/proc"},
    "no such locale": {"LC_ALL": "xx_YY.nope", "LANG": None},
    "output of ASCII": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    "no PATH": {"PATH": None},
    "no such time zone": {"TZ": "../../etc/passwd"},
    "a terminal of no width": {"COLUMNS": "-5", "LINES": "x", "TERM": "\x1b[2J"},
}


@pytest.mark.hostile("home, temporary folder, locale, limits")
@pytest.mark.parametrize("name", AROUND)
def test_a_study_runs_where(name: str, place: Place) -> None:
    status, said = place.run(*STUDY, **AROUND[name])
    assert status == 0 and place.states() == [TrialState.COMPLETE] * 2, said


SHELLS: dict[str, tuple[str, int]] = {  # what the shell has done, and the exit status
    "closed standard output": ("exec >&-", 0),
    "closed standard input": ("exec <&-", 0),
    "sent the output to a full disk": ("exec >/dev/full", 1),
    "allowed 20 open files": ("ulimit -n 20", 0),
    "allowed 12 open files": ("ulimit -n 12", 1),
    "allowed files of 4 KiB": ("ulimit -f 8", 1),
}


@pytest.mark.hostile("home, temporary folder, locale, limits")
@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_that(name: str, place: Place) -> None:
    shell, wanted = SHELLS[name]
    status, said = place.run(*STUDY, shell=shell)
    assert status == wanted, said


IS_HELD = f"{TRAIN}while os.path.exists('hold'):\n    time.sleep(0.1)\nreports()\n"
EDITS: dict[str, tuple[dict[str, str], str]] = {
    "a smaller space": ({"max: 1.0": "max: 0.5"}, "is being run at this moment with the file as it was"),
    "another metric": ({"name: score": "name: loss"}, "metric"),
    "fewer trials than are finished": ({"run_cap: 8": "run_cap: 1"}, "run_cap: now 1"),
    "what is no YAML": ({SWEEP: "[" * 99}, "nested"),
}


@pytest.mark.hostile("study files edited while they run")
@pytest.mark.parametrize("name", EDITS)
def test_a_study_file_that_is_edited_while_it_runs_becomes(name: str, place: Place) -> None:
    changes, says = EDITS[name]
    (place.folder / "train.py").write_text(IS_HELD)
    text = SWEEP.replace("run_cap: 2", "run_cap: 8")
    (place.folder / "sweep.yaml").write_text(text)
    running = place.start(*STUDY)
    wait_for(lambda: TrialState.COMPLETE in place.states())
    (place.folder / "hold").touch()
    for old, new in changes.items():
        text = new if old == SWEEP else text.replace(old, new)
    (place.folder / "sweep.yaml").write_text(text)
    _, said = place.run(*STUDY)
    assert says in said
    (place.folder / "hold").unlink()
    _, err = running.communicate(timeout=SECONDS)
    assert running.returncode == 0 and "Traceback" not in err, err
    states = place.states()
    assert not {TrialState.RUNNING, TrialState.FAIL} & set(states) and TrialState.COMPLETE in states


@pytest.mark.hostile("pause, stop, agent at once")
@pytest.mark.parametrize("hurry", [(), ("--now",)])
def test_verbs_at_once_lose_no_trial(hurry: tuple[str, ...], place: Place) -> None:
    (place.folder / "train.py").write_text(IS_HELD)
    (place.folder / "sweep.yaml").write_text(SWEEP.replace("run_cap: 2", "run_cap: 6"))
    (place.folder / "hold").touch()
    running = place.start(*STUDY)
    assert wait_for(lambda: TrialState.RUNNING in place.states(), seconds=SECONDS)
    agent = ("agent", "small", "--wandb", "off")
    verbs = [place.start(*verb) for verb in (agent, ("pause", "small"), ("stop", "small", *hurry), agent)]
    if hurry:  # it ends a trial that does not report, also when agents that start then forget the stop
        running.wait(timeout=SECONDS)
    (place.folder / "hold").unlink()
    for process in [running, *verbs]:
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0 and "Traceback" not in err, err
    status, said = place.run(*STUDY)
    assert status == 0 and place.states().count(TrialState.COMPLETE) == 6, said
    assert TrialState.FAIL not in place.states()


HARM = {  # what becomes of the folder of a paused trial, or of each of the files in it
    "are deleted": "shutil.rmtree(folder)",
    "are a file": "shutil.rmtree(folder), folder.write_text('')",
    "are cut off": "[os.truncate(path, path.stat().st_size // 2) for path in files]",
    "are garbage": "[path.write_bytes(b'\\0\\xff{' * 50) for path in files]",
    "are of other types": '[path.write_text(\'[1]\\n{"epoch": "x"}\\n{"epoch": 0}\\n\') for path in files]',
    "are folders": "[(path.unlink(), path.mkdir()) for path in files]",
    "are pipes": "[(path.unlink(), os.mkfifo(path)) for path in files]",
    "are endless": "[(path.unlink(), path.symlink_to('/dev/zero')) for path in files]",
}
KEEPS = """
import os, shutil
def train(config, report, checkpoint):
    state, begin = checkpoint / "epochs", 0
    for folder in [] if state.exists() else checkpoint.parent.parent.glob("[!3]*"):
        if checkpoint.parent.name[0] == "3":
            files = [path for path in folder.rglob("*") if path.is_file()]
            HARM
    if state.is_file():
        try:
            begin = int(state.read_text())
        except ValueError:
            pass
    for epoch in range(begin, 9):
        if not state.is_dir():
            state.unlink(missing_ok=True)
            state.write_text(str(epoch + 1))
        report(epoch, {"score": config["x"] * (1 - 0.8 ** (epoch + 1))})
"""
THAWS = """\
{name: small, method: bayes, run_cap: 4, metric: {name: score, goal: maximize},
 parameters: {x: {min: 0.0, max: 1.0}},
 tuner: {objective: "train.py:train", sampler: freeze_thaw, max_epochs: 9,
         pruner: {type: hyperband, min_resource: 1, max_resource: 9}}}
"""


@pytest.mark.hostile("checkpoints and disks harmed")
@pytest.mark.parametrize("name", HARM)
def test_a_study_goes_on_when_the_checkpoints_of_paused_trials(name: str, place: Place) -> None:
    (place.folder / "train.py").write_text(KEEPS.replace("HARM", HARM[name]))
    (place.folder / "sweep.yaml").write_text(THAWS)
    status, said = place.run(*STUDY)
    assert status == 0 and "continuing trial" in said, said
    ended = [state for state in place.states() if state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(ended) == 4, said
