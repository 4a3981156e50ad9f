"""Scripts that make their own sweeps, written as W&B's documentation teaches, run here as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tuner.base.run_folder import read_metrics
from tuner.storage.access import default_url, open_records

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]

TWO_SWEEPS = """
    import sys
    import numpy as np
    import wandb

    configuration = {
        "method": "random",
        "metric": {"goal": "minimize", "name": "loss"},
        "parameters": {"x": {"min": -1.0, "max": 1.0}, "layers": {"values": range(1, 3)}},
    }

    def main():
        wandb.init(project="my-first-sweep", mode="online")
        for epoch in range(3):
            wandb.log({"loss": wandb.config.x ** 2 + 1 / (epoch + 1)})

    wandb.login()
    sweep_id = wandb.sweep(sweep=configuration, project="my-first-sweep")
    wandb.agent(sweep_id, function=main, count=2)
    print("between", sys.argv[1:])

    grid = {"method": "grid", "name": "my grid", "metric": {"name": "score", "goal": "maximize"},
            "parameters": {"lr": {"values": np.array([1, 2])}}}
    other = wandb.sweep(lambda: grid)
    wandb.agent("me/my-first-sweep/" + other, lambda config: np.float32(config["lr"]))
    print("after")
"""


def python(folder: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def run(folder: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    return python(folder, "-m", "tuner", "run", "--agents", "1", *arguments, status=status)


def script(folder: Path, code: str, name: str = "train.py") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(textwrap.dedent(code), encoding="utf-8")


def trials(folder: Path, study: str) -> list[int]:
    records = open_records(default_url(folder / "results"))
    found = records.get_all_trials(records.get_study_id_from_name(study))
    return [trial.number for trial in found if trial.state.is_finished()]


@pytest.fixture
def wandb_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B is not off: it writes its runs, as for most users."""
    monkeypatch.delenv("WANDB_MODE")


