"""A linear layer that a CPU trains in bfloat16, where its processor multiplies bfloat16 faster."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """As nn.Linear. With `in_bfloat16` set, training multiplies in bfloat16; all else stays float32.

    torch.autocast gives no gain on a CPU: it copies each weight's gradient from a transposed layout (28 ms
    for 1024 x 7840), and what follows in bfloat16 (attention, norms) is slower than in float32.
    """

    in_bfloat16 = False

    def forward(self, x: Tensor) -> Tensor:
        if not (self.in_bfloat16 and self.training):
            return F.linear(x, self.weight, self.bias)
        return _Bfloat16Product.apply(x, self.weight) + self.bias


class _Bfloat16Product(torch.autograd.Function):
    """x (…, I), weight (O, I) → x · weightᵀ (…, O), all float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        rows, half = x.flatten(0, -2).bfloat16(), weight.bfloat16()
        ctx.save_for_backward(rows, half)
        return (rows @ half.T).float().unflatten(0, x.shape[:-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        rows, half = ctx.saved_tensors
        flat = gradient.flatten(0, -2).bfloat16()
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (flat @ half).float().unflatten(0, gradient.shape[:-1])
        return of_x, (flat.T @ rows).float()
