"""Losses: each option against its formula, masked classes, and terms that cost nothing at weight 0."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from model.config import Config
from model.losses import (
    HeadLosses,
    class_counts,
    classification_loss,
    combine,
    contrastive_loss,
    hide_patches,
    inverse_sqrt_weights,
    loss_weights,
    reconstruction_loss,
    reverse_gradient,
)
from model.tokens import HEADS
from tuner.base.errors import InputError


def sample(seed: int = 0, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 4, classes, generator=generator, requires_grad=True)
    target = torch.randint(-1, classes, (3, 4), generator=generator)
    return logits, target


@given(st.integers(0, 50), st.sampled_from([0.0, 0.1, 0.5]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_cross_entropy_and_smoothing_equal_torchs(seed: int, smoothing: float, weighted: bool) -> None:
    logits, target = sample(seed)
    weight = torch.rand(5) + 0.5 if weighted and not smoothing else None  # torch weighs smoothing otherwise
    theirs = F.cross_entropy(
        logits.flatten(0, 1), target.flatten(), weight, ignore_index=-1, label_smoothing=smoothing
    )
    assert torch.allclose(
        classification_loss(logits, target, smoothing=smoothing, class_weight=weight), theirs
    )


def test_positions_where_a_head_does_not_apply_change_nothing() -> None:
    logits, target = sample()
    loss = classification_loss(logits, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[target == -1] == 0).all()
    assert (gradient[target != -1] != 0).any()


def test_a_head_without_targets_costs_zero_and_keeps_a_graph() -> None:
    logits, target = sample()
    loss = classification_loss(logits, torch.full_like(target, -1))
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


@pytest.mark.parametrize("options", [{}, {"smoothing": 0.2}, {"gamma": 2.0}, {"gamma": 0.5}])
def test_impossible_classes_get_no_mass_and_no_nan(options: dict[str, float]) -> None:
    logits, _ = sample()
    target = torch.zeros(3, 4, dtype=torch.int64)
    masked = logits.masked_fill(torch.tensor([False, False, True, True, False]), -torch.inf)
    loss = classification_loss(masked, target, **options)
    (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
    assert torch.isfinite(gradient).all() and (gradient[..., 2:4] == 0).all()
    # the same as if the impossible classes did not exist
    assert torch.allclose(loss, classification_loss(logits[..., [0, 1, 4]], target, **options))


def test_the_only_possible_class_costs_nothing() -> None:
    logits = torch.full((1, 3), -torch.inf)
    logits[0, 1] = 4.0
    assert classification_loss(logits, torch.tensor([1]), smoothing=0.3) == 0


def test_focal_with_gamma_zero_is_cross_entropy_and_higher_gamma_forgives_the_easy() -> None:
    target = torch.tensor([0])
    easy, hard = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    assert classification_loss(easy, target, gamma=0.0) == F.cross_entropy(easy, target)
    p = F.softmax(easy, -1)[0, 0]
    focal = classification_loss(easy, target, gamma=2.0)
    assert torch.allclose(focal, (1 - p) ** 2 * -p.log(), rtol=1e-4)
    assert focal / F.cross_entropy(easy, target) < 0.01
    assert classification_loss(hard, target, gamma=2.0) / F.cross_entropy(hard, target) > 0.9


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_has_a_finite_gradient_at_certainty(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    classification_loss(logits, torch.tensor([0]), gamma=gamma).backward()
    assert torch.isfinite(logits.grad).all()


def test_smoothing_keeps_the_best_logits_apart_by_a_finite_margin() -> None:
    target = torch.tensor([0])
    sure, modest = torch.tensor([[30.0, 0.0, 0.0]]), torch.tensor([[3.0, 0.0, 0.0]])
    assert classification_loss(sure, target) < classification_loss(modest, target)
    assert classification_loss(sure, target, smoothing=0.1) > classification_loss(
        modest, target, smoothing=0.1
    )


def test_class_weights_are_the_inverse_square_root_of_frequency() -> None:
    counts = torch.tensor([100, 25, 0])
    weights = inverse_sqrt_weights(counts)
    assert weights[1] / weights[0] == pytest.approx(2.0)
    assert torch.isfinite(weights).all()
    assert (weights * counts.clamp_min(1)).sum() / counts.clamp_min(1).sum() == pytest.approx(1.0)


def test_class_weights_shift_the_gradient_towards_the_rare_class() -> None:
    targets = torch.tensor([[[0, -1, -1, -1]] * 9 + [[1, -1, -1, -1]]])
    counts = class_counts(targets, dict.fromkeys(HEADS, 2))
    assert counts["type"].tolist() == [9, 1] and counts["command"].tolist() == [0, 0]
    gradients = {}
    for on in (False, True):
        losses = HeadLosses(Config(loss_type="cross_entropy", class_weights=on), counts=counts)
        logits = torch.zeros(1, 10, 2, requires_grad=True)
        losses("type", logits, targets[..., 0]).backward()
        gradients[on] = logits.grad[0, 9, 1].abs() / logits.grad[0, 0, 0].abs()
    assert gradients[True] == pytest.approx(3 * gradients[False])


def test_each_loss_type_reads_only_its_own_parameter() -> None:
    logits, target = sample()

    def value(**keys: object) -> float:
        return HeadLosses(Config.from_dict(keys))("type", logits, target).item()

    plain = value(loss_type="cross_entropy")
    assert value(loss_type="cross_entropy", focal_gamma=5, label_smoothing=0.5) == plain
    assert value(loss_type="focal", focal_gamma=0, label_smoothing=0.5) == pytest.approx(plain)
    assert value(loss_type="focal", focal_gamma=2) < plain
    assert value(loss_type="label_smoothing", label_smoothing=0.0, focal_gamma=5) == plain
    assert value(loss_type="label_smoothing", label_smoothing=0.3) != plain


def test_a_weight_of_zero_is_never_computed() -> None:
    calls: list[str] = []

    def term(name: str, value: float):
        def compute() -> torch.Tensor:
            calls.append(name)
            return torch.tensor(value, requires_grad=True)

        return compute

    total, parts = combine(
        {"a": term("a", 2.0), "b": term("b", 5.0), "c": term("c", 7.0)}, {"a": 3.0, "b": 0.0}
    )
    assert calls == ["a"] and set(parts) == {"a"}
    assert total == 6.0 and parts["a"] == 2.0


def test_all_weights_zero_is_an_error_that_names_the_terms() -> None:
    with pytest.raises(InputError, match="type, command"):
        combine({"type": lambda: torch.zeros(()), "command": lambda: torch.zeros(())}, {})


def head_terms(config: Config, logits: dict[str, torch.Tensor], targets: torch.Tensor):
    heads = HeadLosses(config)
    return {h: partial(heads, h, logits[h], targets[..., column]) for column, h in enumerate(HEADS)}


@pytest.mark.parametrize("silent", HEADS)
def test_a_head_of_weight_zero_gets_no_gradient_and_the_others_do(silent: str) -> None:
    logits = {head: torch.randn(2, 3, 4, requires_grad=True) for head in HEADS}
    targets = torch.randint(0, 4, (2, 3, 4))
    config = Config.from_dict({f"{silent}_weight": 0.0})
    total, _ = combine(head_terms(config, logits, targets), loss_weights(config))
    total.backward()
    for head in HEADS:
        assert (logits[head].grad is None) == (head == silent)


def test_a_larger_weight_scales_the_heads_gradient() -> None:
    targets = torch.randint(0, 4, (2, 3, 4))
    gradients = {}
    for weight in (1.0, 4.0):
        logits = {head: torch.zeros(2, 3, 4, requires_grad=True) for head in HEADS}
        config = Config(command_weight=weight)
        combine(head_terms(config, logits, targets), loss_weights(config))[0].backward()
        gradients[weight] = logits["command"].grad
    assert torch.allclose(gradients[4.0], 4 * gradients[1.0])


def test_hidden_patches_are_zero_whole_and_about_the_share_asked() -> None:
    x = torch.randn(200, 64, 3)
    masked, hidden = hide_patches(x, share=0.25, rows=8, generator=torch.Generator().manual_seed(0))
    assert (masked[hidden] == 0).all() and torch.equal(masked[~hidden], x[~hidden])
    patches = hidden.view(200, 8, 8)
    assert (patches.all(2) | ~patches.any(2)).all()
    assert patches.any(2).any(1).all()
    assert 0.22 < hidden.float().mean() < 0.32


def test_reconstruction_counts_hidden_rows_of_present_channels_only() -> None:
    x, predicted = torch.zeros(1, 4, 2), torch.zeros(1, 4, 2)
    hidden = torch.tensor([[False, True, False, False]])
    present = torch.tensor([[True, False]])
    predicted[0, 0, 0] = 100.0  # a row in sight
    predicted[0, 1, 1] = 100.0  # a channel that the recording lacks
    predicted[0, 1, 0] = 3.0
    assert reconstruction_loss(predicted, x, hidden, present) == 9.0


def test_reversed_gradient_is_the_identity_forwards_and_negative_backwards() -> None:
    x = torch.ones(3, requires_grad=True)
    y = reverse_gradient(x, 0.5)
    assert torch.equal(y, x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.full((3,), -0.5))


def test_contrastive_prefers_windows_of_one_line_close_together() -> None:
    label = torch.tensor([0, 0, 1, 1])
    close = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    assert contrastive_loss(close, label) < 0.01
    assert contrastive_loss(close[[0, 2, 1, 3]], label) > 5


def test_contrastive_without_partners_is_zero_with_a_graph() -> None:
    embedding = torch.randn(3, 4, requires_grad=True)
    loss = contrastive_loss(embedding, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss == 0 and torch.isfinite(embedding.grad).all()


def test_contrastive_gradient_pulls_a_pair_together() -> None:
    embedding = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    label = torch.tensor([0, 0, 1, 1, 2, 3])
    before = F.cosine_similarity(embedding[0], embedding[1], dim=0)
    (gradient,) = torch.autograd.grad(contrastive_loss(embedding, label), embedding)
    moved = embedding - 0.05 * gradient
    assert torch.isfinite(gradient).all()
    assert F.cosine_similarity(moved[0], moved[1], dim=0) > before
