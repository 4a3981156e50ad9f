"""Dropout that is cheap on a CPU, where drawing the mask costs more than the layer that it follows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LOWEST = torch.iinfo(torch.int64).min


class Dropout(nn.Module):
    """As nn.Dropout (an element is zeroed with probability `p`, the others are scaled up), drawn in bytes.

    torch draws a random number for each element: 4.4 ms forwards and backwards for (64, 16, 512) on one
    core, a third of an attention layer's step. A byte for each, eight from one draw, takes 1.9 ms. So p is
    rounded to 256ths; the scale belongs to the rounded p, and the mean stays exact. Draws come from torch's
    default generator. On a GPU it is nn.Dropout.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.dropped = min(round(p * 256), 255)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.dropped == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(_LOWEST, None)
        keep = draws.view(torch.uint8)[: x.numel()] >= self.dropped
        return x * (keep.to(x.dtype) * (256 / (256 - self.dropped))).view(x.shape)

    def extra_repr(self) -> str:
        return f"p={self.p}"
