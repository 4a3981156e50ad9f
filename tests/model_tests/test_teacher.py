"""Learning another model's answers: the soft loss, and a run that is given a teacher."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model import train
from model.config import Config
from model.devices import place
from model.learner import Learner
from model.recordings import Recordings
from model.task import prepare
from model.teacher import soft_loss


def test_the_soft_loss_is_the_divergence_from_the_teacher() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, answers = torch.randn(2, 3, 5, generator=generator), torch.randn(2, 3, 5, generator=generator)
    target = torch.tensor([[0, 1, -1], [2, -1, -1]])
    here = target >= 0
    expected = F.kl_div(
        F.log_softmax(logits[here] / 2, -1),
        F.log_softmax(answers[here] / 2, -1),
        log_target=True,
        reduction="batchmean",
    )
    torch.testing.assert_close(soft_loss(logits, answers, target, temperature=2.0), 4 * expected)


def test_classes_that_are_impossible_for_the_student_are_no_part_of_it() -> None:
    logits = torch.tensor([[1.0, 2.0, -torch.inf]], requires_grad=True)
    loss = soft_loss(logits, torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([0]), temperature=1.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(logits.grad[:, :2]).all()  # type: ignore[index]


def test_where_no_head_applies_the_soft_loss_is_nothing() -> None:
    logits = torch.zeros(1, 2, 3, requires_grad=True)
    loss = soft_loss(logits, torch.zeros(1, 2, 3), torch.full((1, 2), -1), temperature=1.0)
    loss.backward()
    assert float(loss.detach()) == 0 and (logits.grad == 0).all()  # type: ignore[union-attr]


@dataclass
class Constant:
    """Says the same of every window."""

    sizes: dict[str, int]
    temperature: float = 1.0
    asked: list[tuple[int, ...]] = field(default_factory=list)
    operations: int = 1

    def answers(self, start: Tensor, recording: Tensor, inputs: Tensor) -> dict[str, Tensor]:
        assert len(start) == len(recording) == len(inputs)
        self.asked.append(tuple(inputs.shape))
        return {head: torch.zeros(*inputs.shape, n) for head, n in self.sizes.items()}

    def operation(self, start: Tensor, recording: Tensor) -> Tensor:
        return torch.zeros(len(start), self.operations)


def test_a_run_asks_its_teacher_for_every_batch_and_follows_it(tiny_recordings: Recordings) -> None:
    config = {"d_model": 8, "heads": 2, "encoder_layers": 1, "window": 16, "epochs": 1, "mixup_alpha": 0.4}
    task = prepare(tiny_recordings.folder, Config.from_dict(config))
    teacher = Constant(task.vocabulary.head_sizes, operations=len(task.scaler.operations))
    losses: dict[str, float] = {}
    train(
        {**config, "batch_size": 64, "learning_rate": 1e-2, "epochs": 3},
        lambda epoch, metrics: losses.__setitem__(str(epoch), metrics["train/loss"]),
        data=tiny_recordings.folder,
        teacher=teacher,
    )
    windows = sum(len(task.parts[part]) for part in ("train", "select", "calibrate"))
    assert sum(shape[0] for shape in teacher.asked) == 3 * windows, "all but those of test"
    assert losses["2"] < losses["0"]


def test_a_student_learns_the_operation_from_its_teacher(tiny_recordings: Recordings) -> None:
    config = Config.from_dict(
        {"d_model": 8, "heads": 2, "encoder_layers": 1, "window": 16, "fingerprint_weight": 1.0}
    )
    task = prepare(tiny_recordings.folder, config)
    teacher = Constant(task.vocabulary.head_sizes, operations=len(task.scaler.operations))
    learner = Learner(config, task, place(config), teacher)
    windows = learner.windows.take(np.arange(4))
    memory = learner.network.encode(task.source.windows(windows, np.arange(4))[0])
    loss = learner._operation_loss(memory, windows.start, windows.recording)
    expected = F.kl_div(
        F.log_softmax(learner.network.operation_logits(memory), -1),
        torch.full((4, teacher.operations), 1 / teacher.operations),
        reduction="batchmean",
    )
    torch.testing.assert_close(loss, expected)
