"""The losses of the four heads for a batch of windows. A head computes only the positions where it applies.

Shapes: B windows, k lines a window (2 in a mixture), L positions of a line, P positions that hold a token.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from model.augment import Mixture
from model.losses import IGNORED, HeadLosses
from model.network import Decoder, Positions
from model.task import Task
from model.teacher import Teacher, soft_loss
from model.tokens import HEADS


class LineLosses:
    """Reads the lines of windows with a decoder and compares them with the labels, or with a teacher.

    Args:
        decoder: what reads them. heads: the loss of each head.
        teacher: another model to learn from instead, or None.
    """

    def __init__(
        self,
        decoder: Decoder,
        task: Task,
        heads: HeadLosses,
        teacher: Teacher | None,
        *,
        device: torch.device,
    ) -> None:
        self.decoder, self.heads, self.teacher = decoder, heads, teacher
        table = task.table
        self.inputs = torch.from_numpy(table.inputs).to(device)
        self.targets = torch.from_numpy(table.factors).to(device)
        self.length, self.lengths = table.length, torch.from_numpy(table.length).to(device)
        self.impossible = torch.from_numpy(~task.vocabulary.values_of_param).to(device)

    def terms(
        self,
        memory: Tensor,
        *,
        start: np.ndarray,
        recording: np.ndarray,
        line: np.ndarray,
        mixture: Mixture | None = None,
    ) -> dict[str, Callable[[], Tensor]]:
        """The loss of each head, as a function that computes it.

        In a mixture each window is read twice, for its own line and its partner's, and the two losses have
        the shares of the mixture.

        Args:
            memory: (B, S, D). start, recording, line: (B,) of the windows.
        """
        lines = torch.from_numpy(line).to(memory.device)
        width = int(self.length[line].max())
        source = torch.arange(len(lines), device=memory.device)  # the window that a line belongs to
        if mixture is not None:
            source = torch.stack([source, mixture.partner], dim=1).flatten()
        read = lines[source]
        here = Positions(torch.arange(width, device=memory.device) < self.lengths[read][:, None])
        states = self.decoder.states(memory, self.inputs[read, :width], here)
        targets = here.pack(self.targets[read, :width])  # (P, 4)
        weight = None
        if mixture is not None:
            shares = torch.tensor([mixture.share, 1 - mixture.share], device=memory.device)
            weight = shares[(here.index // width) % 2]
        answers: dict[str, Tensor] = {}
        if self.teacher is not None:
            place = source[here.index // width] * width + here.index % width
            found = self.teacher.answers(
                torch.from_numpy(start), torch.from_numpy(recording), self.inputs[lines, :width]
            )
            answers = {head: values.flatten(0, 1).index_select(0, place) for head, values in found.items()}

        def term(head: str, column: int) -> Callable[[], Tensor]:
            return lambda: self._loss(head, column, states, targets, answers.get(head), weight)

        return {head: term(head, column) for column, head in enumerate(HEADS)}

    def _loss(
        self,
        head: str,
        column: int,
        states: Tensor,
        targets: Tensor,
        answers: Tensor | None,
        weight: Tensor | None,
    ) -> Tensor:
        """The loss of one head over the positions where it applies: states (P, D), targets (P, 4)."""
        rows = (targets[:, column] != IGNORED).nonzero()[:, 0]
        target = targets[rows, column]
        weight = None if weight is None else weight[rows]
        logits = self.decoder.head(head, states.index_select(0, rows))
        if head == "param_value" and len(rows):
            # A value is chosen among those of its parameter; all others are impossible.
            logits = logits.masked_fill(self.impossible[targets[rows, 2]], -torch.inf)
        if self.teacher is None or answers is None:
            return self.heads(head, logits, target, weight)
        return soft_loss(
            logits, answers[rows], target, temperature=self.teacher.temperature, position_weight=weight
        )
