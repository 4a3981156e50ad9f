"""The bundle as one network: pooled as the stored predictions are, one member as itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from ensemble.bundle import WEIGHTED, Bundle, Member, Pooling
from ensemble.pool import pool
from ensemble.predictor import BundlePredictor
from model.tokens import HEADS, Vocabulary
from tuner.base.errors import InputError

VOCABULARY = Vocabulary.build({"G1 X1 Y2": 3, "G0 X2 Y1 F100": 2, "X3 Y3": 1}, digits=4)
ROWS = 6


class Fixed:
    """A run's predictor whose answer is fixed: what it is asked is not what is tested here."""

    def __init__(self, seed: int, vocabulary: Vocabulary = VOCABULARY) -> None:
        generator = torch.Generator().manual_seed(seed)
        sizes = vocabulary.head_sizes
        self.vocabulary = vocabulary
        self.config = SimpleNamespace(window=64)
        self.operations = ("face", "pocket")
        self.device = torch.device("cpu")
        self.channels = ("a", "b")
        self.logits = {head: 3 * torch.randn(ROWS, sizes[head], generator=generator) for head in HEADS}
        self.operation = torch.randn(ROWS, 2, generator=generator)

    def windows(self, recordings: object, which: object = None) -> range:
        return range(ROWS)

    def encode(self, windows: range, index: np.ndarray) -> int:
        return len(index)

    def begin(self, memory: int) -> list[int]:
        return list(range(memory))

    def advance(self, state: list[int], tokens: Tensor) -> tuple[dict[str, Tensor], list[int]]:
        return {head: logits[state] for head, logits in self.logits.items()}, state

    def reorder(self, state: list[int], rows: Tensor) -> list[int]:
        return [state[row] for row in rows.tolist()]

    def operation_logits(self, memory: int) -> Tensor:
        return self.operation[:memory]


def bundle_of(
    members: int,
    weights: tuple[float, ...] | None = None,
    *,
    pooling: Pooling = "mixture",
    temperatures: Mapping[str, float] | None = None,
    exponents: Mapping[str, float] | None = None,
) -> Bundle:
    even = weights or tuple([1 / members] * members)
    return Bundle(
        name="b",
        track="recordings",
        data_hash="",
        split_hash="",
        vocabulary_digits=4,
        members=tuple(
            Member(f"members/{i}", "s", i, "", {"name": "x", "value": 0}, True, 1, None, i)
            for i in range(members)
        ),
        weights=dict.fromkeys(WEIGHTED, even),
        pooling=pooling,
        temperatures={**dict.fromkeys(HEADS, 1.0), **(temperatures or {})},
        exponents={**dict.fromkeys(HEADS, 1.0), **(exponents or {})},
    )


def answer_of(predictor: BundlePredictor, token: str = "X") -> dict[str, np.ndarray]:
    """What follows `token` in every row."""
    state = predictor.begin(predictor.encode(predictor.windows(None), np.arange(ROWS)))
    answer, _ = predictor.advance(state, torch.full((ROWS,), VOCABULARY.ids[token]))
    return {head: logits.numpy() for head, logits in answer.items()}


def values_of(letter: str) -> np.ndarray:
    return VOCABULARY.value_param_type == VOCABULARY.param_types.index(letter)


