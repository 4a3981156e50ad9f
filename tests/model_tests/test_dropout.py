"""Dropout in bytes does what nn.Dropout does."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from model.dropout import Dropout


@pytest.mark.parametrize("p", [0.05, 0.1, 0.3, 0.95])
def test_it_zeroes_the_share_asked_for_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    y = Dropout(p)(torch.ones(401, 503))
    assert (y == 0).float().mean() == pytest.approx(p, abs=0.004)
    assert y.mean() == pytest.approx(1.0, abs=0.03)
    assert len(y.unique()) == 2


def test_elements_are_dropped_independently_of_their_neighbours() -> None:
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(100_000)) == 0).float()
    for distance in range(1, 17):
        both = (dropped[:-distance] * dropped[distance:]).mean()
        assert both == pytest.approx(0.25, abs=0.01)


def test_the_gradient_passes_where_the_value_did() -> None:
    x = torch.ones(7, 5, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_evaluation_and_probability_zero_change_nothing() -> None:
    x = torch.randn(10)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_seed_decides_and_a_checkpoint_draws_the_same_again() -> None:
    layer, x = Dropout(0.5), torch.ones(64, requires_grad=True)
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    y = checkpoint(layer, x, use_reentrant=False)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_it_keeps_bfloat16() -> None:
    assert Dropout(0.5)(torch.ones(8, dtype=torch.bfloat16)).dtype == torch.bfloat16
