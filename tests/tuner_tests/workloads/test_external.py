"""Scripts of every kind, run as they are: what they log is kept and passed on, and they end when told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tuner.base.endings import Pruned, PutBack
from tuner.base.errors import InputError, TrainingFailed
from tuner.base.files import read_json
from tuner.definition.metric import Metric
from tuner.workloads.child_process import cause_in
from tuner.workloads.script import working_folder

# -- what a script may do with W&B


def test_a_wandb_script_sees_its_parameters_and_every_value_arrives(sandbox: Any) -> None:
    sandbox.script("""
        import sys, wandb
        print("working before init")
        wandb.login()
        run = wandb.init(project="mine", mode="online", config={"lr": 1, "epochs": 2})
        assert wandb.config.lr == 1e-05 and wandb.config.net == {"width": 3}, dict(wandb.config)
        assert sys.argv[1:] == ["--lr=1e-05", "--net={'width': 3}"], sys.argv
        for epoch in range(wandb.config.epochs):
            run.log({"train": {"loss": 1.0 / (epoch + 1)}}, step=epoch)
            run.log({"acc": epoch / 10}, step=epoch)
            wandb.log({"acc": float("nan")}, step=epoch) if epoch == 9 else None
        run.summary["size"] = 5
        wandb.finish()
    """)

    metrics = sandbox.run({"lr": 1e-5, "net": {"width": 3}})

    assert metrics == {"train.loss": 0.5, "acc": 0.1, "size": 5}
    assert [epoch for epoch, _ in sandbox.reported] == [0, 1]
    assert sandbox.reported[1][1] == {"train.loss": 0.5, "acc": 0.1}
    assert sandbox.rows == [
        {"epoch": 0, "_step": 0, "train.loss": 1.0, "acc": 0.0},
        {"epoch": 1, "_step": 1, "train.loss": 0.5, "acc": 0.1},
    ]
    assert sandbox.result["state"] == "complete"
    assert read_json(sandbox.run_folder / "config.json") == {"lr": 1e-5, "net": {"width": 3}}
    summary = json.loads(sandbox.wandb("--summary"))
    assert summary["config"] == {"lr": 1e-05, "net": {"width": 3}, "epochs": 2}
    assert summary["project"] == "mine"
    assert summary["name"] == "study-7"
    assert summary["tags"] == ["trial-7"]
    assert summary["summary"]["number"] == 7


@pytest.mark.slow
def test_rows_are_those_that_wandb_itself_keeps(sandbox: Any) -> None:
    sandbox.script("""
        import random, wandb
        chance, step = random.Random(3), 0
        with wandb.init() as run:
            for _ in range(80):
                data = {chance.choice(["acc", "loss", "x"]): chance.random() for _ in range(2)}
                if chance.random() < 0.4:
                    step = max(0, run.step + chance.choice([-1, 0, 0, 1, 2]))
                    run.log(data, step=step, commit=chance.choice([None, None, True]))
                else:
                    run.log(data, commit=chance.choice([None, False, True]))
    """)

    sandbox.run()

    records = [json.loads(line) for line in sandbox.wandb().splitlines()]
    history = [record["history"]["item"] for record in records if record["type"] == "history"]
    kept = [{name: value for name, value in row.items() if name != "epoch"} for row in sandbox.rows]
    assert kept == [
        {name: value for name, value in row.items() if name not in ("_runtime", "_timestamp")}
        for row in history
    ]
    values = [row["acc"] for row in history if "acc" in row]
    assert sandbox.result["iterations"] == len(values)
    assert sandbox.result["metrics"]["acc"] == values[-1]


def test_a_prune_stops_the_script_and_keeps_its_wandb_run(sandbox: Any) -> None:
    sandbox.script("""
        import time, wandb
        run = wandb.init()
        for epoch in range(1000):
            run.log({"acc": epoch})
            time.sleep(0.02)
    """)
    seen: list[float] = []

    def prune(epoch: int, metrics: Mapping[str, float]) -> None:
        seen.append(metrics["acc"])
        if epoch == 2:
            raise Pruned("the median is better")

    with pytest.raises(Pruned):
        sandbox.run(report=prune)

    assert seen == [0, 1, 2]
    assert sandbox.result["state"] == "pruned"
    assert [row["acc"] for row in sandbox.rows][:3] == [0, 1, 2]
    summary = json.loads(sandbox.wandb("--summary"))
    assert summary["summary"]["state"] == "pruned"
    told = sandbox.rows[-1]["acc"]  # the script may be ended after W&B has a value and before it is told here
    assert summary["summary"]["acc"] in (told, told + 1)


def test_the_calls_of_lightnings_wandb_logger_work(sandbox: Any) -> None:
    sandbox.script("""
        import os, wandb
        if wandb.run is None:
            run = wandb.init(name="fit", project="lightning", dir=".", id=None, resume="allow", reinit=True)
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        run.config.update({"hidden": 8}, allow_val_change=True)
        for step in range(3):
            run.log({"train_loss": 1.0, "epoch": step, "trainer/global_step": 10 * step})
            run.log(dict({"acc": step / 2, "epoch": step}, **{"trainer/global_step": 10 * step + 9}))
        run._label(repo="lightning")
        wandb.finish()
    """)

    assert sandbox.run()["acc"] == 1.0
    assert [metrics["acc"] for _, metrics in sandbox.reported] == [0.0, 0.5, 1.0]
    (run,) = sandbox.result["wandb_runs"]  # Lightning's `dir="."` is the script's folder
    run_folder = (sandbox.results / "wandb" / "study" / run).resolve()
    assert run_folder.parent == sandbox.folder / "wandb" and list(run_folder.glob("*.wandb"))


# -- scripts without W&B


def test_json_lines_are_metrics_where_there_is_no_wandb(sandbox: Any) -> None:
    sandbox.script("""
        import json
        print("loading {data}")
        for epoch in range(3):
            print(json.dumps({"acc": [0.1, 0.3, 0.2][epoch], "val": {"loss": 1 - epoch}}))
        print('{"not": json')
    """)

    metrics = sandbox.run()

    assert metrics == {"acc": 0.2, "val.loss": -1}
    assert len(sandbox.reported) == 3


@pytest.mark.parametrize(
    ("arguments", "reader"),
    [
        (["${args_no_boolean_flags}"], "parser.parse_args()"),
        (["${args_no_equals}"], "argparse.Namespace(lr=float(sys.argv[2]))"),
        (["${args_append_hydra}"], "argparse.Namespace(lr=float(sys.argv[1].split('+lr=')[1]))"),
        (["${args_json_file}"], "argparse.Namespace(**json.loads(open(sys.argv[1]).read()))"),
        (["lr=${envvar:RATE}"], "argparse.Namespace(lr=float(sys.argv[1][3:]))"),
    ],
)
def test_arguments_reach_the_script(
    sandbox: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reader: str
) -> None:
    monkeypatch.setenv("RATE", "0.25")
    sandbox.script(f"""
        import argparse, json, sys
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float)
        parser.add_argument("--flag", action="store_true")
        print(json.dumps({{"acc": {reader}.lr}}))
    """)

    command = ("${env}", "${interpreter}", "${program}", *arguments)
    metrics = sandbox.run({"lr": 0.25, "flag": False}, command=command)

    assert metrics == {"acc": 0.25}


# -- scripts that go wrong


def test_a_failure_carries_the_last_lines_and_the_whole_output_is_kept(sandbox: Any) -> None:
    sandbox.script("""
        for _ in range(20_000):
            print("x" * 200)
        raise ValueError("learning rate too high")
    """)

    with pytest.raises(
        TrainingFailed, match=r"exit status 1: ValueError: learning rate too high\nits last lines:\n"
    ):
        sandbox.run()

    assert sandbox.result["state"] == "failed"
    assert (sandbox.run_folder / "output.log").stat().st_size > 4_000_000


def test_a_metric_that_never_came_names_what_did(sandbox: Any) -> None:
    sandbox.script("""
        print('{"accuracy": 1, "loss": 2}')
    """)

    with pytest.raises(
        TrainingFailed, match=r"never logged 'acuracy'; did you mean 'accuracy'.*accuracy, loss"
    ):
        sandbox.run(metric=Metric("acuracy"))


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (
            "Epoch 2: acc=0.7 | lr 1e-3",
            r"'Epoch 2: acc=0.7 | lr 1e-3', which this reads: tuner: {metrics_from",
        ),
        ("{'acc': 0.7, 'runtime': 1.2}", "which this reads: tuner: {metrics_from: stdout}"),
        ("val_acc: 0.7", "reads: metric: {name: val_acc} and tuner: {metrics_from: stdout}"),
        ('{"test": {"acc": 0.7}}', "never logged 'acc'; did you mean 'test.acc'? (it logged: test.acc)"),
        (
            "the accuracy is 7 %",
            '; log it (`wandb.log`), or print it as JSON, a line each time: {"acc": 0.5}',
        ),
    ],
)
def test_a_script_that_only_printed_is_told_what_reads_it(sandbox: Any, printed: str, said: str) -> None:
    sandbox.script(f"print({printed!r})")
    with pytest.raises(TrainingFailed) as told:
        sandbox.run()
    assert said in str(told.value)
    assert ("which this reads" in str(told.value)) == ("metrics_from" in said)


def test_printed_lines_are_read_where_the_study_file_asks_for_it(sandbox: Any) -> None:
    sandbox.script("""
        import json
        print("at 12:30: loss=1.5, but it is no metric")
        for epoch in range(3):
            print(f"\\r 10% acc=9.9\\r100%|###| 4/4 [3.1it/s, acc=0.{epoch + 1}, loss: {1 - epoch}e-1]")
        print("accuracy=0.8, acc: nan")
        print('[tune-metric]: ' + json.dumps({"acc": 0.5}))
    """)
    assert sandbox.run(pairs=True) == {"acc": 0.5, "loss": -0.1, "accuracy": 0.8}
    assert [metrics["acc"] for _, metrics in sandbox.reported] == [0.1, 0.2, 0.3, 0.5]


@pytest.mark.slow
def test_a_script_whose_main_thread_died_has_failed_though_its_children_live(sandbox: Any) -> None:
    sandbox.script("""
        import multiprocessing
        def work(queue):
            queue.get()
        if __name__ == "__main__":
            multiprocessing.Process(target=work, args=(multiprocessing.Queue(),)).start()
            raise KeyError("no such sweep")
    """)
    began = time.monotonic()
    with pytest.raises(TrainingFailed, match=r"(?s)script failed: KeyError: 'no such sweep'\nits.*train.py"):
        sandbox.run()
    assert time.monotonic() - began < 30


def test_the_output_of_a_run_that_was_interrupted_is_kept(sandbox: Any) -> None:
    sandbox.script("""
        import os, pathlib
        print("run", pathlib.Path("again").exists(), flush=True)
        pathlib.Path("again").touch()
        print('{"acc": 1}', flush=True)
    """)

    def stopped(epoch: int, metrics: Any) -> None:
        raise PutBack

    with pytest.raises(PutBack):
        sandbox.run(report=stopped)
    sandbox.run()
    assert (sandbox.run_folder / "output-1.log").read_text().startswith("run False")
    assert sandbox.output.startswith("run True")


def test_a_metric_that_the_file_does_not_name_may_be_missing(sandbox: Any) -> None:
    sandbox.script("print('{\"loss\": 2}')")

    assert sandbox.run(metric=Metric("acc", declared=False)) == {"loss": 2}


def test_a_metric_without_a_finite_value_is_a_failure(sandbox: Any) -> None:
    sandbox.script("print('{\"acc\": NaN}')")

    with pytest.raises(TrainingFailed, match="no finite value"):
        sandbox.run()


def test_a_killed_script_is_said_to_be_killed(sandbox: Any) -> None:
    sandbox.script("import os; os.kill(os.getpid(), 9)")

    with pytest.raises(TrainingFailed, match="SIGKILL"):
        sandbox.run()


def test_a_program_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'nowhere\.py' is neither in"):
        working_folder(tmp_path / "sweep.yaml", "nowhere.py", None)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").touch()
    with pytest.raises(InputError, match=r"it is in .*src: start the command there"):
        working_folder(tmp_path / "sweeps" / "sweep.yaml", "train.py", None)


def test_a_program_is_looked_for_beside_the_file_then_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "train.py").touch()
    monkeypatch.chdir(tmp_path)
    assert working_folder(Path("sweeps/sweep.yaml"), "train.py", None) == tmp_path
    assert working_folder(Path("sweeps/sweep.yaml"), None, ["python", "train.py"]) == tmp_path

    (tmp_path / "sweeps" / "train.py").touch()
    assert working_folder(Path("sweeps/sweep.yaml"), "train.py", None) == tmp_path / "sweeps"
    assert working_folder(Path("sweeps/sweep.yaml"), None, ["python", "train.py"]) == tmp_path / "sweeps"


# -- processes


def test_a_prune_ends_the_whole_group_even_when_it_ignores_sigterm(
    sandbox: Any, is_running: Callable[[int], bool]
) -> None:
    sandbox.script("""
        import json, os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", stubborn])
        print(json.dumps({"acc": 1, "parent": os.getpid(), "child": child.pid}))
        time.sleep(60)
    """)

    def prune(epoch: int, metrics: Mapping[str, float]) -> None:
        raise Pruned("now")

    began = time.monotonic()
    with pytest.raises(Pruned):
        sandbox.run(report=prune, grace=0.3)

    assert time.monotonic() - began < 10
    pids = [int(sandbox.rows[0][name]) for name in ("parent", "child")]
    assert not any(is_running(pid) for pid in pids)


def test_what_a_finished_script_leaves_running_is_ended(
    sandbox: Any, is_running: Callable[[int], bool]
) -> None:
    sandbox.script("""
        import json, subprocess
        child = subprocess.Popen(["sleep", "60"])
        print(json.dumps({"acc": 1, "child": child.pid}))
    """)

    sandbox.run()

    assert not is_running(int(sandbox.rows[0]["child"]))


@pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel tells a child of its parent's death on Linux only"
)
@pytest.mark.parametrize("hang_up", ["SIG_DFL", "SIG_IGN"])
def test_a_killed_agent_takes_its_script_along(
    sandbox: Any, hang_up: str, is_running: Callable[[int], bool], wait_until: Callable[..., bool]
) -> None:
    """Under `nohup` too, whose children ignore SIGHUP."""
    sandbox.script("""
        import os, pathlib, time
        pathlib.Path("pid").write_text(str(os.getpid()))
        time.sleep(60)
    """)
    agent = f"""
