"""Optimisers: which is made, what decays, and the average of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.config import Config
from model.optimizers import WeightAverage, clip_gradients, make_optimizer, set_rate


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_the_named_optimizer_learns(name: str, kind: type) -> None:
    net, x = network(), torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
    optimizer = make_optimizer(net, Config.from_dict({"optimizer": name, "learning_rate": 0.01}))
    assert type(optimizer) is kind
    losses = []
    for _ in range(30):
        loss = (net(x) - x[:, :2]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_weight_decay_shrinks_matrices_and_leaves_norms_and_biases(name: str) -> None:
    net = network()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(1.0)
    config = Config.from_dict({"optimizer": name, "learning_rate": 0.1, "weight_decay": 0.1})
    optimizer = make_optimizer(net, config)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p in net.parameters():
        assert (p < 1).all() if p.ndim == 2 else (p == 1).all()


def test_no_weight_decay_leaves_everything() -> None:
    net = network()
    before = [p.clone() for p in net.parameters()]
    optimizer = make_optimizer(net, Config(weight_decay=0.0))
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_every_parameter_is_in_one_group_and_frozen_ones_in_none() -> None:
    net = network()
    net[0].weight.requires_grad_(False)
    held = [p for group in make_optimizer(net, Config()).param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in net.parameters() if p.requires_grad}
    assert len(held) == 5


def test_set_rate_reaches_every_group() -> None:
    optimizer = make_optimizer(network(), Config())
    set_rate(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]


@pytest.mark.parametrize("limit", [0.1, 1.0, 1e6])
def test_clipping_equals_torchs(limit: float) -> None:
    ours, theirs = network(), network()
    for net in (ours, theirs):
        net(torch.ones(5, 4)).square().sum().backward()
    norm = clip_gradients(ours.parameters(), limit)
    assert norm == pytest.approx(float(nn.utils.clip_grad_norm_(theirs.parameters(), limit)), rel=1e-5)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-5)


def test_clipping_skips_parameters_without_a_gradient() -> None:
    net = network()
    net[2](torch.ones(1, 8)).sum().backward()
    assert clip_gradients(net.parameters(), 1e-3) > 1e-3
    assert net[0].weight.grad is None


def test_the_average_lags_behind_the_weights_by_its_decay() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    average = WeightAverage(net, decay=0.9)
    expected = 0.0
    for n in range(1, 41):
        with torch.no_grad():
            net.weight.fill_(1.0)
        average.update()
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay)
    with average.applied():
        assert net.weight.item() == pytest.approx(expected, abs=1e-5)
    assert net.weight.item() == 1.0


def test_the_average_is_put_back_even_when_the_block_fails() -> None:
    net = network()
    average = WeightAverage(net, decay=0.99)
    before = [p.clone() for p in net.parameters()]
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1.0)
    with pytest.raises(KeyError), average.applied():
        assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
        raise KeyError
    assert all(torch.equal(a + 1, b) for a, b in zip(before, net.parameters(), strict=True))