@pytest.mark.usefixtures("wandb_offline")
def test_every_sweep_of_a_script_is_a_study_and_the_script_goes_on_after_its_agents(tmp_path: Path) -> None:
    script(tmp_path, TWO_SWEEPS)

    done = run(tmp_path, "train.py", "--width", "3")

    lines = [line for line in done.stdout.splitlines() if line.startswith(("Create", "between", "after"))]
    assert lines == [
        "Create sweep with ID: train",
        "between ['--width', '3']",
        "Create sweep with ID: my-grid",
        "after",
    ]
    assert (trials(tmp_path, "train"), trials(tmp_path, "my-grid")) == ([0, 1], [0, 1])
    rows = read_metrics(tmp_path / "results" / "runs" / "train" / "0" / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    scores = [
        json.loads((tmp_path / "results" / "runs" / "my-grid" / number / "result.json").read_text())[
            "metrics"
        ]
        for number in ("0", "1")
    ]
    assert scores == [{"score": 1.0}, {"score": 2.0}]

    again = run(tmp_path, "train.py", "--width", "3")
    assert "study train is done: 2 trials finished" in again.stderr
    assert trials(tmp_path, "train") == [0, 1]


def test_the_example_runs_as_it_says(tmp_path: Path) -> None:
    example = ROOT / "examples" / "wandb_in_script" / "train.py"
    done = run(tmp_path, str(example))
    assert "valley: 5 trials finished" in done.stdout
    assert trials(tmp_path, "valley") == [0, 1, 2, 3, 4]


def test_a_changed_sweep_is_another_study_and_an_old_one_is_found_by_its_id(tmp_path: Path) -> None:
    code = """
        import sys, wandb
        high = float(sys.argv[1])
        def train():
            wandb.init()
            wandb.log({"loss": wandb.config.x})
        if high > 0:
            name = wandb.sweep({"method": "random", "metric": {"name": "loss"},
                                "parameters": {"x": {"min": 0.0, "max": high}}})
        wandb.agent(name if high > 0 else "train", train, count=1)
    """
    script(tmp_path, code)
    run(tmp_path, "train.py", "1")
    run(tmp_path, "train.py", "2")
    assert (trials(tmp_path, "train"), trials(tmp_path, "train-2")) == ([0], [0])
    run(tmp_path, "train.py", "0")
    assert trials(tmp_path, "train") == [0, 1]


@pytest.mark.usefixtures("wandb_offline")
def test_two_lines_more_make_it_a_plain_program(tmp_path: Path) -> None:
    code = """
        import wandb

        import tuner
        tuner.wandb_sweeps(agents=1)

        def train():
            with wandb.init() as run:
                run.define_metric("loss", summary="min")
                for loss in (2.0, 1.0, 3.0):
                    run.log({"loss": loss + run.config.x})

        if __name__ == "__main__":
            sweep = wandb.sweep({"method": "random", "metric": {"name": "loss.min"},
                                 "parameters": {"x": {"min": 0.0, "max": 1.0}}})
            wandb.agent(sweep, train, count=1)
            wandb.agent(sweep, train, count=1)
    """
    script(tmp_path, code, "package/plain.py")
    python(tmp_path, "-m", "package.plain")
    assert trials(tmp_path, "plain") == [0, 1]
    result = json.loads((tmp_path / "results" / "runs" / "plain" / "0" / "result.json").read_text())
    x = json.loads((tmp_path / "results" / "runs" / "plain" / "0" / "config.json").read_text())["x"]
    assert result["metrics"]["loss.min"] == pytest.approx(1 + x)
    assert result["metrics"]["loss"] == pytest.approx(3 + x)


def test_a_module_with_its_sweep_in_a_folder_of_configurations(tmp_path: Path) -> None:
    script(tmp_path, "", "package/__init__.py")
    script(
        tmp_path,
        """
        import pathlib, wandb
        from package import __name__ as own
        run = wandb.init()
        run.log({"loss": run.config.x, "here": pathlib.Path("configs").is_dir()})
        """,
        "package/train.py",
    )
    sweep = """\
        method: random
        run_cap: 1
        program: package.train
        command: ["${env}", "${interpreter}", "-m", "${program}", "${args}"]
        metric: {name: loss, goal: minimize}
        parameters: {x: {min: 0.0, max: 1.0}}
    """
    script(tmp_path, sweep, "configs/sweep.yaml")
    python(tmp_path, "-m", "tuner", "study", "configs/sweep.yaml", "--agents", "1")
    assert trials(tmp_path, "sweep") == [0]


def test_what_is_wrong_with_a_sweep_is_said_where_it_stands(tmp_path: Path) -> None:
    script(tmp_path, "import wandb\nwandb.sweep({'method': 'random', 'parameters': {'x': {'mn': 0}}})\n")
    done = run(tmp_path, "train.py", status=1)
    assert "line 2" in done.stderr and "did you mean 'min'" in done.stderr
    assert not (tmp_path / "results" / "sweeps").exists()
    assert "no such script" in run(tmp_path, "trian.py", status=2).stderr


TENSORBOARD = """
    class EventFileWriter:
        def __init__(self, logdir, *args, **kwargs):
            pass

    class SummaryWriter:
        def add_scalar(self, tag, scalar_value, global_step=None, walltime=None):
            pass
"""


@pytest.mark.usefixtures("wandb_offline")
def test_what_a_script_writes_for_tensorboard_is_a_metric_where_it_is_synchronised(tmp_path: Path) -> None:
    script(tmp_path, "", "tensorboard.py")  # W&B asks whether it is there
    script(tmp_path, TENSORBOARD, "tensorboardX/writer.py")
    code = """
        import sys, wandb
        wandb.init(sync_tensorboard=True)
        from tensorboardX.writer import SummaryWriter
        writer = SummaryWriter()
        for step in (10, 20):
            writer.add_scalar("val/loss", wandb.config.x / step, step)
    """
    script(tmp_path, code)
    sweep = """\
        {program: train.py, method: grid, metric: {name: val/loss}, parameters: {x: {values: [100]}}}
    """
    script(tmp_path, sweep, "sweep.yaml")
    python(tmp_path, "-m", "tuner", "study", "sweep.yaml", "--agents", "1")
    rows = read_metrics(tmp_path / "results" / "runs" / "sweep" / "0" / "metrics.jsonl")
    assert [(row["_step"], row["val/loss"]) for row in rows] == [(10, 10.0), (20, 5.0)]


def test_an_agent_without_a_count_ends_after_as_many_trials_as_the_command_says(tmp_path: Path) -> None:
    code = """
        import wandb
        space = {"method": "random", "metric": {"name": "loss"}, "parameters": {"x": {"min": 0, "max": 9}}}
        wandb.agent(wandb.sweep(space), lambda config: {"loss": config["x"]})
    """
    script(tmp_path, code)
    run(tmp_path, "--trials", "2", "train.py")
    assert trials(tmp_path, "train") == [0, 1]
    run(tmp_path, "--trials", "3", "train.py")
    assert trials(tmp_path, "train") == [0, 1, 2]


def test_with_json_there_is_one_object_a_study_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(textwrap.dedent(TWO_SWEEPS))
    done = python(tmp_path, "-m", "tuner", "run", "--json", "--agents", "1", "train.py")
    first, second = json.loads(done.stdout)
    assert (first["complete"], first["reason"]) == (2, "2 trials finished")
    assert (second["name"], second["complete"], second["best"][0]["score"]) == ("my-grid", 2, 2.0)
    assert "between []" in done.stderr and "after" in done.stderr


def test_a_sweep_is_told_apart_from_the_study_of_a_file_with_its_name(tmp_path: Path) -> None:
    script(tmp_path, TWO_SWEEPS)
    file = "{program: train.py, method: random, metric: {name: loss}, parameters: {x: {min: 0.0, max: 1.0}}}"
    (tmp_path / "train.yaml").write_text(file, encoding="utf-8")

    told = python(tmp_path, "-m", "tuner", "study", "train.yaml", "--agents", "1", "--trials", "1", status=1)
    assert "run it with: tuner run train.py" in " ".join((told.stdout + told.stderr).split())
    for _ in range(2):  # the same command continues its studies
        run(tmp_path, "train.py")

    assert trials(tmp_path, "train-2") == [0, 1]
