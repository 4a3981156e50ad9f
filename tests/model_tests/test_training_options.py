"""Each option of a run, through the trainer: what it changes, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model import losses
from model.config import Config
from model.evaluate import evaluate
from model.recordings import Recordings
from model.task import prepare
from model.trainer import _Run, train
from tuner.base.errors import TrainingFailed
from tuner.base.files import read_json
from tuner.base.run_folder import RESULT

SMALL = {
    "d_model": 16,
    "heads": 2,
    "encoder_layers": 1,
    "epochs": 1,
    "batch_size": 16,
    "window": 32,
    "stride": 8,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(data: Recordings, **keys: Any) -> _Run:
    """A run that is ready for its first step."""
    assert data.folder is not None
    config = Config.from_dict({**SMALL, **keys})
    run = _Run(config, prepare(data.folder, config), lambda epoch, metrics: None, None)
    run.learner.network.train()
    return run


def reports(data: Recordings, **keys: Any) -> list[dict[str, float]]:
    """The metrics of every epoch of a run."""
    assert data.folder is not None
    found: list[dict[str, float]] = []
    train({**SMALL, **keys}, lambda epoch, metrics: found.append(metrics), data=data.folder)
    return found


def step(run: _Run) -> Tensor:
    return run.learner.train_step(0, 0, run.learner.index[:16])


@pytest.mark.parametrize(
    "keys",
    [
        {"optimizer": "adam", "scheduler": "step", "warmup_type": "exponential"},
        {"optimizer": "sgd", "scheduler": "onecycle", "learning_rate": 0.01},
        {"scheduler": "plateau", "warmup_type": "cosine", "loss_type": "focal"},
        {"scheduler": "constant", "warmup_epochs": 0, "loss_type": "cross_entropy", "class_weights": True},
        {"reconstruction_weight": 0.5, "contrastive_weight": 0.1, "invariant_fingerprint": True},
        {
            "oversampling_factor": 3,
            "cutout_rows": 4,
            "time_warp": 0.2,
            "mixup_alpha": 0.4,
            "board_dropout": 0.2,
        },
        {"encoder_layers": 2, "decoder_layers": 2, "heads": 4, "dropout": 0.3, "normalization": "prefix"},
        {"vocab_bucket_digits": None, "normalization": "global", "ema": 0.9, "gradient_checkpointing": True},
        {"vocab_bucket_digits": 1, "machine_position": True, "precision": "bfloat16"},
        {"track": "windows", "machine_position": True},
    ],
)
def test_every_option_trains_an_epoch(tiny_recordings: Recordings, keys: dict[str, Any]) -> None:
    (metrics,) = reports(tiny_recordings, **keys)
    assert np.isfinite([metrics["train/loss"], metrics["val/loss"], metrics["val/overall_acc"]]).all()


def test_equal_seeds_give_equal_numbers_and_other_seeds_others(tiny_recordings: Recordings) -> None:
    first, again, other = (
        reports(tiny_recordings, seed=seed, mixup_alpha=0.4, time_warp=0.2)[0] for seed in (1, 1, 2)
    )
    for metrics in (first, again, other):
        del metrics["epoch_seconds"]
    assert first == again and first != other


@pytest.mark.parametrize(
    ("weight", "function"),
    [
        ("reconstruction_weight", "reconstruction_loss"),
        ("contrastive_weight", "contrastive_loss"),
        ("invariant_fingerprint", "reverse_gradient"),
    ],
)
def test_an_auxiliary_without_a_weight_is_never_computed(
    tiny_recordings: Recordings, monkeypatch: pytest.MonkeyPatch, weight: str, function: str
) -> None:
    def reached(*args: Any, **keys: Any) -> Tensor:
        raise KeyError(function)

    monkeypatch.setattr(losses, function, reached)
    step(start(tiny_recordings))
    with pytest.raises(KeyError, match=function):
        step(start(tiny_recordings, **{weight: True if weight.startswith("invariant") else 0.5}))


def test_an_auxiliary_without_a_weight_has_no_parameters(tiny_recordings: Recordings) -> None:
    bare = start(tiny_recordings).learner.network
    full = start(tiny_recordings, reconstruction_weight=1.0, invariant_fingerprint=True).learner.network
    assert bare.rows is None and bare.recording is None
    assert full.rows is not None and full.recording is not None


def test_checkpointing_changes_no_gradient(tiny_recordings: Recordings) -> None:
    gradients = []
    for on in (False, True):
        run = start(tiny_recordings, gradient_checkpointing=on, encoder_layers=2, grad_clip=0.0)
        step(run)
        gradients.append([p.grad for p in run.learner.network.parameters()])
    for plain, twice in zip(*gradients, strict=True):
        assert (plain is None) == (twice is None)
        assert plain is None or torch.allclose(plain, twice, atol=1e-6)


def test_clipping_bounds_the_gradients_norm(tiny_recordings: Recordings) -> None:
    norms = {}
    for clip in (0.0, 0.1):
        run = start(tiny_recordings, grad_clip=clip)
        step(run)
        norms[clip] = torch.cat(
            [p.grad.flatten() for p in run.learner.network.parameters() if p.grad is not None]
        ).norm()
    assert norms[0.1] <= 0.1001 < norms[0.0]


def test_augmentation_is_for_training_alone(
    tiny_recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(tiny_recordings)
    before = run.learner.generator.get_state()
    once = evaluate(run.learner.network, run.task, "select", device=run.learner.device)
    twice = evaluate(run.learner.network, run.task, "select", device=run.learner.device)
    assert torch.equal(run.learner.generator.get_state(), before)
    assert once.metrics == twice.metrics
    step_generator = run.learner.generator.get_state()
    run.learner.network.train()
    step(run)
    assert not torch.equal(run.learner.generator.get_state(), step_generator)


def test_what_the_encoder_reads_of_a_part_is_kept_while_it_is_small(
    tiny_recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(tiny_recordings)

    def found() -> dict[str, float]:
        return evaluate(run.learner.network, run.task, "select", device=run.learner.device).metrics

    monkeypatch.setattr("model.evaluate.EVALUATION_BATCH", 7)  # several batches, the last one smaller
    run.task.features.clear()
    monkeypatch.setattr("model.evaluate.KEPT", 0)
    once = found()
    assert run.task.features == {"select": []}
    monkeypatch.setattr("model.evaluate.KEPT", 1 << 30)
    assert found() == once
    assert sum(map(len, run.task.features["select"])) == len(run.task.parts["select"])
    monkeypatch.setattr(run.task.source, "windows", None)  # not asked again
    assert found() == once
    run.task.features.clear()  # equal tasks of other tests are this one


def test_oversampling_draws_rare_windows_oftener_and_leaves_an_epoch_as_long(
    tiny_recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    run = start(tiny_recordings, oversampling_factor=3)
    monkeypatch.setattr(
        run.learner, "train_step", lambda epoch, step, index: seen.append(index) or torch.zeros(())
    )
    windows = len(run.task.parts["train"])
    for epoch in range(30):
        run.run_epoch(epoch)
    assert len(seen) == 30 * run.learner.schedule.steps_per_epoch
    drawn = np.bincount(np.concatenate(seen), minlength=windows)
    assert drawn.sum() == 30 * windows
    rare = np.bincount(run.learner.index, minlength=windows) == 3
    assert 2.5 < drawn[rare].mean() / drawn[~rare].mean() < 3.5


def test_oversampling_repeats_the_rare_windows(tiny_recordings: Recordings) -> None:
    once, thrice = (start(tiny_recordings, oversampling_factor=n).learner.index for n in (1, 3))
    more = np.bincount(thrice, minlength=len(once))
    assert len(np.unique(once)) == len(once) == len(more)
    assert set(more.tolist()) == {1, 3}


def test_early_stopping_ends_a_run_that_does_not_get_better(tiny_recordings: Recordings) -> None:
    assert len(reports(tiny_recordings, epochs=9, learning_rate=1e-8, early_stopping=2)) == 3
    assert len(reports(tiny_recordings, epochs=4, learning_rate=1e-8, early_stopping=0)) == 4


def test_plateau_hears_the_metric(tiny_recordings: Recordings) -> None:
    found = reports(
        tiny_recordings,
        epochs=3,
        learning_rate=1e-8,
        warmup_epochs=0,
        scheduler="plateau",
        plateau_patience=1,
    )
    assert [metrics["lr"] for metrics in found] == pytest.approx([1e-8, 1e-8, 5e-9])


def test_the_best_epoch_is_what_a_run_returns(tiny_recordings: Recordings) -> None:
    assert tiny_recordings.folder is not None
    seen: list[float] = []
    best = train(
        {**SMALL, "epochs": 3, "learning_rate": 0.05},
        lambda epoch, metrics: seen.append(metrics["val/overall_acc"]),
        data=tiny_recordings.folder,
    )
    assert best["val/overall_acc"] == max(seen)


class Due:
    """A `report` that needs the metrics of some epochs alone."""

    def __init__(self, *epochs: int) -> None:
        self.epochs = epochs
        self.found: list[Mapping[str, float]] = []

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self.found.append(metrics)

    def due(self, epoch: int) -> bool:
        return epoch in self.epochs


def test_evaluation_may_wait_until_it_is_due(tiny_recordings: Recordings) -> None:
    assert tiny_recordings.folder is not None
    results = []
    for keys, due in (({}, ()), ({"evaluate": "due"}, (1,)), ({"evaluate": "due"}, ())):
        report = Due(*due)
        config = {**SMALL, "epochs": 4, "learning_rate": 0.05, **keys}
        result = train(config, report, data=tiny_recordings.folder)
        evaluated = [epoch for epoch, m in enumerate(report.found) if "val/overall_acc" in m]
        assert evaluated == (sorted({*due, 3}) if keys else [0, 1, 2, 3])
        last = {name: value for name, value in report.found[-1].items() if name.startswith("val/")}
        results.append((last, result))
    assert (
        results[0][0] == results[1][0] == results[2][0]
    )  # how often is evaluated does not change the training
    assert results[1] == results[2] and results[1][0] == results[1][1]  # the last epoch is what counts
    plateau = Due()
    config = {**SMALL, "epochs": 2, "evaluate": "due", "scheduler": "plateau"}
    train(config, plateau, data=tiny_recordings.folder)
    assert all("val/overall_acc" in metrics for metrics in plateau.found)


def test_the_averaged_weights_are_the_ones_that_are_kept(tiny_recordings: Recordings) -> None:
    run = start(tiny_recordings, ema=0.99)
    run.run_epoch(0)
    assert run.learner.average is not None
    live = dict(run.learner.network.named_parameters())
    assert any(not torch.equal(live[name], kept) for name, kept in run.best_weights.items() if name in live)
    with run.learner.average.applied():
        assert all(torch.equal(live[name], kept) for name, kept in run.best_weights.items() if name in live)


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_place(tiny_recordings: Recordings) -> None:
    run = start(tiny_recordings)
    with torch.no_grad():
        next(run.learner.network.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingFailed, match="nan at epoch 4, step 2"):
        run.learner.train_step(4, 2, run.learner.index[:16])


def fails_above(run: _Run, windows: int) -> list[int]:
    """Makes the encoder run out of memory for more windows than that; collects the sizes it is asked for."""
    encode, sizes = run.learner.network.encode, []

    def limited(x: Tensor) -> Tensor:
        sizes.append(len(x))
        if len(x) > windows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return encode(x)

    run.learner.network.encode = limited  # type: ignore[method-assign]
    return sizes


def test_out_of_memory_once_goes_on_with_half_batches(tiny_recordings: Recordings) -> None:
    run = start(tiny_recordings)
    sizes = fails_above(run, 8)
    assert torch.isfinite(step(run)) and torch.isfinite(step(run))
    assert sizes == [16, 8, 8, 8, 8]


def test_out_of_memory_in_halves_fails_with_advice_and_a_result(
    tiny_recordings: Recordings, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(network: Any, x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    assert tiny_recordings.folder is not None
    monkeypatch.setattr("model.network.Network.encode", never)
    with pytest.raises(TrainingFailed, match=r"epoch 0, step 0.*smaller batch_size.*d_model"):
        train(SMALL, lambda epoch, metrics: None, data=tiny_recordings.folder, run_folder=tmp_path / "run")
    result = read_json(tmp_path / "run" / RESULT)
    assert result["state"] == "failed" and "out of memory" in result["error"]
