"""What the hook in a script relies on beyond W&B's public API, checked against the release that is installed.

Run it against the oldest and the newest release that pyproject.toml allows before the bounds are changed.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb

from tuner.workloads.child import tuner_wandb_private as private


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("WANDB_SILENT", "true")
    begun = wandb.init(mode="offline", dir=tmp_path, reinit="create_new")
    yield begun
    begun.finish()


def in_place_of(
    monkeypatch: pytest.MonkeyPatch, module: str, path: str, change: Callable[..., None]
) -> list[Any]:
    """Changes a function of W&B's; the arguments of its calls are collected."""
    calls: list[Any] = []
    found = importlib.import_module(module)
    owner, name = path.split(".")
    monkeypatch.setattr(getattr(found, owner), name, getattr(getattr(found, owner), name))

    def listen(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            assert not kwargs
            return original(*args)

        return call

    change(found, listen)
    return calls


def test_every_name_is_tested_here() -> None:
    source = Path(__file__).read_text()
    names = [name for name, value in vars(private).items() if inspect.isfunction(value)]
    assert names and [name for name in names if f"private.{name}" not in source] == []


@pytest.mark.parametrize(
    ("module", "names"),
    [("wandb.sdk.wandb_sweep", "sweep"), ("wandb.wandb_agent", "agent"), ("wandb.sdk.wandb_run", "Run"),
     ("wandb.sdk.wandb_summary", "Summary"), ("wandb.sdk.wandb_init", "init wandb_setup"),
     ("wandb.sdk.wandb_login", "login"), ("wandb.sdk.interface.interface", "InterfaceBase")],
)  # fmt: skip
def test_the_modules_have_what_is_changed(module: str, names: str) -> None:
    assert module in private.MODULES
    assert set(names.split()) <= set(dir(importlib.import_module(module)))


def test_a_run_defines_metrics_in_one_place(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    where = ("wandb.sdk.wandb_run", "Run._define_metric")
    calls = in_place_of(monkeypatch, *where, private.change_define_metric)
    run.define_metric("loss", summary="min")
    assert [(call[0] is run, call[1], call[5]) for call in calls] == [(True, "loss", "min")]


def test_a_run_ends_in_one_place(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = in_place_of(monkeypatch, "wandb.sdk.wandb_run", "Run._on_finish", private.change_finish)
    run.finish()
    assert [of is run for (of,) in calls] == [True]


def test_what_is_written_into_a_summary(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = in_place_of(monkeypatch, "wandb.sdk.wandb_summary", "Summary._update", private.change_summary)
    run.summary["val"] = {"acc": 0.5}
    run.summary.update({"loss": 1.0})
    assert [private.run_of(summary) is run for summary, _ in calls] == [True, True]
    assert [private.written(record) for _, record in calls] == [{"val": {"acc": 0.5}}, {"loss": 1.0}]


def test_a_run_of_a_sweep_that_no_server_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("wandb.sdk.wandb_init")
    settings = private.session_settings(module)
    before = settings.run_id, settings.sweep_id
    calls: list[Any] = []
    records = importlib.import_module("wandb.sdk.interface.interface")
    monkeypatch.setattr(records.InterfaceBase, "_make_run", records.InterfaceBase._make_run)

    def forgetting(original: Callable[..., Any]) -> Callable[..., Any]:
        def make(*args: Any) -> Any:
            record = original(*args)
            calls.append((record.run_id, record.sweep_id))
            private.forget_sweep(record, "ours")
            assert not record.sweep_id
            return record

        return make

    private.change_record(records, forgetting)
    private.begin_in_sweep(settings, "ours-7", "ours")
    try:
        run = wandb.init(mode="offline", dir=tmp_path, reinit="create_new")
        assert (run.id, run.sweep_id) == ("ours-7", "ours")
        run.finish()
    finally:
        settings.run_id, settings.sweep_id = before
    assert calls and set(calls) == {("ours-7", "ours")}


def test_the_mode_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("wandb.sdk.wandb_init")
    assert private.session_mode(module) == private.session_settings(module).mode
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert private.session_mode(SimpleNamespace(wandb_setup=SimpleNamespace())) == "offline"
    assert private.asked_in(wandb.Settings(mode="disabled")) == "disabled"
    assert private.asked_in({"mode": "disabled"}) == "disabled"
    assert private.asked_in(wandb.Settings()) is private.asked_in(None) is None


def test_a_run_is_marked_as_resumed(run: Any) -> None:
    private.mark_resumed(run, 5)
    assert (run.resumed, run.starting_step) == (True, 5)


def test_where_the_files_of_a_run_are(run: Any) -> None:
    mode, folder = private.mode_and_folder(run)
    assert mode == "offline" and list(Path(folder).glob("run-*.wandb"))


def test_only_a_run_that_the_server_has_is_marked(run: Any, tmp_path: Path) -> None:
    private.mark_uploaded(run)
    assert list(tmp_path.rglob("*.synced")) == []
    settings = SimpleNamespace(mode="online", sync_file=run.settings.sync_file)
    private.mark_uploaded(SimpleNamespace(settings=settings, _finish_timed_out=run._finish_timed_out))
    assert [path.name for path in tmp_path.rglob("*.synced")] == [
        f"{Path(run.settings.sync_file).name}.synced"
    ]


def test_whether_a_run_reads_the_files_of_tensorboard(run: Any) -> None:
    assert private.reads_tensorboard(wandb, run) is False
    asked = SimpleNamespace(settings=wandb.Settings(sync_tensorboard=True))
    assert private.reads_tensorboard(wandb, asked) is True
