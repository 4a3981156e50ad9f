"""Optimisers by name, and an average of the weights over steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from model.config import Config

SGD_MOMENTUM = 0.9


def make_optimizer(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    """AdamW, Adam or SGD (Nesterov, momentum 0.9) for the trainable parameters of `network`.

    Only matrices and kernels have weight decay; norms, biases and other vectors have none. It is decoupled
    for adamw (Loshchilov & Hutter, 2019) and part of the gradient for adam and sgd.
    """
    wanted = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in wanted if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in wanted if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = all(p.device.type in ("cpu", "cuda") for p in wanted)  # one kernel per group
    match config.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.learning_rate, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr=config.learning_rate, fused=fused)
        case _:
            return torch.optim.SGD(
                groups, lr=config.learning_rate, momentum=SGD_MOMENTUM, nesterov=True, fused=fused
            )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """Scales all gradients so that their total norm is at most `limit`; returns the norm before.

    torch.nn.utils.clip_grad_norm_ always multiplies and takes three times as long on a CPU.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = [g.reshape(-1) for g in gradients]
    norm = torch.stack([g.dot(g) for g in flat]).sum().sqrt().item()
    if norm > limit:
        torch._foreach_mul_(gradients, limit / (norm + 1e-6))
    return norm


class WeightAverage:
    """An exponential moving average of a network's weights (Polyak & Juditsky, 1992).

    The decay grows with the number of steps n, min(decay, (1 + n) / (10 + n)), so that short runs forget
    their first steps. Buffers are not averaged.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._live = list(network.parameters())
        self._average = [p.detach().clone() for p in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """Adds the current weights to the average; called after each step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        live: list[Tensor] = [p.detach() for p in self._live]
        torch._foreach_lerp_(self._average, live, 1 - decay)

    def state(self) -> tuple[int, list[Tensor]]:
        """The number of updates and the averages, in the order of the network's parameters."""
        return self.steps, self._average

    @torch.no_grad()
    def set_state(self, steps: int, averages: Sequence[Tensor]) -> None:
        """Takes over what `state` gave."""
        self.steps = steps
        for own, average in zip(self._average, averages, strict=True):
            own.copy_(average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network has the averaged weights inside the block, and its own again after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for live, average in zip(self._live, self._average, strict=True):
            kept = live.detach().clone()
            live.copy_(average)
            average.copy_(kept)
