"""Hooks that tell the tuner what a script logs to Trackio, SwanLab, MLflow or TensorBoard.

Each call is a row of its own, in the order in which they come: each metric has its own steps there.
Only the standard library, and no syntax newer than Python 3.7: the script may run in another Python.
"""

from __future__ import annotations

import sys

import tuner_wandb_private as private  # type: ignore[import-not-found]
from tuner_hook_events import guarded_by, plain, run_key  # type: ignore[import-not-found]
from tuner_hook_metrics import followed_by  # type: ignore[import-not-found]
from tuner_hook_runs import rank  # type: ignore[import-not-found]

TYPE_CHECKING = False  # importing typing would cost every process of the script
if TYPE_CHECKING:
    from typing import Any

    from tuner.workloads.child.tuner_hook_events import Events


def tell(events: Events, logger: str, run: Any, data: dict[str, Any]) -> None:
    events.write("elsewhere", logger=logger, run=f"{logger} {run}", rank=rank(), data=plain(data))


def patch_trackio(module: Any, events: Events) -> None:
    """`trackio.log` and the `log` of a run."""

    @guarded_by(events)
    def log(run: Any, metrics: Any, *_: Any, **__: Any) -> None:
        tell(events, "Trackio", getattr(run, "name", ""), dict(metrics))

    module.Run.log = followed_by(log)(module.Run.log)


def patch_swanlab(module: Any, events: Events) -> None:
    """`swanlab.log` and the `log` of a run."""

    @guarded_by(events)
    def log(run: Any, data: Any, *_: Any, **__: Any) -> None:
        tell(events, "SwanLab", id(run), dict(data))

    module.Run.log = followed_by(log)(module.Run.log)


def patch_mlflow(module: Any, events: Events) -> None:
    """`mlflow.log_metric`, `log_metrics`, the client's, and what autologging logs."""

    @guarded_by(events)
    def log_metric(_: Any, run_id: Any, key: Any, value: Any, *__: Any, **___: Any) -> None:
        tell(events, "MLflow", run_id, {key: value})

    @guarded_by(events)
    def log_batch(_: Any, run_id: Any, metrics: Any = (), *__: Any, **___: Any) -> None:
        if metrics:
            tell(events, "MLflow", run_id, {metric.key: metric.value for metric in metrics})

    client = module.TrackingServiceClient
    client.log_metric = followed_by(log_metric)(client.log_metric)
    client.log_batch = followed_by(log_batch)(client.log_batch)


def patch_tensorboard(module: Any, events: Events) -> None:
    """Scalars for TensorBoard; in a W&B run with `sync_tensorboard` they are that run's."""

    @guarded_by(events)
    def scalar(writer: Any, tag: str, scalar_value: Any, global_step: Any = None, *_: Any, **__: Any) -> None:
        client: Any = sys.modules.get("wandb")
        run = getattr(client, "run", None)
        if run is None or not private.reads_tensorboard(client, run):
            tell(events, "TensorBoard", "", {tag: scalar_value})
            return
        data = plain({tag: scalar_value, "global_step": global_step})
        events.write("log", run=run_key(run), stream="/tensorboard", data=data, step=global_step, commit=None)

    @guarded_by(events)
    def scalars(writer: Any, main_tag: str, tag_scalar_dict: Any, *_: Any, **__: Any) -> None:
        data = {f"{main_tag}/{tag}": value for tag, value in tag_scalar_dict.items()}
        tell(events, "TensorBoard", "", data)

    writer = module.SummaryWriter
    writer.add_scalar = followed_by(scalar)(writer.add_scalar)
    writer.add_scalars = followed_by(scalars)(writer.add_scalars)
