"""`tuner.study`: a function and a dictionary become a study, whichever way the function was written."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

import tuner
from tuner.workloads.workload import Workload

ROOT = Path(__file__).resolve().parents[3]
QUIET: dict[str, Any] = {"quiet": True, "agents": 1}
SCRIPT = """
import tuner

SHIFT = 0.25

def helper(x):
    return (x - SHIFT) ** 2

def train(config):
    return helper(config["x"])

found = tuner.study(train, {"x": (0.0, 1.0)}, trials=4, agents=2, name="script", quiet=True)
print(found.name, len(found.runs), found.best.value >= 0)
"""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        input=given,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def square(config: dict[str, Any]) -> float:
    return float(config["x"]) ** 2


def test_importing_the_tuner_imports_nothing_heavy() -> None:
    code = "import sys, tuner; sys.exit(bool({'optuna', 'numpy', 'rich', 'tuner.api'} & set(sys.modules)))"
    assert python("-c", code).returncode == 0


def test_every_public_name_is_there() -> None:
    assert all(getattr(tuner, name) is not None for name in tuner.__all__)
    assert set(tuner.__all__) <= set(dir(tuner))
    with pytest.raises(AttributeError, match="no attribute 'stydy'"):
        _ = tuner.stydy


@pytest.mark.slow
def test_a_script_without_a_main_guard_runs_with_two_agents(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = python("script.py")
    assert done.stdout.split() == ["script", "4", "True"], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["-"], ["-i"]])
def test_a_function_that_was_typed_in_runs(flags: list[str]) -> None:
    done = python(*flags, given=SCRIPT)
    assert "script 4 True" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_module_that_calls_study_when_it_is_imported_does_not_start_itself_again(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT)
    done = python("-c", "import mine")
    assert done.stdout.split() == ["script", "4", "True"], done.stderr


@pytest.mark.slow
def test_a_closure_a_lambda_and_a_partial_run() -> None:
    from functools import partial

    shift = 0.5

    def shifted(config: dict[str, Any], *, power: int = 2) -> float:
        return abs(float(config["x"]) - shift) ** power

    assert tuner.study(shifted, {"x": (0.0, 1.0)}, trials=1, **QUIET).name == "shifted"
    assert tuner.study(partial(shifted, power=1), {"x": (0, 9)}, trials=1, name="p", **QUIET).best.value > 0
    found = tuner.study(lambda config: config["x"] + shift, {"x": [1]}, method="grid", **QUIET)
    assert (found.name, found.best.value) == ("function", 1.5)


@pytest.mark.usefixtures("agents_in_this_process")
def test_called_again_it_goes_on_with_another_function_of_that_name() -> None:
    space = {"x": (0.0, 1.0)}
    first = tuner.study(square, space, trials=2, name="mine", **QUIET)
    before = [run.summary["value"] for run in first.runs]

    second = tuner.study(lambda config: -config["x"], space, trials=3, name="mine", **QUIET)

    after = [run.summary["value"] for run in second.runs]
    assert after[:2] == before and len(after) == 3 and after[2] < 0
    assert second.reason == "3 trials finished"
    with pytest.raises(tuner.InputError, match=r"started with other settings: .*fresh=True"):
        tuner.study(square, space, goal="maximize", name="mine", **QUIET)
    assert len(tuner.study(square, {"x": (0.0, 2.0)}, trials=1, name="mine", fresh=True, **QUIET).runs) == 1


@pytest.mark.usefixtures("agents_in_this_process")
def test_reports_are_pruned_and_may_be_plain_numbers() -> None:
    def train(config: dict[str, Any], report: Any) -> None:
        for epoch in range(9):
            report(epoch, config["x"])

    found = tuner.study(
        train, {"x": (0.0, 1.0)}, trials=12, goal="maximize", max_epochs=9,
        pruner={"type": "median", "startup_trials": 2, "warmup": 1}, options={"sampler": "random"}, **QUIET,
    )  # fmt: skip
    states = {run.state for run in found.runs}
    assert states == {"complete", "pruned"}
    assert found.best.value == max(run.summary["value"] for run in found.runs)


@pytest.mark.usefixtures("agents_in_this_process")
def test_a_workload_class_runs() -> None:
    class Counting(Workload):
        def run(self, config: Any, report: Any, *, run_folder: Path, inputs: Path | None) -> Any:
            with tuner.RunFolder(run_folder) as folder:
                folder.finish({"state": "complete", "metrics": {"count": config["n"]}})
            return {"count": config["n"]}

    found = tuner.study(Counting, {"n": (1, 3)}, metric="count", method="grid", **QUIET)
    assert found.best.value == 1
    assert found.best.folder is not None


@pytest.mark.usefixtures("agents_in_this_process")
def test_a_study_file_runs(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("def train(config):\n    return {'loss': config['x']}\n")
    (tmp_path / "file.yaml").write_text(
        textwrap.dedent("""
        method: random
        run_cap: 2
        metric: {name: loss, goal: minimize}
        parameters: {x: {min: 0.0, max: 1.0}}
        tuner: {objective: "code.py:train"}
        """)
    )
    assert len(tuner.study("file.yaml", **QUIET).runs) == 2
    assert len(tuner.study(tmp_path / "file.yaml", trials=3, **QUIET).runs) == 3
    with pytest.raises(tuner.InputError, match=r"goal: '.*file.yaml' has its own"):
        tuner.study("file.yaml", goal="maximize", **QUIET)


@pytest.mark.parametrize(
    ("space", "options", "said"),
    [
        (None, {}, "square: a space is missing"),
        ({"x": (1.0, 0.0)}, {}, "study 'square': 'parameters.x.max': expected more than min"),
        ({"x": (1, 2, 3)}, {}, "parameter 'x': expected (low, high), got (1, 2, 3); use a list for choices"),
        ({"x": [square]}, {}, "'x': expected numbers, text, true or false, or lists of them"),
        ({"x": (0.0, 1.0)}, {"goal": "up"}, "study 'square': 'metric.goal': expected one of"),
        ({"x": (0.0, 1.0)}, {"trials": 0}, "trials: expected a whole number from 1, got 0"),
        ({"x": (0.0, 1.0)}, {"options": {"prunner": "median"}}, "did you mean 'pruner'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(space: Any, options: Any, said: str) -> None:
    with pytest.raises(tuner.InputError) as error:
        tuner.study(square, space, **{"quiet": True, **options})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_function_that_cannot_be_called_or_sent_is_said_before_an_agent_starts() -> None:
    import threading

    lock = threading.Lock()
    with pytest.raises(tuner.InputError, match=r"expected \(config\) or \(config, report\)"):
        tuner.study(lambda a, b, c: 0, {"x": (0.0, 1.0)}, trials=1, **QUIET)
    with pytest.raises(tuner.InputError, match="cannot be sent to the agents: cannot pickle"):
        tuner.study(lambda config: lock.locked(), {"x": (0.0, 1.0)}, trials=1, **QUIET)
    with pytest.raises(tuner.InputError, match="expected a function, a Workload class"):
        tuner.study(3, {"x": (0.0, 1.0)})  # type: ignore[arg-type]


@pytest.mark.usefixtures("agents_in_this_process")
def test_a_function_that_always_fails_is_one_line() -> None:
    def broken(config: dict[str, Any]) -> float:
        raise ValueError("no good")

    with pytest.raises(tuner.WorkFailed, match=r"^broken: 3 trials in a row .*: ValueError: no good$"):
        tuner.study(broken, {"x": (0.0, 1.0)}, trials=5, **QUIET)


@pytest.mark.slow
def test_ctrl_c_leaves_a_study_that_goes_on(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        textwrap.dedent("""
        import time, sys, tuner

        def train(config, report):
            for epoch in range(3):
                time.sleep(0.3)
                report(epoch, config["x"])

        try:
            tuner.study(train, {"x": (0.0, 1.0)}, trials=int(sys.argv[1]), agents=1)
        except KeyboardInterrupt:
            sys.exit("interrupted")
        """)
    )
    command = [sys.executable, "slow.py", "1000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "complete" in line:
            break
    process.send_signal(signal.SIGINT)
    assert process.stderr.read().endswith("interrupted\n")
    assert process.wait(timeout=60) == 1

    states = [run.state for run in tuner.results("train")]
    assert states.count("complete") >= 1 and "running" not in states and "failed" not in states
    wanted = states.count("complete") + 1
    done = python("slow.py", str(wanted))
    assert done.returncode == 0, done.stderr
    assert [run.state for run in tuner.results("train")] == ["complete"] * wanted


def test_time_that_is_up_leaves_a_result() -> None:
    def slow(config: dict[str, Any], report: Any) -> None:
        for epoch in range(1000):
            time.sleep(0.1)
            report(epoch, config["x"])

    found = tuner.study(slow, {"x": (0.0, 1.0)}, trials=5, timeout=2, **QUIET)
    assert found.reason == "time is up"
    with pytest.raises(tuner.InputError, match="study 'slow': No trial has completed yet"):
        _ = found.best


@pytest.mark.usefixtures("agents_in_this_process")
def test_the_storage_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_STORAGE", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    tuner.study(square, {"x": (0.0, 1.0)}, trials=1, **QUIET)
    assert (tmp_path / "elsewhere.db").exists()
    assert len(tuner.results("square")) == 1


@pytest.mark.slow
def test_the_command_line_shows_what_python_began_and_says_who_can_run_it(tmp_path: Path) -> None:
    done = python("-", given=SCRIPT)
    assert done.returncode == 0, done.stderr
    for command in (["status"], ["best", "script"], ["report", "script", "--output", "report.html"]):
        done = python("-m", "tuner", *command)
        assert done.returncode == 0, done.stderr
    done = python("-m", "tuner", "verify", "script", "--wandb", "off")
    assert (done.returncode, done.stderr) == (
        2,
        "error: 'train' was given in Python: only that script or notebook can run it. Put it in a file, and "
        "name it in a study file (objective: file.py:train) to run it by commands\n",
    )
