"""Functions as trials: what they may return, and that they may use W&B."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tuner.base.errors import InputError
from tuner.workloads.function import as_metrics, call

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "returned",
    [0.5, np.float32(0.5), np.array(0.5), np.array([0.5]), torch.tensor(0.5), torch.tensor([0.5])],
    ids=lambda value: type(value).__name__,
)
def test_a_function_may_return_any_number(returned: Any, tmp_path: Path) -> None:
    found = call(lambda config: returned, {}, lambda *_: None, run_folder=tmp_path / "0", metric="loss")
    assert found == {"loss": 0.5} and type(found["loss"]) is float


@pytest.mark.parametrize("returned", ["a text", np.array([1.0, 2.0]), True])
def test_what_is_no_number_is_said(returned: Any) -> None:
    with pytest.raises(InputError, match="expected a dictionary of metrics or a number"):
        as_metrics(returned, "loss")


def test_not_a_number_stays_what_it_is() -> None:
    assert math.isnan(as_metrics(torch.tensor(float("nan")), "loss")["loss"])


def test_a_function_that_uses_wandb_is_offline_and_sees_its_values(tmp_path: Path) -> None:
    code = """
        import wandb
        def train(config):
            run = wandb.init(project="mine")
            assert dict(wandb.config) == config, (dict(wandb.config), config)
            run.log({"seen": wandb.config["lr"]})
            return wandb.config["lr"]
    """
    (tmp_path / "train.py").write_text(textwrap.dedent(code))
    (tmp_path / "study.yaml").write_text(
        "method: grid\nmetric: {name: loss}\nparameters: {lr: {values: [1e-05, 2.0]}}\n"
        "tuner: {objective: 'train.py:train'}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "study", str(tmp_path / "study.yaml"), "--agents", "1",
         "--wandb", "offline", "--results", str(tmp_path / "results")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "trial 1 complete loss 2.0000" in done.stderr
    runs = list((tmp_path / "results" / "wandb" / "study" / "wandb").glob("offline-run-*"))
    assert len(runs) == 4  # one a trial is the tuner's own, one the function's