def conditional(logits: np.ndarray, letter: str) -> np.ndarray:
    """Log-probabilities among one parameter's values."""
    inside = logits[:, values_of(letter)]
    return inside - np.log(np.exp(inside).sum(axis=1, keepdims=True))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_one_member_answers_as_itself() -> None:
    run = Fixed(1)
    answer = answer_of(BundlePredictor(bundle_of(1), [run]))
    for head in ("type", "command", "param_type"):
        np.testing.assert_allclose(answer[head], torch.log_softmax(run.logits[head], -1), atol=1e-5)
    expected = conditional(run.logits["param_value"].numpy(), "X")
    np.testing.assert_allclose(answer["param_value"][:, values_of("X")], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mixture", "log_linear"])
def test_heads_are_pooled_as_stored_predictions_are(pooling: Pooling) -> None:
    weights = (0.6, 0.3, 0.1)
    runs = [Fixed(i) for i in range(3)]
    predictor = BundlePredictor(bundle_of(3, weights, pooling=pooling), runs)
    answer = answer_of(predictor)
    for head in ("type", "command", "param_type"):
        parts = [torch.log_softmax(run.logits[head], -1).numpy() for run in runs]
        np.testing.assert_allclose(answer[head], pool(parts, np.array(weights), pooling=pooling), atol=1e-5)
    for letter in "XYF":
        parts = [conditional(run.logits["param_value"].numpy(), letter) for run in runs]
        expected = pool(parts, np.array(weights), pooling=pooling)
        answer = answer_of(predictor, letter)
        np.testing.assert_allclose(answer["param_value"][:, values_of(letter)], expected, atol=1e-5)


@pytest.mark.parametrize("token", ["X", "G1"])
@pytest.mark.parametrize("pooling", ["mixture", "log_linear"])
def test_every_head_answers_a_distribution(pooling: Pooling, token: str) -> None:
    answer = answer_of(BundlePredictor(bundle_of(2, pooling=pooling), [Fixed(1), Fixed(2)]), token)
    for head in HEADS:
        np.testing.assert_allclose(np.exp(answer[head]).sum(axis=1), 1, rtol=1e-5)


def test_rows_that_name_different_parameters_are_asked_for_different_values() -> None:
    predictor = BundlePredictor(bundle_of(2), [Fixed(1), Fixed(2)])
    state = predictor.begin(predictor.encode(predictor.windows(None), np.arange(ROWS)))
    tokens = [VOCABULARY.ids[word] for word in ("X", "Y", "F", "G0", "X", "Y")]
    mixed = predictor.advance(state, torch.tensor(tokens))[0]["param_value"].numpy()
    for row, word in enumerate(("X", "Y", "F", "G0", "X", "Y")):
        np.testing.assert_allclose(mixed[row], answer_of(predictor, word)["param_value"][row], atol=1e-6)


def test_the_temperature_comes_after_pooling() -> None:
    runs = [Fixed(1), Fixed(2)]
    cold = answer_of(BundlePredictor(bundle_of(2), runs))
    warm = answer_of(BundlePredictor(bundle_of(2, temperatures={"type": 2.0, "param_value": 3.0}), runs))
    np.testing.assert_allclose(warm["type"], log_softmax(cold["type"] / 2), atol=1e-5)
    np.testing.assert_allclose(warm["command"], cold["command"])
    third = log_softmax(cold["param_value"][:, values_of("X")] / 3)
    np.testing.assert_allclose(warm["param_value"][:, values_of("X")], third, atol=1e-5)


def test_the_exponent_is_that_of_the_gaps_between_pooled_answers() -> None:
    runs = [Fixed(1), Fixed(2)]
    plain = answer_of(BundlePredictor(bundle_of(2), runs))
    bent = answer_of(BundlePredictor(bundle_of(2, temperatures={"type": 2.0}, exponents={"type": 1.5}), runs))
    gaps = plain["type"].max(axis=1, keepdims=True) - plain["type"]
    np.testing.assert_allclose(bent["type"], log_softmax(-(gaps**1.5) / 2), atol=1e-5)
    np.testing.assert_allclose(bent["command"], plain["command"])


def test_a_member_without_weight_in_a_head_is_not_heard_there() -> None:
    runs = [Fixed(1), Fixed(2)]
    answer = answer_of(BundlePredictor(bundle_of(2, (1.0, 0.0)), runs))
    np.testing.assert_allclose(answer["type"], torch.log_softmax(runs[0].logits["type"], -1), atol=1e-5)


def test_the_order_of_members_changes_nothing() -> None:
    one = answer_of(BundlePredictor(bundle_of(2, (0.7, 0.3)), [Fixed(1), Fixed(2)]))
    two = answer_of(BundlePredictor(bundle_of(2, (0.3, 0.7)), [Fixed(2), Fixed(1)]))
    for head in HEADS:
        np.testing.assert_allclose(one[head], two[head], atol=1e-5)


def test_states_are_reordered_member_by_member() -> None:
    predictor = BundlePredictor(bundle_of(2), [Fixed(1), Fixed(2)])
    state = predictor.begin(predictor.encode(predictor.windows(None), np.arange(ROWS)))
    state = predictor.reorder(state, torch.tensor([4, 4, 0]))
    assert state.members == ([4, 4, 0], [4, 4, 0])
    assert predictor.advance(state, torch.ones(3, dtype=torch.long))[0]["type"].shape == (3, 4)


def test_operations_are_pooled() -> None:
    runs = [Fixed(1), Fixed(2)]
    predictor = BundlePredictor(bundle_of(2), runs)
    answer = predictor.operation_logits(predictor.encode(predictor.windows(None), np.arange(ROWS))).exp()
    expected = sum(torch.softmax(run.operation, -1) for run in runs) / 2
    torch.testing.assert_close(answer, expected)


def test_members_that_do_not_belong_together_are_refused_by_name() -> None:
    other = Fixed(2, Vocabulary.build({"G1 X1": 1}, digits=4))
    with pytest.raises(InputError, match="s/1 has another vocabulary than s/0"):
        BundlePredictor(bundle_of(2), [Fixed(1), other])
