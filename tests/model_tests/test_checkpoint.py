"""A run that was stopped and goes on from its checkpoint equals one that was never stopped, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model import checkpoint as checkpoints
from model.recordings import Recordings
from model.run_files import WEIGHTS
from model.trainer import train
from tuner.base.endings import Paused
from tuner.base.errors import InputError
from tuner.base.files import read_json
from tuner.base.run_folder import METRICS, RESULT, read_metrics

SMALL = {
    "d_model": 16,
    "heads": 2,
    "encoder_layers": 1,
    "epochs": 4,
    "batch_size": 16,
    "window": 32,
    "stride": 8,
    "device": "cpu",
}
RANDOM = {  # everything that draws random numbers or remembers something
    "dropout": 0.2,
    "mixup_alpha": 0.4,
    "noise_std": 0.1,
    "noise_probability": 0.5,
    "jitter_rows": 2,
    "ema": 0.9,
    "oversampling_factor": 2,
    "scheduler": "plateau",
    "plateau_patience": 1,
    "warmup_epochs": 0,
}

GO_ON = """
import json, sys, torch
from pathlib import Path
from model.trainer import train
torch.set_num_threads(1)
config, data, run, checkpoint, first = json.loads(sys.argv[1])
epochs = []
def report(epoch, metrics):
    epochs.append(epoch)
report.due = lambda epoch: False
train(config, report, data=Path(data), run_folder=Path(run), checkpoint=Path(checkpoint))
assert epochs == list(range(first, config["epochs"])), epochs
"""


class Stop(Exception):
    """What the engine raises to return a trial to the queue."""


def stopping_after(epochs: int, error: Exception | None = None) -> Callable[[int, Mapping[str, float]], None]:
    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch + 1 == epochs:
            raise error or Stop

    report.due = lambda epoch: False  # type: ignore[attr-defined]
    return report


def in_new_process(config: Mapping[str, Any], data: Path, run: Path, checkpoint: Path, first: int) -> None:
    given = json.dumps([config, str(data), str(run), str(checkpoint), first])
    subprocess.run([sys.executable, "-c", GO_ON, given], check=True)


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint" / "files"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "stop"),
    [
        ({"optimizer": "adamw"}, Stop()),
        ({"optimizer": "sgd"}, Paused(2)),
        ({"evaluate": "due", "scheduler": "cosine"}, Stop()),  # nothing was evaluated before it
    ],
)
def test_a_run_that_goes_on_equals_one_that_was_never_stopped(
    tiny_recordings: Recordings,
    tmp_path: Path,
    checkpoint: Path,
    options: Mapping[str, Any],
    stop: Exception,
    one_thread: None,
) -> None:
    assert tiny_recordings.folder is not None
    config, data = {**SMALL, **RANDOM, **options}, tiny_recordings.folder
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    train(config, stopping_after(99), data=data, run_folder=straight)
    with pytest.raises(type(stop)):
        train(config, stopping_after(2, stop), data=data, run_folder=stopped, checkpoint=checkpoint)
    if isinstance(stop, Paused):
        assert read_json(stopped / RESULT)["state"] == "paused"
        assert len(read_metrics(stopped / METRICS)) == 2
    else:
        assert not stopped.exists()
    in_new_process(config, data, stopped, checkpoint, first=2)

    def metrics(run: Path) -> list[dict[str, Any]]:
        return [{**line, "epoch_seconds": 0} for line in read_metrics(run / METRICS)]

    assert metrics(stopped) == metrics(straight)
    ours, theirs = load_file(stopped / WEIGHTS), load_file(straight / WEIGHTS)
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_that_was_stopped_at_its_last_epoch_only_finishes(
    tiny_recordings: Recordings, tmp_path: Path, checkpoint: Path, one_thread: None
) -> None:
    assert tiny_recordings.folder is not None
    config = {**SMALL, "epochs": 5, "early_stopping": 1, "learning_rate": 1e-8}
    epochs: list[int] = []
    train(config, lambda epoch, metrics: epochs.append(epoch), data=tiny_recordings.folder)
    assert len(epochs) < 5  # nothing is learnt: it stops early
    with pytest.raises(Stop):
        train(config, stopping_after(len(epochs)), data=tiny_recordings.folder, checkpoint=checkpoint)
    train(
        config, pytest.fail, data=tiny_recordings.folder, run_folder=tmp_path / "run", checkpoint=checkpoint
    )
    assert (tmp_path / "run" / WEIGHTS).is_file()


@pytest.mark.slow
def test_a_checkpoint_is_written_now_and_then_in_case_of_a_kill(
    tiny_recordings: Recordings, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny_recordings.folder is not None
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))
    train({**SMALL, "epochs": 2}, lambda *_: None, data=tiny_recordings.folder, checkpoint=checkpoint)
    state = checkpoints.load(checkpoint)
    assert state is not None
    assert state.values["epochs_done"] == 2


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(
    tiny_recordings: Recordings, checkpoint: Path
) -> None:
    assert tiny_recordings.folder is not None
    with pytest.raises(Stop):
        train(SMALL, stopping_after(1), data=tiny_recordings.folder, checkpoint=checkpoint)
    with pytest.raises(InputError, match="another configuration"):
        train({**SMALL, "seed": 5}, pytest.fail, data=tiny_recordings.folder, checkpoint=checkpoint)
    (checkpoint / checkpoints.STATE).write_bytes(b"torn")
    with pytest.raises(InputError, match="the checkpoint cannot be read"):
        train(SMALL, pytest.fail, data=tiny_recordings.folder, checkpoint=checkpoint)
