"""Scripts that log to Trackio, SwanLab, MLflow or TensorBoard, where these are installed."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow

BEGIN = {
    "trackio": "import trackio\ntrackio.init(project='p')\n",
    "swanlab": "import swanlab\nswanlab.init(project='p', mode='offline')\n",
    "mlflow": "import mlflow\nmlflow.set_tracking_uri('sqlite:///m.db')\nmlflow.start_run()\n",
    "tensorboardX": "import tensorboardX\nwriter = tensorboardX.SummaryWriter('tb')\n",
    "torch.utils.tensorboard": "from torch.utils import tensorboard as tb\nwriter = tb.SummaryWriter('tb')\n",
}
LOG = {
    "trackio": ["trackio.log({'acc': epoch / 10, 'loss': 1 - epoch})"],
    "swanlab": ["swanlab.log({'acc': epoch / 10, 'loss': 1 - epoch})"],
    "mlflow": [
        "mlflow.log_metrics({'acc': epoch / 10, 'loss': 1 - epoch}, step=epoch)",
        "mlflow.log_metric('loss', 1 - epoch, step=epoch); mlflow.log_metric('acc', epoch / 10, step=epoch)",
    ],
    "tensorboardX": [
        "writer.add_scalar('loss', 1 - epoch, epoch); writer.add_scalar('acc', epoch / 10, epoch)"
    ],
    "torch.utils.tensorboard": [
        "writer.add_scalar('loss', 1 - epoch, epoch); writer.add_scalar('acc', epoch / 10, epoch)",
        "writer.add_scalar('loss', 1 - epoch, 100 * epoch); writer.add_scalar('acc', epoch / 10, epoch)",
    ],
}
CASES = [(package, log) for package, logs in LOG.items() for log in logs]


def script(package: str, log: str, more: str = "pass") -> str:
    return f"{BEGIN[package]}\nfor epoch in range(3):\n    {log}\n    {more}\n"


def there(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package)
    for name in ("MLFLOW_TRACKING_URI", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("package", "log"), CASES)
def test_what_is_logged_elsewhere_is_the_metric(
    package: str, log: str, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there(package, monkeypatch)
    monkeypatch.setenv("TRACKIO_DIR", str(sandbox.folder / "trackio"))
    sandbox.script(script(package, log))
    found = sandbox.run()
    assert (found["acc"], found["loss"]) == (0.2, -1)
    assert [metrics["acc"] for _, metrics in sandbox.reported] == [0.0, 0.1, 0.2]
    assert [row["acc"] for row in sandbox.rows if "acc" in row] == [0.0, 0.1, 0.2]


@pytest.mark.parametrize("package", ["tensorboardX", "torch.utils.tensorboard"])
def test_lines_of_json_and_wandb_go_before_tensorboard(
    package: str, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there(package, monkeypatch)
    sandbox.script("print('{\"acc\": 7}', flush=True)\n" + script(package, LOG[package][0]))
    assert sandbox.run()["acc"] == 7
    sandbox.script(
        "import wandb\nrun = wandb.init(mode='offline')\n"
        + script(package, LOG[package][0], "run.log({'acc': 5 + epoch})")
    )
    assert sandbox.run()["acc"] == 7
    assert [row["acc"] for row in sandbox.rows if "acc" in row] == [5, 6, 7]
    sandbox.script(
        "import wandb\nrun = wandb.init(mode='offline')\n"
        + script(package, LOG[package][0], "run.log({'loss': 5 + epoch})")
    )
    assert sandbox.run()["acc"] == 0.2  # W&B never had it
