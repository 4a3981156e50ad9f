"""All names of W&B's that are not public and that the hook in a script uses. No other file has any.

They may change in any minor release. pyproject.toml therefore allows the minor releases with which
tests/tuner_tests/workloads/test_wandb_private.py has passed: 0.31. A script may have another one: a name that
is missing there is told to the tuner as a problem, and the script runs on.

Only the standard library, and no syntax newer than Python 3.7: the script may run in another Python.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing typing would cost every process of the script
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Change = Callable[[Callable[..., Any]], Callable[..., Any]]  # a function of W&B's → what takes its place

# The modules that are changed, each with the file and the function that change it.
MODULES = {
    "wandb.sdk.wandb_sweep": ("tuner_sweeps", "patch"),
    "wandb.wandb_agent": ("tuner_sweeps", "patch"),
    "wandb.sdk.wandb_run": ("tuner_hook_metrics", "patch_run"),
    "wandb.sdk.wandb_summary": ("tuner_hook_metrics", "patch_summary"),
    "wandb.sdk.wandb_init": ("tuner_hook_runs", "patch_init"),
    "wandb.sdk.wandb_login": ("tuner_hook_runs", "patch_login"),
    "wandb.sdk.interface.interface": ("tuner_hook_runs", "patch_record"),
}


def change_define_metric(module: Any, change: Change) -> None:
    """`run.define_metric(name, step_metric, step_sync, hidden, summary)`, called with these by position."""
    module.Run._define_metric = change(module.Run._define_metric)


def change_finish(module: Any, change: Change) -> None:
    """What a run does last, called with the run."""
    module.Run._on_finish = change(module.Run._on_finish)


def change_summary(module: Any, change: Change) -> None:
    """What all writes into `run.summary` come to, called with the summary and a record."""
    module.Summary._update = change(module.Summary._update)


def change_record(module: Any, change: Change) -> None:
    """What makes the record of a new run for the server, called with the interface and the run."""
    module.InterfaceBase._make_run = change(module.InterfaceBase._make_run)


def run_of(summary: Any) -> Any:
    """The run that a summary belongs to."""
    return getattr(getattr(summary, "_update_callback", None), "__self__", None)


def written(record: Any) -> dict[str, Any]:
    """What a record writes into a summary, by dotted name."""
    return {".".join(str(key) for key in item.key): item.value for item in record.update}


def session_settings(module: Any) -> Any:
    """The settings that the next run begins with. `module`: the one of `init`."""
    return module.wandb_setup.singleton().settings


def session_mode(module: Any) -> Any:
    """The mode that `wandb.setup` or the environment asks for, also in releases without a session."""
    singleton = getattr(module.wandb_setup, "singleton", None)
    return singleton().settings.mode if singleton else os.environ.get("WANDB_MODE")


def asked_in(settings: Any) -> Any:
    """The mode that the script gave with `init(settings=…)`; None: none."""
    if isinstance(settings, dict):
        return settings.get("mode")
    return settings.mode if "mode" in getattr(settings, "model_fields_set", ()) else None


def begin_in_sweep(settings: Any, run_id: str, sweep_id: str) -> None:
    """The next run has this id, and is one of a sweep."""
    settings.run_id, settings.sweep_id = run_id, sweep_id


def forget_sweep(record: Any, sweep_id: str) -> None:
    """Takes this sweep's id out of a new run's record."""
    if sweep_id and record.sweep_id == sweep_id:
        record.ClearField("sweep_id")


def mark_resumed(run: Any, step: int) -> None:
    """W&B needs a server to know that a run is resumed; here `resumed` and `starting_step` are set."""
    run._settings.resumed = True
    run._starting_step = step


def mark_uploaded(run: Any) -> None:
    """A run that the server has gets the client's own mark, so that `wandb sync` does not send it again."""
    if run.settings.mode == "online" and not run._finish_timed_out:
        os.close(os.open(run.settings.sync_file + ".synced", os.O_CREAT | os.O_WRONLY, 0o644))


def mode_and_folder(run: Any) -> tuple[Any, str]:
    """How a run is written, and where its files are."""
    settings = getattr(run, "settings", None)
    return getattr(settings, "mode", None), str(getattr(settings, "sync_dir", "") or "")


def reads_tensorboard(client: Any, run: Any) -> bool:
    """Whether a run takes what is written for TensorBoard. A disabled one says so in its settings alone."""
    return bool(client.patched["tensorboard"] or run.settings.sync_tensorboard)
