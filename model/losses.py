"""The training losses: one per head over the target positions, auxiliary losses, and their weighted sum.

Every loss is a function of tensors. `combine` computes only those with a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from model.config import Config
from model.tokens import HEADS
from tuner.base.errors import InputError

IGNORED = -1  # a target where a head does not apply


def combine(
    terms: Mapping[str, Callable[[], Tensor]], weights: Mapping[str, float]
) -> tuple[Tensor, dict[str, float | Tensor]]:
    """Σ weight · term. Terms with weight 0 are not computed.

    Args:
        terms: each loss as a function without arguments that returns a scalar tensor.
        weights: the weight of each term; a missing one counts as 0.

    Returns:
        the sum with its graph, and each computed term, unweighted and detached.

    Raises:
        InputError: every weight is 0.
    """
    total: Tensor | None = None
    parts: dict[str, float | Tensor] = {}
    for name, term in terms.items():
        weight = weights.get(name, 0.0)
        if weight == 0:
            continue
        value = term()
        parts[name] = value.detach()
        total = weight * value if total is None else total + weight * value
    if total is None:
        raise InputError(f"nothing to learn: the weights of {', '.join(terms)} are all 0")
    return total, parts


def loss_weights(config: Config) -> dict[str, float]:
    """The weight of each term of `combine`, by the term's name."""
    return {
        **{head: getattr(config, f"{head}_weight") for head in HEADS},
        "reconstruction": config.reconstruction_weight,
        "fingerprint": config.fingerprint_weight,
        "invariance": config.fingerprint_weight if config.invariant_fingerprint else 0.0,
        "contrastive": config.contrastive_weight,
    }


class HeadLosses:
    """The losses of the four heads, by `loss_type` and `class_weights` of the config.

    Args:
        config: loss_type, focal_gamma, label_smoothing and class_weights are read.
        counts: how often each class of each head is a target in train, {head: (classes,)}. Needed for
            `config.class_weights`.
    """

    def __init__(self, config: Config, *, counts: Mapping[str, Tensor] | None = None) -> None:
        self.smoothing = config.label_smoothing if config.loss_type == "label_smoothing" else 0.0
        self.gamma = config.focal_gamma if config.loss_type == "focal" else 0.0
        self.class_weights: dict[str, Tensor] = {}
        if config.class_weights:
            assert counts is not None, "class weights are made from the classes' counts in train"
            self.class_weights = {head: inverse_sqrt_weights(counts[head]) for head in HEADS}

    def __call__(
        self, head: str, logits: Tensor, target: Tensor, position_weight: Tensor | None = None
    ) -> Tensor:
        """The loss of one head: see `classification_loss`. -inf in `logits` marks an impossible class."""
        weight = self.class_weights.get(head)
        if weight is not None and weight.device != logits.device:
            weight = self.class_weights[head] = weight.to(logits.device)
        return classification_loss(
            logits,
            target,
            smoothing=self.smoothing,
            gamma=self.gamma,
            class_weight=weight,
            position_weight=position_weight,
        )


