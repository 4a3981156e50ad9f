"""The packed losses of lines equal those of a decoder that computes every head at every position."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.augment import Mixture
from model.config import Config
from model.line_losses import LineLosses
from model.losses import HeadLosses, class_counts
from model.network import SUMMARY_TOKENS, Network, Positions
from model.recordings import Recordings
from model.task import Task, prepare
from model.tokens import HEADS, PARAM_VALUE

OPTIONS = {"d_model": 16, "heads": 2, "decoder_layers": 2, "window": 16}
WINDOWS = 12


class Remembers:
    """A teacher whose answer depends on the window, the position and the class."""

    share, temperature = 0.4, 1.5

    def __init__(self, sizes: dict[str, int]) -> None:
        self.sizes = sizes

    def answers(self, start: torch.Tensor, recording: torch.Tensor, inputs: torch.Tensor):
        place = start[:, None, None] + 3 * torch.arange(inputs.shape[1])[:, None]
        return {head: torch.sin(place + torch.arange(max(1, n))) for head, n in self.sizes.items()}


def dense(
    network: Network, task: Task, heads: HeadLosses, memory: torch.Tensor, line: np.ndarray
) -> dict[str, torch.Tensor]:
    inputs, targets = (torch.from_numpy(a[line]) for a in (task.table.inputs, task.table.factors))
    logits = network.decoder(memory, inputs)
    is_value = (targets[..., 0] == PARAM_VALUE)[..., None]
    allowed = torch.from_numpy(task.vocabulary.values_of_param)[targets[..., 2].clamp_min(0)]
    logits["param_value"] = logits["param_value"].masked_fill(is_value & ~allowed, -torch.inf)
    return {h: heads(h, logits[h], targets[..., column]) for column, h in enumerate(HEADS)}


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("options", [{}, {"class_weights": True}, {"loss_type": "focal"}], ids=str)
def test_packed_losses_equal_dense_ones_also_in_a_mixture(
    tiny_recordings: Recordings, options: dict, taught: bool
) -> None:
    config = Config.from_dict({**OPTIONS, **options})
    task = prepare(tiny_recordings.folder, config)
    torch.manual_seed(0)
    network = Network(
        config,
        channels=task.source.channels,
        head_sizes=task.vocabulary.head_sizes,
        tokens=len(task.vocabulary),
        operations=1,
    ).eval()
    windows = task.parts["train"]
    line, start = windows.line[:WINDOWS], windows.start[:WINDOWS]
    counts = class_counts(torch.from_numpy(task.table.factors[windows.line]), task.vocabulary.head_sizes)
    heads = HeadLosses(config, counts=counts)
    teacher = Remembers(task.vocabulary.head_sizes) if taught else None
    lines = LineLosses(network.decoder, task, heads, teacher, device=torch.device("cpu"))
    memory = torch.randn(WINDOWS, SUMMARY_TOKENS, config.d_model)
    partner = torch.randperm(WINDOWS)

    def packed(line: np.ndarray, start: np.ndarray, mixture: Mixture | None = None) -> dict:
        terms = lines.terms(memory, start=start, recording=np.zeros_like(start), line=line, mixture=mixture)
        return {head: term() for head, term in terms.items()}

    own, others = packed(line, start), packed(line[partner], start[partner])
    mixed = packed(line, start, Mixture(0.7, partner))
    for head in HEADS:
        torch.testing.assert_close(mixed[head], 0.7 * own[head] + 0.3 * others[head])
    if not taught:
        torch.testing.assert_close(own, dense(network, task, heads, memory, line))


def test_positions_spread_what_they_packed() -> None:
    here = Positions(torch.tensor([[True, True, False], [True, False, False]]))
    x = torch.arange(12.0).view(2, 3, 2)
    assert here.pack(x).tolist() == [[0, 1], [2, 3], [6, 7]]
    assert here.spread(here.pack(x)).tolist() == [[[0, 1], [2, 3], [0, 0]], [[6, 7], [0, 0], [0, 0]]]
