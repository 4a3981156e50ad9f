"""W&B in a script behaves as in a sweep: one run a trial, no server, whatever the script asks for."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tuner.base.errors import TrainingFailed


@pytest.fixture(autouse=True)
def a_key_and_no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The client believes that it may go online, and would wait a minute and a half for an answer."""
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def content(sandbox: Any, run: Path) -> dict[str, Any]:
    return json.loads(sandbox.wandb("--summary", run=run))


# -- a run is one of a sweep


@pytest.mark.slow
def test_an_id_in_the_script_is_ignored_so_that_trials_do_not_overwrite_each_other(sandbox: Any) -> None:
    sandbox.script("""
        import wandb
        run = wandb.init(id="baseline", resume="allow")
        run.log({"acc": 1})
        print("id", run.id)
    """)

    ids = set()
    for number in range(2):
        sandbox.number = number
        sandbox.run()
        ids |= {run.name.partition("-run-")[2].split("-", 1)[1] for run in sandbox.wandb_runs}
        assert "Ignoring id 'baseline' when running a sweep" in sandbox.output

    assert len(ids) == 2 and not any("baseline" in found for found in ids)


def test_a_script_sees_that_it_is_in_a_sweep(sandbox: Any) -> None:
    sandbox.script("""
        import os, wandb
        run = wandb.init(project="mine", entity="me")
        assert run.sweep_id == wandb.run.sweep_id == os.environ["WANDB_SWEEP_ID"] == "study"
        assert os.environ["WANDB_RUN_ID"] == run.id
        assert not run.sweep_url
        run.log({"acc": 1})
    """)

    sandbox.run(project="of-the-sweep")

    found = content(sandbox, *sandbox.wandb_runs)
    assert found["project"] == "of-the-sweep"
    assert "Ignoring project 'mine' when running a sweep" in sandbox.output
    assert "Ignoring entity" not in sandbox.output  # the study file names none


@pytest.mark.slow
def test_the_files_of_a_run_in_a_folder_of_the_scripts_are_found(sandbox: Any) -> None:
    sandbox.script("""
        import os, wandb
        os.makedirs("elsewhere/logs")
        os.chdir("elsewhere")
        with wandb.init(dir="logs") as run:
            run.log({"acc": 1})
    """)

    sandbox.run()

    (run,) = sandbox.wandb_runs
    assert run.parent == sandbox.folder / "elsewhere" / "logs" / "wandb"
    assert content(sandbox, run)["summary"]["acc"] == 1


# -- no server


@pytest.mark.slow
@pytest.mark.parametrize(
    "asking",
    [
        'os.environ["WANDB_MODE"] = "online"; wandb.init()',
        'wandb.setup(settings=wandb.Settings(mode="online")); wandb.init()',
        'wandb.init(settings=wandb.Settings(mode="online"))',
        'wandb.init(settings={"mode": "online"})',
        "wandb.login(); wandb.init(mode='online')",
        "wandb.login(key='0' * 40, relogin=True, verify=True); wandb.init()",
        "[os.environ.pop(n) for n in list(os.environ) if n.startswith('WANDB_')]; wandb.init()",
        "wandb.init(None, 'mine', mode='shared')",
    ],
)
def test_a_script_stays_offline_however_it_asks(sandbox: Any, asking: str) -> None:
    sandbox.script(f"""
        import os, wandb
        {asking}
        wandb.log({{"acc": 1}})
    """)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        assert sandbox.run(variables={"WANDB_BASE_URL": url}) == {"acc": 1}

        with pytest.raises(BlockingIOError):  # nobody has asked it
            server.accept()
    (run,) = sandbox.wandb_runs
    assert run.name.startswith("offline-run-")
    assert run.is_relative_to(sandbox.results)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "asking"),
    [
        ("offline", "wandb.init(mode='disabled')"),
        ("offline", "os.environ['WANDB_MODE'] = 'disabled'; wandb.init()"),
        ("off", "wandb.init()"),
        ("off", "wandb.init(mode='online')"),
    ],
)
def test_metrics_of_a_disabled_run_still_arrive(sandbox: Any, mode: str, asking: str) -> None:
    sandbox.script(f"""
        import os, wandb
        {asking}
        assert wandb.config.lr == 0.1
        for epoch in range(3):
            wandb.log({{"acc": epoch, "loss": {{"train": 1}}}})
        wandb.run.summary["size"] = 5
        wandb.summary.update({{"width": 2}})
        wandb.finish()
    """)

    metrics = sandbox.run({"lr": 0.1}, wandb=mode)

    assert metrics == {"acc": 2, "loss.train": 1, "size": 5, "width": 2}
    assert [epoch for epoch, _ in sandbox.reported] == [0, 1, 2]
    assert sandbox.result["wandb_runs"] == []
    assert not list(sandbox.results.rglob("*.wandb"))


