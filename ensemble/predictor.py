"""A bundle as one network: pools the outputs of the members head by head.

It has the methods of `model.predictor`: `encode`, `begin`, `advance`, `reorder`, `operation_logits`. All
members take each step. Their log-probabilities are pooled with the weights of the bundle, then scaled by the
exponent and temperature of the calibration. The value head is pooled over the values of the parameter before
it. If there is no parameter, no value can follow, and the row is uniform.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensemble.bundle import Bundle
from ensemble.predictions import FLOOR
from model.tokens import PARAM_TYPE, Vocabulary
from tuner.base.errors import InputError


@dataclass(frozen=True)
class BundleWindows:
    """The same windows for each member; members differ in scaling, context and registration."""

    members: tuple[Any, ...]

    @property
    def windows(self) -> Any:
        """Start, recording and label of every window."""
        return self.members[0].windows

    def __len__(self) -> int:
        return len(self.members[0])


@dataclass(frozen=True)
class BundleMemory:
    """The encodings of the same windows by each member."""

    members: tuple[Any, ...]


@dataclass(frozen=True)
class BundleState:
    """The decoder states of each member for the same rows."""

    members: tuple[Any, ...]


class BundlePredictor:
    """Pools several run predictors; see the docstring of this file."""

    def __init__(self, bundle: Bundle, members: Sequence[Any]) -> None:
        """From the bundle and one predictor per member, in the order of the bundle.

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
        self.device: torch.device = first.device
        self._letter = _letters(self.vocabulary).to(self.device)
        owner = torch.from_numpy(self.vocabulary.value_param_type).to(self.device)
        self._values = [(owner == i).nonzero()[:, 0] for i in range(len(self.vocabulary.param_types))]
        self._weights = {head: torch.tensor(w, device=self.device) for head, w in bundle.weights.items()}

    @classmethod
    def load(cls, folder: Path) -> BundlePredictor:
        """Loads the bundle in `folder` with its members; needs no data and no study.

        Raises:
            InputError: no bundle, or files of a member are missing.
        """
        from model.predictor import RunPredictor

        bundle = Bundle.load(folder)
        return cls(bundle, [RunPredictor.load(folder / member.path) for member in bundle.members])

    # -- the methods of a run's predictor

    def windows(self, recordings: Any, which: Any = None) -> BundleWindows:
        """The windows of `recordings` for each member, scaled and registered as in its training."""
        return BundleWindows(tuple(member.windows(recordings, which) for member in self.members))

    def encode(self, loaded: BundleWindows, index: np.ndarray) -> BundleMemory:
        """Encodes the windows at `index` (B,) with each member."""
        pairs = zip(self.members, loaded.members, strict=True)
        return BundleMemory(tuple(member.encode(part, index) for member, part in pairs))

    def begin(self, memory: BundleMemory) -> BundleState:
        """Decoder states before the first token, one row per window."""
        pairs = zip(self.members, memory.members, strict=True)
        return BundleState(tuple(member.begin(part) for member, part in pairs))

    def advance(self, state: BundleState, tokens: Tensor) -> tuple[dict[str, Tensor], BundleState]:
        """Feeds `tokens` (N,); returns pooled log-probabilities (N, classes) by head, and the next state."""
        answers = [
            member.advance(part, tokens) for member, part in zip(self.members, state.members, strict=True)
        ]
        logits = [answer[0] for answer in answers]
        return self.pooled(logits, tokens), BundleState(tuple(answer[1] for answer in answers))

    def reorder(self, state: BundleState, rows: Tensor) -> BundleState:
        """The states of `rows` (M,), in that order; rows may repeat or be left out."""
        pairs = zip(self.members, state.members, strict=True)
        return BundleState(tuple(member.reorder(part, rows) for member, part in pairs))

    def operation_logits(self, memory: BundleMemory) -> Tensor:
        """(B, operations) pooled log-probabilities of the operation."""
        parts = zip(self.members, memory.members, strict=True)
        return self._pool(torch.stack([member.operation_logits(part) for member, part in parts]), "operation")

    # -- pooling

    def pooled(self, members: Sequence[Mapping[str, Tensor]], tokens: Tensor) -> dict[str, Tensor]:
        """Head → (N, classes) log-probabilities from the logits of the members.

        Args:
            tokens: (N,) the token before; if it is a parameter, the values are those of this parameter.
        """
        answer = {}
        for head in ("type", "command", "param_type"):
            logits = torch.stack([member[head] for member in members])
            answer[head] = self._scaled(self._pool(logits, head), head)
        answer["param_value"] = self._pooled_values([member["param_value"] for member in members], tokens)
        return answer

    def _pooled_values(self, members: Sequence[Tensor], tokens: Tensor) -> Tensor:
        """(N, values): pooled over the values of the parameters `tokens`, `FLOOR` elsewhere."""
        rows, classes = members[0].shape
        out = torch.full((rows, classes), FLOOR, device=self.device)
        letter = self._letter[tokens.to(self.device)]
        out[letter < 0] = -math.log(max(1, classes))
        for number in letter.unique().tolist():
            if number < 0 or not len(self._values[number]):
                continue
            here = (letter == number).nonzero()
            inside = torch.stack([member[here, self._values[number]] for member in members])
            pooled = self._pool(inside, "param_value")
            out[here, self._values[number]] = self._scaled(pooled, "param_value")
        return out

    def _scaled(self, pooled: Tensor, head: str) -> Tensor:
        """(N, classes) log-probabilities, calibrated."""
        temperature, exponent = self.bundle.temperatures[head], self.bundle.exponents[head]
        if exponent != 1:
            pooled = -((pooled.amax(dim=-1, keepdim=True) - pooled) ** exponent)
        if temperature != 1 or exponent != 1:
            pooled = torch.log_softmax(pooled / temperature, dim=-1).clamp_min(FLOOR)
        return pooled

    def _pool(self, logits: Tensor, head: str) -> Tensor:
        """(K, N, classes) logits as (N, classes) log-probabilities, with the weights of the head."""
        weights = self._weights[head]
        used = weights > 0
        log_p = torch.log_softmax(logits[used].float(), dim=-1).clamp_min(FLOOR)
        if self.bundle.pooling == "mixture":
            pooled = torch.tensordot(weights[used], log_p.exp(), dims=1).log()
        else:
            pooled = torch.log_softmax(torch.tensordot(weights[used], log_p, dims=1), dim=-1)
        return pooled.clamp_min(FLOOR)


def _letters(vocabulary: Vocabulary) -> Tensor:
    """(tokens,) the parameter of each token, -1 for tokens that are not a parameter."""
    table = vocabulary.factor_table
    return torch.from_numpy(np.where(table[:, 0] == PARAM_TYPE, table[:, 2], -1))
