"""`tuner referee run`: two sides of a git repository are run in pairs, and the referee is asked."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.base.command_line import Parser, add_common_options
from tuner.base.errors import InputError, WorkFailed
from tuner.plugins.referee import repository, run_once
from tuner.plugins.referee import run as command
from tuner.run.executors import choice, gpus

pytestmark = pytest.mark.usefixtures("agents_in_this_process")

TRAIN = """
import argparse, pathlib, random
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
noise = random.Random(parser.parse_args().seed).gauss(0, 0.01)
offset = float(pathlib.Path("data/offset.txt").read_text())
print("epoch 0 val_loss: 9.0")
print(f"epoch 1 val_loss: {LOSS + noise + offset:.4f} lr=0.1")
"""
COMMAND = ("--", sys.executable, "train.py")
Referee = Callable[..., int]


def duel(*, pairs: int) -> list[str]:
    """The command of a process of its own."""
    run = [sys.executable, "-m", "tuner", "referee", "run", "--metric", "val_loss"]
    return [*run, "--pairs", str(pairs), *COMMAND]


def git(folder: Path, *words: str) -> str:
    found = repository.git(folder, "-c", "user.name=a", "-c", "user.email=a@b.c", *words)
    assert found is not None, words
    return found.strip()


def train(loss: float, text: str = TRAIN) -> str:
    return text.replace("LOSS", str(loss))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's repository with one commit; its data are ignored by git."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "offset.txt").write_text("0")
    (folder / ".gitignore").write_text("data\n")
    (folder / "train.py").write_text(train(0.5))
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "a baseline")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def noise_is_known(project: Path) -> None:
    """A history in which the baseline was run often enough to tell the noise of a run."""
    head = git(project, "rev-parse", "--short=7", "HEAD")
    values = (0.50, 0.51, 0.49, 0.505, 0.495, 0.5, 0.51, 0.49)
    rows = [f"{head}\t{value}\tkeep\tbaseline" for value in values]
    (project / "results.tsv").write_text("\n".join(["commit\tval_loss\tstatus\tdescription", *rows]) + "\n")


@pytest.fixture
def referee(project: Path) -> Referee:
    """`referee(*words)`: the exit status of `tuner referee run` with these words."""

    def call(*words: str) -> int:
        parser = Parser()
        add_common_options(parser)
        command.add_run_options(parser)
        options: argparse.Namespace = parser.parse_args(words)
        return command.run(options)

    return call


def rows(project: Path, kind: str = "run") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (project / "referee.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


@pytest.mark.slow
@pytest.mark.usefixtures("noise_is_known")
def test_uncommitted_changes_are_kept_once_also_after_they_are_committed(
    project: Path, referee: Referee
) -> None:
    (project / "train.py").write_text(train(0.4))
    assert referee(*COMMAND) == 0
    runs, (ruling,) = rows(project), rows(project, "ruling")
    head = git(project, "rev-parse", "--short=7", "HEAD")
    assert ruling["word"] == "keep" and ruling["against"] == head
    seeds = {name: [run["seed"] for run in runs if run["arm"] == name] for name in (head, ruling["arm"])}
    assert seeds[head] == seeds[ruling["arm"]] == list(range(1001, 1001 + len(seeds[head])))
    assert git(project, "status", "--porcelain", "train.py") == "M train.py"  # as before
    assert git(project, "stash", "list") == ""
    before = (project / "referee.jsonl").read_text()
    assert referee(*COMMAND) == 0
    git(project, "commit", "--quiet", "--all", "-m", "less loss")
    assert referee(*COMMAND) == 0
    assert (project / "referee.jsonl").read_text() == before
    assert referee("--candidate", "HEAD~1", *COMMAND) == 10  # it was replaced


@pytest.mark.usefixtures("noise_is_known")
def test_runs_of_the_incumbent_serve_the_next_candidate(project: Path, referee: Referee) -> None:
    head = git(project, "rev-parse", "--short=7", "HEAD")
    for loss in (0.6, 0.7):
        (project / "train.py").write_text(train(loss))
        assert referee(*COMMAND) == 10
    assert [run["arm"] == head for run in rows(project)] == [True, False, False]
    assert git(project, "worktree", "list").count("worktrees") == 1  # the incumbent's


@pytest.mark.slow
def test_pairs_that_decide_nothing_are_gone_on_with(project: Path, referee: Referee) -> None:
    (project / "train.py").write_text(train(0.501))
    assert referee("--metric", "val_loss", "--pairs", "1", *COMMAND) == 11
    assert referee("--pairs", "2", *COMMAND) in (10, 11)
    seeds = [(run["arm"], run["seed"]) for run in rows(project)]
    assert len(seeds) == len(set(seeds)) == 4


@pytest.mark.usefixtures("noise_is_known")
def test_a_candidate_that_changes_how_it_is_measured_is_refused(project: Path, referee: Referee) -> None:
    (project / "train.py").write_text(train(0.1))
    (project / "evaluate.py").write_text("GOOD = True\n")
    git(project, "add", ".")
    assert referee(*COMMAND) == 13
    (ruling,) = rows(project, "ruling")
    assert not rows(project) and "evaluate.py" in ruling["reason"]


def test_the_files_that_measure_can_be_named(project: Path) -> None:
    first = git(project, "rev-parse", "HEAD")
    for name in ("tools/score_all.py", "train.py", "my_test.py"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("pass\n")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "all")
    arms = ["no_commit", first, "HEAD"]
    assert repository.edited_since_first(project, arms) == {"HEAD": ["tools/score_all.py"]}
    assert repository.edited_since_first(project, arms, ["my_*.py"]) == {"HEAD": ["my_test.py"]}
    assert repository.edited_since_first(project, arms[::2]) == {}
    (project / "eval").mkdir()
    git(project, "mv", "tools/score_all.py", "train_all.py")
    (project / "eval" / "run é.ipynb").write_text("{}\n")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "a renamed file, a notebook")
    found = repository.edited_since_first(project, ["HEAD~1", "HEAD"])
    assert found == {"HEAD": ["eval/run é.ipynb", "tools/score_all.py"]}


def test_a_candidate_that_fails_is_said_and_tried_again(project: Path, referee: Referee) -> None:
    (project / "train.py").write_text("raise SystemExit('no such layer')\n")
    for count in (1, 2):
        assert referee("--metric", "val_loss", *COMMAND) == 12
        failed = [run for run in rows(project) if run["value"] is None]
        assert [run["status"] for run in failed] == ["failed"] * count


def test_an_incumbent_that_fails_is_an_error_with_the_place_of_its_output(
    project: Path, referee: Referee
) -> None:
    (project / "train.py").write_text(train(0.4) + "#")
    with pytest.raises(WorkFailed, match=r"the incumbent \w+ fails: .*no_such.*output\.log"):
        referee("--metric", "val_loss", "--", "no_such_program", "train.py")


@pytest.mark.slow
def test_a_run_that_is_far_behind_is_ended_early(
    project: Path, referee: Referee, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = (
        TRAIN.partition("noise")[0]
        + """