def test_a_disabled_run_has_the_summaries_that_the_script_defines(sandbox: Any) -> None:
    sandbox.script("""
        import wandb
        with wandb.init() as run:
            wandb.define_metric("epoch")
            wandb.define_metric("acc", "epoch", summary="max")
            run.define_metric("loss/*", step_metric="epoch", summary="Min,mean")
            for epoch, (acc, loss) in enumerate([(1, 5.0), (3, 2.0), (2, 2.0)]):
                run.log({"epoch": epoch, "acc": acc, "loss/val": loss})
    """)

    metrics = sandbox.run(wandb="off")

    assert metrics == {
        "epoch": 2,
        "acc": 3,  # the objective: the summary that the script defines is its score
        "acc.max": 3,
        "loss/val": 2.0,
        "loss/val.min": 2.0,
        "loss/val.mean": 3.0,
    }
    assert [row["acc.max"] for row in sandbox.rows] == [1, 3, 3]


@pytest.mark.slow
@pytest.mark.parametrize("asked", [True, False])
def test_scalars_for_tensorboard_are_metrics_of_a_disabled_run_that_asks_for_them(
    sandbox: Any, asked: bool
) -> None:
    (sandbox.folder / "tensorboardX").mkdir()
    (sandbox.folder / "tensorboardX" / "writer.py").write_text(
        "class SummaryWriter:\n"
        "    def add_scalar(self, tag, scalar_value, global_step=None, walltime=None):\n"
        "        pass\n"
    )
    sandbox.script(f"""
        import wandb
        from tensorboardX.writer import SummaryWriter
        wandb.init(sync_tensorboard={asked})
        for step in (10, 20):
            SummaryWriter().add_scalar("val/acc", 1 / step, step)
        wandb.log({{"acc": 1}})
    """)

    metrics = sandbox.run(wandb="off")

    scalars = {"val/acc": 0.05, "global_step": 20} if asked else {}
    assert metrics == {"acc": 1} | scalars


@pytest.mark.slow
def test_a_run_that_should_go_online_is_offline_when_the_server_is_gone(sandbox: Any) -> None:
    sandbox.script("""
        import wandb
        with wandb.init() as run:
            run.log({"acc": 1})
    """)

    assert sandbox.run(wandb="online", variables={"WANDB_INIT_TIMEOUT": "1"}) == {"acc": 1}

    assert "W&B offline" in sandbox.result["notes"][0]
    assert content(sandbox, *sandbox.wandb_runs[-1:])["summary"]["acc"] == 1


# -- several runs in one trial


@pytest.mark.slow
def test_the_first_run_of_a_cross_validation_counts(sandbox: Any) -> None:
    sandbox.script("""
        import wandb
        for fold in range(3):
            run = wandb.init(name=f"fold-{fold}", config={"fold": fold})
            for epoch in range(2):
                run.log({"acc": 10 * (3 - fold) + epoch})
            run.finish()
    """)

    metrics = sandbox.run()

    assert metrics == {"acc": 31}
    assert [values["acc"] for _, values in sandbox.reported] == [30, 31]
    assert [row["acc"] for row in sandbox.rows] == [30, 31]
    assert [row["acc"] for row in sandbox.rows_of(2)] == [10, 11]
    assert sandbox.result["notes"][0].startswith("3 W&B runs: number 1 is used")
    assert len({run.name.partition("-run-")[2] for run in sandbox.wandb_runs}) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("counts", "expected"), [("last", 11), ("mean", 21)])
def test_another_choice_of_the_run_that_counts(sandbox: Any, counts: str, expected: float) -> None:
    sandbox.script("""
        import wandb
        for fold in range(3):
            with wandb.init() as run:
                run.log({"acc": 10 * (3 - fold)})
                run.log({"acc": 10 * (3 - fold) + 1})
    """)

    assert sandbox.run(counts=counts) == {"acc": expected}
    assert sandbox.reported == []
    if counts == "last":
        assert [row["acc"] for row in sandbox.rows] == [10, 11]
    assert ("mean" if counts == "mean" else "number 3") in sandbox.result["notes"][0]


