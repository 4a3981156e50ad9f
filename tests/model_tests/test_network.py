"""The network: gradients everywhere, padding nowhere, one step at a time as all at once, and a memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor

from model.config import Config
from model.evaluate import GreedyRules, greedy
from model.losses import HeadLosses, combine, loss_weights
from model.network import Network
from model.tokens import EOS, HEADS, Vocabulary

SIZES = {"type": 4, "command": 5, "param_type": 4, "param_value": 30}
CHANNELS, TOKENS, OPERATIONS = 7, 44, 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(**keys: object) -> Network:
    torch.manual_seed(0)
    config = Config.from_dict(
        {"d_model": 32, "heads": 4, "window": 16, "context_after": 8, "dropout": 0.0, **keys}
    )
    return Network(
        config,
        channels=CHANNELS,
        head_sizes=SIZES,
        tokens=TOKENS,
        operations=OPERATIONS,
        recordings=6,
    )


def windows(net: Network, count: int = 3) -> Tensor:
    config = net.encoder.config
    rows = config.context_before + config.window + config.context_after
    return torch.randn(count, rows, CHANNELS, generator=torch.Generator().manual_seed(1))


def lines(count: int = 3, length: int = 6) -> Tensor:
    ids = torch.randint(5, TOKENS, (count, length), generator=torch.Generator().manual_seed(2))
    ids[:, 0] = 1
    return ids


@pytest.mark.parametrize("context", [{"context_before": 0, "context_after": 0}, {"context_before": 12}, {}])
@pytest.mark.parametrize("layers", [{"encoder_layers": 1, "decoder_layers": 2}, {"encoder_layers": 3}])
def test_logits_have_a_row_for_each_token_and_a_class_for_each_choice(
    context: dict[str, int], layers: dict[str, int]
) -> None:
    net = network(**context, **layers)
    logits = net.decoder(net.encode(windows(net)), lines())
    assert {head: tuple(values.shape) for head, values in logits.items()} == {
        head: (3, 6, size) for head, size in SIZES.items()
    }


def test_a_gradient_reaches_every_parameter() -> None:
    net = network(reconstruction_weight=1.0, invariant_fingerprint=True)
    x = windows(net)
    memory = net.encode(x)
    assert net.recording is not None
    outputs = [
        *net.decoder(memory, lines()).values(),
        net.operation_logits(memory),
        net.recording(net.embedding(memory)),
        net.reconstruct(memory, x.shape[1]),
    ]
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    without = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("head", HEADS)
def test_each_heads_loss_alone_moves_the_encoder(head: str) -> None:
    net = network()
    net.decoder(net.encode(windows(net)), lines())[head].square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.encoder.layers.parameters() if p.ndim == 2)


def test_padding_after_a_line_changes_nothing_before_it() -> None:
    net = network(decoder_layers=2).eval()
    memory = net.encode(windows(net))
    short, padded = lines(length=4), torch.cat([lines(length=4), torch.zeros(3, 3, dtype=torch.int64)], dim=1)
    for head, values in net.decoder(memory, short).items():
        assert torch.allclose(net.decoder(memory, padded)[head][:, :4], values, atol=1e-5)


def test_a_token_does_not_see_those_after_it() -> None:
    net = network(decoder_layers=2).eval()
    memory = net.encode(windows(net))
    other = lines()
    other[:, 3:] = 7
    for head, values in net.decoder(memory, lines()).items():
        assert torch.allclose(net.decoder(memory, other)[head][:, :3], values[:, :3], atol=1e-5)
        assert not torch.allclose(net.decoder(memory, other)[head][:, 3:], values[:, 3:], atol=1e-3)


def test_one_token_at_a_time_gives_the_logits_of_all_at_once() -> None:
    net = network(decoder_layers=2).eval()
    memory, tokens = net.encode(windows(net)), lines()
    whole = net.decoder(memory, tokens)
    caches = net.decoder.begin(memory)
    for position in range(tokens.shape[1]):
        logits, caches = net.decoder.step(caches, tokens[:, position])
        for head in HEADS:
            assert torch.allclose(logits[head], whole[head][:, position], atol=1e-5)


def test_reordered_caches_go_on_as_the_rows_they_came_from() -> None:
    net = network().eval()
    memory, tokens = net.encode(windows(net)), lines()
    _, caches = net.decoder.step(net.decoder.begin(memory), tokens[:, 0])
    rows, before = torch.tensor([2, 0, 0, 1]), torch.tensor([1, 0, 2])
    caches = [cache.reorder(before).reorder(before.argsort()) for cache in caches]
    moved, _ = net.decoder.step([cache.reorder(rows) for cache in caches], tokens[rows, 1])
    straight, _ = net.decoder.step(caches, tokens[:, 1])
    for head in HEADS:
        assert torch.allclose(moved[head], straight[head][rows], atol=1e-6)


def test_a_window_is_answered_the_same_whatever_is_beside_it() -> None:
    net = network().eval()
    x = windows(net)
    assert torch.allclose(net.encode(x)[1:2], net.encode(x[1:2]), atol=1e-5)


def test_checkpointing_changes_no_output() -> None:
    outputs = []
    for on in (False, True):
        net = network(gradient_checkpointing=on, dropout=0.2)
        torch.manual_seed(1)  # the same units are dropped
        outputs.append(net.encode(windows(net)))
    assert torch.allclose(*outputs)


def test_a_tiny_set_is_learnt_by_heart() -> None:
    net = network(d_model=64)
    x, tokens = windows(net, 8), lines(8, 5)
    targets = torch.stack(
        [
            torch.randint(0, size, (8, 5), generator=torch.Generator().manual_seed(3))
            for size in SIZES.values()
        ],
        dim=-1,
    )
    config = Config(loss_type="cross_entropy")
    heads, weights = HeadLosses(config), loss_weights(config)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(120):
        logits = net.decoder(net.encode(x), tokens)
        terms = {h: partial(heads, h, logits[h], targets[..., column]) for column, h in enumerate(HEADS)}
        loss, _ = combine(terms, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    for column, head in enumerate(HEADS):
        assert torch.equal(logits[head].argmax(-1), targets[..., column])


def test_a_greedy_line_is_the_same_whatever_is_decoded_beside_it() -> None:
    """Lines that end early leave the batch; the others go on with their own window and parameter."""
    vocabulary = Vocabulary.build({"G1 X1 Y2": 9, "G0 X2": 5, "X1": 4, "Y2 X1": 3}, digits=4)
    torch.manual_seed(3)
    config = Config.from_dict({"d_model": 32, "heads": 4, "window": 16, "context_after": 8})
    sizes, tokens = vocabulary.head_sizes, len(vocabulary)
    net = Network(config, channels=CHANNELS, head_sizes=sizes, tokens=tokens, operations=OPERATIONS).eval()
    memory, rules = 3 * net.encode(windows(net, 40)), GreedyRules(vocabulary, torch.device("cpu"))
    together = greedy(net, memory, rules)
    lengths = (together == EOS).int().argmax(1)
    assert len(lengths.unique()) > 2
    for row, one in zip(together, memory, strict=True):
        alone = greedy(net, one[None], rules)[0]
        assert torch.equal(row[: len(alone)], alone)
        assert (row[len(alone) :] == EOS).all()