seed = parser.parse_args().seed
noise = random.Random(seed + bool(GAIN)).gauss(0, 0.01) - GAIN
far = 9 if GAIN and seed > 1003 else 0
for epoch in range(6):
    print(f"val_loss: {2 - epoch / 4 + far + noise}", flush=True)
    __import__("time").sleep(far / 20)
"""
    )
    (project / "train.py").write_text(reports.replace("GAIN", "0.0"))
    git(project, "commit", "--quiet", "--all", "-m", "reports")
    (project / "train.py").write_text(reports.replace("GAIN", "0.015"))
    assert referee("--metric", "val_loss", "--pairs", "3", *COMMAND) == 11
    assert referee(*COMMAND) == 10
    (stopped,) = [run for run in rows(project) if run["status"] == "stopped"]
    assert stopped["value"] is None and "lay too far behind (epoch 1" in stopped["why"]
    assert "ended early" in capsys.readouterr().err
    assert rows(project, "ruling")[-1]["reason"] == stopped["why"]
    before = len(rows(project))
    assert referee(*COMMAND) == 10 and len(rows(project)) == before


@pytest.mark.slow
def test_two_at_once_share_the_runs_and_note_each_once(project: Path, unmeasured: None) -> None:
    (project / "train.py").write_text(train(0.501) + "import time; time.sleep(0.3)\n")
    both = [subprocess.Popen(duel(pairs=3), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=240)[1] for process in both]
    assert {process.returncode for process in both} <= {10, 11}, said
    runs = [(run["arm"], run["seed"]) for run in rows(project)]
    assert len(runs) == len(set(runs)) and len(runs) in (2, 4, 6)


@pytest.mark.slow
def test_after_a_kill_the_same_command_goes_on(project: Path, unmeasured: None) -> None:
    (project / "train.py").write_text(train(0.501) + "import time; time.sleep(1)\n")
    words = duel(pairs=2)
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (project / "referee.jsonl").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    half = next((project / "results" / "worktrees").glob("[0-9a-f]*"))
    half.rename(half.with_name(f".{half.name}.partial"))  # as if it had been killed while git checked out
    assert subprocess.run(words, check=False, capture_output=True).returncode in (10, 11)
    runs = [(run["arm"], run["seed"]) for run in rows(project) if run["value"] is not None]
    assert len(runs) == len(set(runs)) == 4
    assert not list((project / "results" / "worktrees").glob(".*.partial"))


@pytest.mark.slow
def test_a_script_without_a_seed_is_repeated_and_one_that_repeats_exactly_is_said(
    project: Path, referee: Referee, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "train.py").write_text("print('val_loss=0.4')\n")
    git(project, "commit", "--quiet", "--all", "-m", "no seed")
    (project / "train.py").write_text("print('val_loss=0.3')\n")
    referee("--metric", "val_loss", "--pairs", "2", *COMMAND)
    said = " ".join(capsys.readouterr().err.split())
    assert "repeats, as the script takes no seed" in said and "agree digit for digit" in said
    assert [run["seed"] for run in rows(project)] == [None] * 4


def test_each_run_is_ended_after_an_equal_time_and_its_last_value_counts(
    project: Path, referee: Referee
) -> None:
    endless = "import os, time\nprint('acc:', os.environ['SEED'], flush=True)\nwhile True: time.sleep(1)\n"
    (project / "train.py").write_text(endless)
    git(project, "commit", "--quiet", "--all", "-m", "endless")
    (project / "train.py").write_text(endless + "#")
    assert referee("--metric", "acc", "--each", "1s", "--pairs", "1", *COMMAND) == 11
    assert [run["value"] for run in rows(project)] == [1001.0, 1001.0]


def test_files_are_sides_where_there_is_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, referee: Referee
) -> None:
    folder = tmp_path / "no_repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name, loss in (("old.py", 0.5), ("new.py", 0.4)):
        (folder / name).write_text(f"print('val_loss:', {loss})\n")
    words = ("--metric", "val_loss", "--pairs", "1", "--candidate", "new.py", "--", sys.executable, "new.py")
    assert referee("--incumbent", "old.py", *words) == 11
    assert [run["value"] for run in rows(folder)] == [0.5, 0.4]
    with pytest.raises(InputError, match=r"'missing\.py' is no path"):
        referee("--incumbent", "missing.py", *words)


def test_what_is_wrong_is_told(project: Path, referee: Referee) -> None:
    with pytest.raises(InputError, match="give the command behind --"):
        referee("--metric", "val_loss")
    with pytest.raises(InputError, match="--metric NAME"):
        referee(*COMMAND)
    with pytest.raises(InputError, match="first commit: nothing to compare with"):
        referee("--metric", "val_loss", *COMMAND)
    with pytest.raises(InputError, match="nothing to compare"):
        referee("--metric", "val_loss", "--incumbent", "HEAD", *COMMAND)


def test_a_command_gets_its_seed_as_it_takes_it() -> None:
    words = {"words": ["python", "t.py"]}
    assert run_once.seeded({**words, "flag": "--seed"}, 3)[0] == ["python", "t.py", "--seed=3"]
    assert run_once.seeded({**words, "flag": "-s"}, 3)[0] == ["python", "t.py", "-s", "3"]
    assert run_once.seeded({**words, "flag": "seed"}, 3)[0] == ["python", "t.py", "seed=3"]
    assert run_once.seeded({**words, "variable": "SEED"}, 3) == (["python", "t.py"], {"SEED": "3"})


@pytest.mark.slow
def test_after_ctrl_c_the_same_command_goes_on(project: Path, unmeasured: None) -> None:
    (project / "train.py").write_text(train(0.501) + "import time; time.sleep(1)\n")
    process = subprocess.Popen(duel(pairs=3), stderr=subprocess.PIPE, text=True, env={**os.environ})
    deadline = time.monotonic() + 120
    while not (project / "referee.jsonl").is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and "the same command" in said
    subprocess.run(duel(pairs=3), check=False, capture_output=True)
    seeds = [(run["arm"], run["seed"]) for run in rows(project)]
    assert len(seeds) == len(set(seeds)) and len({name for name, _ in seeds}) == 2


@pytest.mark.slow
def test_pairs_run_side_by_side_each_on_a_gpu_of_its_own(
    project: Path, referee: Referee, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    monkeypatch.setattr("tuner.run.launch.open_executor", choice.open_executor)  # agents are processes here
    monkeypatch.setattr(gpus, "here", lambda: ("7", "9"))
    monkeypatch.setattr(gpus, "_own_folder", lambda: tmp_path / "leases")
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    note = (
        f"import os, time\nname = os.environ[{gpus.VISIBLE!r}]\n"
        f"os.close(os.open({str(seen)!r} + '/' + name, os.O_CREAT | os.O_WRONLY))\ntime.sleep(0.3)\n"
    )
    (project / "train.py").write_text(train(0.4, note + TRAIN))
    referee("--pairs", "3", "--metric", "val_loss", *COMMAND)
    assert {path.name for path in seen.iterdir()} == {"7", "9"}
    assert json.loads((tmp_path / "leases" / "gpus.json").read_text()) == [], "both were given back"