@pytest.mark.slow
def test_a_second_init_while_a_run_is_active_gives_that_run(sandbox: Any) -> None:
    sandbox.script("""
        import wandb
        run = wandb.init()
        run.log({"acc": 1})
        assert wandb.init() is run
        run.log({"acc": 2})
    """)

    sandbox.run()

    assert [row["_step"] for row in sandbox.rows] == [0, 1]
    assert "notes" not in sandbox.result


@pytest.mark.slow
def test_a_run_that_is_begun_again_under_its_id_goes_on(sandbox: Any) -> None:
    sandbox.script("""
        import wandb
        with wandb.init() as run:
            run.log({"acc": 1})
        with wandb.init(id=run.id, resume="must") as again:
            assert again.id == run.id
            again.log({"test": 2})
    """)

    assert sandbox.run() == {"acc": 1, "test": 2}
    assert "notes" not in sandbox.result


def test_the_run_that_logs_the_metric_counts(sandbox: Any) -> None:
    sandbox.script("""
        import wandb
        with wandb.init(job_type="train") as run:
            run.log({"loss": 1})
        with wandb.init(job_type="evaluate") as run:
            run.log({"acc": 0.5})
    """)

    assert sandbox.run() == {"acc": 0.5}
    assert sandbox.rows == [{"epoch": 0, "_step": 0, "acc": 0.5}]
    assert sandbox.rows_of(0) == [{"epoch": 0, "_step": 0, "loss": 1}]
    assert "number 2 is used" in sandbox.result["notes"][0]


@pytest.mark.slow
def test_rank_0_counts_where_every_process_logs(sandbox: Any) -> None:
    sandbox.script("""
        import os, subprocess, sys, time, wandb
        if "RANK" not in os.environ:
            ranks = [
                subprocess.Popen([sys.executable, __file__], env={**os.environ, "RANK": str(rank)})
                for rank in (1, 0)
            ]
            sys.exit(max(process.wait() for process in ranks))
        rank = int(os.environ["RANK"])
        time.sleep(1 - rank)
        with wandb.init() as run:
            for epoch in range(2):
                run.log({"acc": 100 * rank + epoch})
    """)

    assert sandbox.run() == {"acc": 1}
    assert [row["acc"] for row in sandbox.rows] == [0, 1]
    assert len(sandbox.wandb_runs) == len(set(sandbox.wandb_runs)) == 2
    assert "2 W&B runs" in sandbox.result["notes"][0]


@pytest.mark.slow
def test_wandbs_own_example_of_cross_validation_in_a_sweep_works(sandbox: Any) -> None:
    """It clears W&B's variables in its workers, and logs the mean of their values to the sweep's run."""
    sandbox.script("""
        import multiprocessing, os, wandb

        def reset_wandb_env():
            for key in list(os.environ):
                if key.startswith("WANDB_") and key not in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_API_KEY"):
                    del os.environ[key]

        def train(jobs, results):
            reset_wandb_env()
            number, sweep_id, name, config = jobs.get()
            run = wandb.init(group=sweep_id, job_type=name, name=f"{name}-{number}", config=config)
            run.log({"acc": number + config["lr"]})
            run.finish()
            results.put(number + config["lr"])

        if __name__ == "__main__":
            jobs, results = multiprocessing.Queue(), multiprocessing.Queue()
            workers = [multiprocessing.Process(target=train, args=(jobs, results)) for _ in range(2)]
            for worker in workers:
                worker.start()
            run = wandb.init()
            for number in range(2):
                jobs.put((number, run.sweep_id, run.name, dict(run.config)))
            run.log({"acc": sum(results.get() for _ in workers) / 2})
            run.finish()
    """)

    assert sandbox.run({"lr": 0.25}) == {"acc": 0.75}
    assert len(sandbox.wandb_runs) == 3
    assert all(run.name.startswith("offline-run-") for run in sandbox.wandb_runs)


def test_a_script_that_makes_its_own_sweep_is_told_how_to_run_it(sandbox: Any) -> None:
    sandbox.script("import wandb\nwandb.sweep({'method': 'random', 'parameters': {'x': {'value': 1}}})\n")
    with pytest.raises(TrainingFailed, match=r"makes its own sweep .*: run it with: tuner run train.py"):
        sandbox.run()
