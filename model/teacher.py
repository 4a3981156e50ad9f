"""Distillation: a run learns the outputs of another model instead of labels.

A student reads the recordings of `select` and `calibrate` besides those of `train`, as it needs no labels. On
the windows of `train` the networks of a bundle agree with each other and with the labels (two of ten on 97 %
of the public recordings' lines), so nothing of what a bundle gains can be learnt there. On new recordings
they differ, and their average is what a student is to learn.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from model.losses import IGNORED

PARTS = ("train", "select", "calibrate")  # whose windows a student reads


class Teacher(Protocol):
    """Gives outputs for training windows; the `teacher` of `model.train`."""

    @property
    def temperature(self) -> float:
        """Softens both distributions; the loss is multiplied by its square."""
        ...

    def answers(self, start: Tensor, recording: Tensor, inputs: Tensor) -> dict[str, Tensor]:
        """Head → (B, L, classes) logits of the token after each of `inputs` (B, L), which start with BOS.

        Args:
            start, recording: (B,) int64 first row and recording of each window.
        """
        ...

    def operation(self, start: Tensor, recording: Tensor) -> Tensor:
        """(B, operations) logits of the operation of each window."""
        ...


def soft_loss(
    logits: Tensor,
    answers: Tensor,
    target: Tensor,
    *,
    temperature: float,
    position_weight: Tensor | None = None,
) -> Tensor:
    """Mean KL(teacher ‖ student) times T² where `target` applies (Hinton et al., 2015); else 0.

    Args:
        logits, answers: (…, classes). -inf in `logits` marks an impossible class, also for the teacher.
        target: (…), -1 where the head does not apply. position_weight: (…), for a weighted mean.
    """
    applies = target != IGNORED
    chosen, wanted = logits[applies].float() / temperature, answers[applies].float() / temperature
    if chosen.numel() == 0:
        return chosen.sum()
    impossible = chosen == -torch.inf
    log_p = F.log_softmax(chosen, dim=-1).masked_fill(impossible, 0.0)
    log_q = F.log_softmax(wanted.masked_fill(impossible, -torch.inf), dim=-1)
    q = log_q.exp()
    divergence = temperature**2 * (q * (log_q.masked_fill(impossible, 0.0) - log_p)).sum(-1)
    if position_weight is None:
        return divergence.mean()
    weight = position_weight[applies]
    return (weight * divergence).sum() / weight.sum()