import signal
from pathlib import Path
signal.signal(signal.SIGHUP, signal.{hang_up})
from tuner.definition.metric import Metric
from tuner.workloads.script_trial import Script
folder = Path({str(sandbox.folder)!r})
run = Script(study="s", program="train.py", command=None, folder=folder, metric=Metric("acc"))
run({{}}, print, run_folder=Path({str(sandbox.run_folder)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", agent])
    pid_file = sandbox.folder / "pid"
    assert wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
    process.kill()
    process.wait()

    assert wait_until(lambda: not is_running(int(pid_file.read_text())))


# -- the script's surroundings


def test_secrets_of_the_environment_are_written_nowhere(
    sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("SERVICE_TOKEN", "very-secret-token")
    sandbox.script("""
        import os, sys, wandb
        assert os.environ["WANDB_API_KEY"] and sys.argv[1] == "--token=very-secret-token"
        print("oops", os.environ["SERVICE_TOKEN"])
        with wandb.init() as run:
            run.log({"acc": 1})
    """)

    sandbox.run(command=("${interpreter}", "${program}", "--token=${envvar:SERVICE_TOKEN}", "${args}"))

    for path in sandbox.results.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert key.encode() not in content, path
        assert b"very-secret-token" not in content, path
    assert (sandbox.run_folder / "output.log").read_text() == "oops ***\n"


def test_a_sitecustomize_of_the_users_still_runs(sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (sandbox.folder / "site").mkdir()
    (sandbox.folder / "site" / "sitecustomize.py").write_text("import os; os.environ['SEEN'] = '1'")
    monkeypatch.setenv("PYTHONPATH", str(sandbox.folder / "site"))
    sandbox.script("""
        import json, os
        print(json.dumps({"acc": int(os.environ["SEEN"])}))
    """)

    assert sandbox.run() == {"acc": 1}


def test_variables_of_a_surrounding_wandb_session_do_not_reach_the_script(
    sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_SERVICE", "WANDB_RUN_ID", "WANDB_SWEEP_ID"):
        monkeypatch.setenv(name, "stale")
    sandbox.script("""
        import json, os
        print(json.dumps({"acc": sum(value == "stale" for value in os.environ.values())}))
    """)

    assert sandbox.run() == {"acc": 0}


def test_a_missing_package_of_another_python_names_both(
    sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sandbox.folder / "bin" / "python3"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'wandb'\" >&2\nexit 1\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{other.parent}:{os.environ['PATH']}")
    sandbox.script("")
    with pytest.raises(TrainingFailed) as caught:
        sandbox.run(command=("python3", "${program}"))
    first = str(caught.value).splitlines()[0]
    assert first.startswith(
        f"the script ended with exit status 1 in {other}; '${{interpreter}}' in the command"
    )
    assert first.endswith(f"{sys.executable}: ModuleNotFoundError: No module named 'wandb'")


def test_a_script_that_is_killed_says_by_what(sandbox: Any) -> None:
    sandbox.script("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(TrainingFailed, match="the script was killed by SIGSEGV and printed nothing"):
        sandbox.run()


def test_a_single_line_is_not_said_twice(sandbox: Any) -> None:
    sandbox.script("import sys; sys.exit('data missing')")
    with pytest.raises(TrainingFailed, match=r"^the script ended with exit status 1: data missing$"):
        sandbox.run()


def test_json_lines_may_be_indented_and_stand_behind_a_progress_bar(sandbox: Any) -> None:
    sandbox.script(r"""
        import sys
        print('   {"acc": 0.25}')
        sys.stderr.write("\r  0%|     | 0/2"); sys.stderr.flush()
        print('{"acc": 0.5}')
        sys.stderr.write("\r 50%|##   | 1/2"); sys.stderr.flush()
        print('{"acc": 0.75}\r')
        print('the config is {"acc": 99}')
    """)
    assert sandbox.run() == {"acc": 0.75}
    assert [row["acc"] for row in sandbox.rows] == [0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (
            ["Traceback (most recent call last):", '  File "t.py", line 1, in <module>', "    f()", "    ^^^",
             "DuplicateError: unique names, got:", "- 'x' 2 times", "wandb: run `wandb sync`"],
            "DuplicateError: unique names, got: - 'x' 2 times",
        ),
        (["Could not find 'a/b'", "Set HYDRA_FULL_ERROR=1 for a trace."], "Could not find 'a/b'"),
        (["one", "two"], "two"),
    ],
)  # fmt: skip
def test_why_a_script_failed_is_the_line_of_its_error(printed: list[str], said: str) -> None:
    assert cause_in(printed) == said