def classification_loss(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.0,
    gamma: float = 0.0,
    class_weight: Tensor | None = None,
    position_weight: Tensor | None = None,
) -> Tensor:
    """Mean loss over the positions where `target` is not -1; 0 (with a graph) where there are none.

    Args:
        logits: (…, classes); target: (…) int64.
        position_weight: (…), for a weighted mean: the shares of the lines of a mixture.

    - gamma 0, smoothing 0: cross-entropy;
    - smoothing ε: (1 - ε) · loss of the target + ε · mean loss over the possible classes (logit above -inf);
      impossible classes get no probability (Szegedy et al., 2016, where all classes are possible);
    - gamma γ: focal, cross-entropy times (1 - p)^γ (Lin et al., 2017);
    - class_weight (classes,): a weighted mean, as in torch.nn.functional.cross_entropy.
    """
    applies = target != IGNORED
    chosen, wanted = logits[applies].float(), target[applies]
    if wanted.numel() == 0:
        return chosen.sum()  # an empty sum: 0, with a gradient of zeros instead of none
    log_p = F.log_softmax(chosen, dim=-1)
    loss = -log_p.gather(-1, wanted[:, None])[:, 0]
    if gamma:
        # Clamped away from 0, where the gradient of the power is infinite for gamma < 1.
        loss = loss * (1 - torch.exp(-loss)).clamp_min(1e-6) ** gamma
    if smoothing:
        possible = chosen > -torch.inf
        mean = -log_p.masked_fill(~possible, 0.0).sum(-1) / possible.sum(-1)
        loss = (1 - smoothing) * loss + smoothing * mean
    if class_weight is None and position_weight is None:
        return loss.mean()
    weight = torch.ones_like(loss) if class_weight is None else class_weight[wanted]
    if position_weight is not None:
        weight = weight * position_weight[applies]
    return (weight * loss).sum() / weight.sum()


def inverse_sqrt_weights(counts: Tensor) -> Tensor:
    """1/√count per class, scaled to mean 1 over the targets of train; unseen classes count once."""
    counts = counts.float().clamp_min(1.0)
    weights = counts.rsqrt()
    return weights * counts.sum() / (weights * counts).sum()


def class_counts(targets: Tensor, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """How often each class of each head is a target: targets (…, 4) int64 → {head: (classes,)}."""
    flat = targets.reshape(-1, len(HEADS))
    return {
        head: torch.bincount(flat[flat[:, column] != IGNORED, column], minlength=sizes[head])
        for column, head in enumerate(HEADS)
    }


def hide_patches(x: Tensor, *, share: float, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hides patches of `rows` rows, each with probability `share`, the same for all channels of a window.

    Args:
        x: (batch, time, channel), left as it is.

    Returns:
        x with hidden rows set to 0 (a channel's mean), and hidden (batch, time) bool; every window has at
        least one hidden patch.
    """
    batch, time, _ = x.shape
    patches = -(-time // rows)
    draw = torch.rand(batch, patches, generator=generator, device=x.device)
    hidden = (draw < share) | (draw == draw.amin(1, keepdim=True))
    hidden = hidden.repeat_interleave(rows, dim=1)[:, :time]
    return x.masked_fill(hidden[..., None], 0.0), hidden


def reconstruction_loss(predicted: Tensor, x: Tensor, hidden: Tensor, present: Tensor) -> Tensor:
    """Mean squared error over the hidden rows and the channels that the recording has.

    Args:
        predicted, x: (batch, time, channel); hidden: (batch, time) bool; present: (batch, channel) bool.
    """
    window = hidden.nonzero()[:, 0]
    error = (predicted[hidden].float() - x[hidden]) * present[window]
    return error.square().sum() / present[window].sum().clamp_min(1)


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, scale: float) -> Tensor:
        context.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -context.scale * gradients[0], None


def reverse_gradient(x: Tensor, scale: float = 1.0) -> Tensor:
    """Returns x; reverses the gradient (Ganin et al., 2016).

    The head after it learns to name the recording, and the layers before it learn to prevent that.
    """
    return _ReverseGradient.apply(x, scale)


def contrastive_loss(embedding: Tensor, label: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss (Khosla et al., 2020, L_out): windows of one line attract each other.

    Args:
        embedding: (batch, width), any norm; label: (batch,) int64, line ids of the windows.

    Returns:
        the mean over the windows that have a partner in the batch; 0 (with a graph) if none has.
    """
    unit = F.normalize(embedding.float(), dim=-1)
    itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
    similarity = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    partner = (label[:, None] == label[None, :]) & ~itself
    anchors = partner.any(1)
    log_p = F.log_softmax(similarity[anchors], dim=-1).masked_fill(~partner[anchors], 0.0)
    if len(log_p) == 0:
        return (unit * 0.0).sum()
    return -(log_p.sum(1) / partner[anchors].sum(1)).mean()
