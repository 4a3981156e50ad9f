"""A bundle as one network: the members' answers pooled head by head, through the protocol of a single run.

What decodes a run decodes a bundle: `encode`, `begin`, `advance`, `reorder`, `operation_logits`. Members
advance in step; their log-probabilities are pooled with the bundle's weights, then its calibration
temperature is applied. The value head is pooled as what decoding asks of it, the distribution among a
parameter's values:

    log p(value | parameter) pooled over members, + log p(parameter) pooled likewise

so masking to a parameter and renormalising gives the pooled conditional, and the row is a distribution still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensemble.bundle import Bundle
from ensemble.predictions import FLOOR
from model.errors import InputError
from model.tokens import Vocabulary


@dataclass(frozen=True)
class BundleWindows:
    """The same windows as each member reads them: members differ in scaling, context and registration."""

    members: tuple[Any, ...]

    @property
    def windows(self) -> Any:
        """Start, recording and label of every window."""
        return self.members[0].windows

    def __len__(self) -> int:
        return len(self.members[0])


@dataclass(frozen=True)
class BundleMemory:
    """The members' encodings of the same windows."""

    members: tuple[Any, ...]


@dataclass(frozen=True)
class BundleState:
    """The members' decoder states for the same rows."""

    members: tuple[Any, ...]


class BundlePredictor:
    """Pools several run predictors (see the module's text)."""

    def __init__(self, bundle: Bundle, members: Sequence[Any]) -> None:
        """From the bundle's description and one predictor a member, in its order.

        Raises:
            InputError: members with different vocabularies or operations.
        """
        first = members[0]
        for member, described in zip(members, bundle.members, strict=True):
            if member.vocabulary.tokens != first.vocabulary.tokens:
                raise InputError(
                    f"member {described.name} has another vocabulary than {bundle.members[0].name}"
                )
            if tuple(member.operations) != tuple(first.operations):
                raise InputError(
                    f"member {described.name} knows other operations than {bundle.members[0].name}"
                )
        self.bundle = bundle
        self.members = tuple(members)
        self.vocabulary: Vocabulary = first.vocabulary
        self.config = first.config
        self.operations = first.operations
        self.channels = first.channels
        self._groups = _value_groups(self.vocabulary)

    @classmethod
    def load(cls, folder: Path) -> BundlePredictor:
        """Reads `folder` and everything in it; needs no data and no study.

        Raises:
            InputError: no bundle there, or one that lacks a member's files.
        """
        from model.predictor import RunPredictor

        bundle = Bundle.load(folder)
        return cls(bundle, [RunPredictor.load(folder / member.path) for member in bundle.members])

    # -- the protocol of a run's predictor

    def windows(self, recordings: Any, which: Any = None) -> BundleWindows:
        """The windows of `recordings`, the same for all, scaled and registered as each was trained."""
        return BundleWindows(tuple(member.windows(recordings, which) for member in self.members))

    def encode(self, loaded: BundleWindows, index: np.ndarray) -> BundleMemory:
        """Encodes the windows at `index` (B,) once for each member, each with its own scaler."""
        pairs = zip(self.members, loaded.members, strict=True)
        return BundleMemory(tuple(member.encode(part, index) for member, part in pairs))

    def begin(self, memory: BundleMemory) -> BundleState:
        """Decoder states before the first token, one row a window."""
        pairs = zip(self.members, memory.members, strict=True)
        return BundleState(tuple(member.begin(part) for member, part in pairs))

    def advance(self, state: BundleState, tokens: Tensor) -> tuple[dict[str, Tensor], BundleState]:
        """Feeds `tokens` (N,); returns pooled log-probabilities (N, classes) by head, and the next state."""
        answers = [
            member.advance(part, tokens) for member, part in zip(self.members, state.members, strict=True)
        ]
        logits = [answer[0] for answer in answers]
        return self.pooled(logits), BundleState(tuple(answer[1] for answer in answers))

    def reorder(self, state: BundleState, rows: Tensor) -> BundleState:
        """The states of `rows` (M,), repeated or left out as given."""
        pairs = zip(self.members, state.members, strict=True)
        return BundleState(tuple(member.reorder(part, rows) for member, part in pairs))

    def operation_logits(self, memory: BundleMemory) -> Tensor:
        """(B, operations) pooled log-probabilities of the operation."""
        parts = zip(self.members, memory.members, strict=True)
        answers = [torch.log_softmax(member.operation_logits(part).float(), dim=-1) for member, part in parts]
        return self._pool(answers, "operation")

    # -- pooling

    def pooled(self, members: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Head → (N, classes) log-probabilities from the members' logits of the same shape."""
        answer = {}
        for head in ("type", "command", "param_type"):
            log_p = self._pool([torch.log_softmax(member[head].float(), dim=-1) for member in members], head)
            answer[head] = _tempered(log_p, self.bundle.temperatures[head])
        answer["param_value"] = self._pooled_values([member["param_value"].float() for member in members])
        return answer

    def _pooled_values(self, members: Sequence[Tensor]) -> Tensor:
        """(N, values): pooled conditionals of each parameter's values, plus the parameter's pooled mass."""
        out = torch.empty_like(members[0])
        masses = [
            torch.stack([member[:, classes].logsumexp(dim=-1) for classes in self._groups], dim=-1)
            for member in members
        ]  # (N, parameters) a member
        mass = self._pool([torch.log_softmax(each, dim=-1) for each in masses], "param_value")
        for g, classes in enumerate(self._groups):
            inside = [torch.log_softmax(member[:, classes], dim=-1) for member in members]
            pooled = _tempered(self._pool(inside, "param_value"), self.bundle.temperatures["param_value"])
            out[:, classes] = pooled + mass[:, g : g + 1]
        return out

    def _pool(self, log_p: Sequence[Tensor], head: str) -> Tensor:
        """K tensors (N, classes) of log-probabilities as one, with the head's weights."""
        weighed = [(w, part) for w, part in zip(self.bundle.weights[head], log_p, strict=True) if w > 0]
        if len(weighed) == 1:
            return weighed[0][1].clamp_min(FLOOR)
        if self.bundle.pooling == "mixture":
            total = sum((w * part.clamp_min(FLOOR).exp() for w, part in weighed), torch.zeros(()))
            return total.log().clamp_min(FLOOR)
        total = sum((w * part.clamp_min(FLOOR) for w, part in weighed), torch.zeros(()))
        return torch.log_softmax(total, dim=-1).clamp_min(FLOOR)


def _value_groups(vocabulary: Vocabulary) -> tuple[Tensor, ...]:
    """The value classes of each parameter that has any, as index tensors."""
    owner = vocabulary.value_param_type
    return tuple(torch.from_numpy(np.flatnonzero(owner == letter)) for letter in np.unique(owner))


def _tempered(log_p: Tensor, temperature: float) -> Tensor:
    return log_p if temperature == 1 else torch.log_softmax(log_p / temperature, dim=-1)
