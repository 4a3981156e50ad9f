"""Every option of one training run, checked once, when it is made.

The keys are flat because a sweep's parameters are; the groups below are the rooms that read them.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuner.base.errors import InputError


@dataclass(frozen=True)
class Config:
    """A run's options. `Config(**mapping)` trusts its types; `Config.from_dict` is the checked entry.

    Lengths are rows (one row is about 0.26 s of the machine's time), rates are per optimiser step.
    """

    # -- which windows, and what is asked of them (model/windows.py, model/tokens.py)
    track: Literal["recordings", "windows"] = "recordings"  # split whole recordings, or (to compare) windows
    window: int = 64  # rows a window
    stride: int = 16  # rows from one window's start to the next
    normalization: Literal["global", "recording", "prefix"] = "recording"  # whose mean is a channel's zero
    prefix_rows: int = 20  # rows whose mean is the zero of each channel when normalization is "prefix"
    machine_position: bool = False  # adds mpox mpoy mpoz: position nearly gives the answer away
    vocab_bucket_digits: int | None = 4  # digits kept of a quantised value; None keeps all
    vocabulary_file: str | None = None  # a published vocabulary to use instead of one made from train
    registration: bool = True  # undoes each recording's delay of sensors against lines
    context_before: int = 0  # rows before a window that the network sees as well
    context_after: int = 64  # rows after it: the sensors come some 20 rows late
    fit_on: Literal["train", "all_but_test", "all"] = "train"  # more: a final fit, when all else is chosen
    split_seed: int = 42  # which recordings go to which part

    # -- network (model/network.py)
    d_model: int = 128  # width; a multiple of heads
    encoder_layers: int = 1  # attention layers over the window's summary
    decoder_layers: int = 1  # attention layers over the line's tokens
    heads: int = 4  # attention heads a layer
    dropout: float = 0.1  # probability that an activation is zeroed
    feature_dropout: float = 0.5  # probability that an input channel is silent for a whole window
    feature_dropout_rescale: bool = True  # the channels that stay are multiplied by 1 / (1 - feature_dropout)

    # -- training (model/trainer.py, model/schedules.py)
    seed: int = 0  # of initial weights, order of windows and augmentation
    epochs: int = 40  # passes over the windows of train
    batch_size: int = 64  # windows a step
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"  # sgd has Nesterov momentum 0.9
    learning_rate: float = 1e-3  # the peak, reached after warm-up
    weight_decay: float = 0.01  # of matrices; norms and biases have none
    grad_clip: float = 1.0  # largest norm of a step's gradient; 0 does not clip
    warmup_epochs: int = 2  # epochs until the peak; 0 starts at it; onecycle does not read it
    warmup_type: Literal["linear", "exponential", "cosine"] = "linear"  # the rise to the peak
    scheduler: Literal["cosine", "onecycle", "plateau", "step", "constant"] = "cosine"  # after the peak
    lr_decay: float = 0.5  # what step and plateau multiply the rate by
    lr_step_epochs: int = 5  # epochs between two falls of step
    plateau_patience: int = 2  # epochs without a better metric before plateau falls
    early_stopping: int = 0  # epochs without a better `val/overall_acc` before a run ends; 0 never ends it
    ema: float = 0.0  # decay of the averaged weights that are evaluated and kept; 0 keeps the last step's
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # auto: CUDA, then MPS, then CPU
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # bfloat16 pays on GPUs and AMX
    gradient_checkpointing: bool = False  # computes activations twice to keep fewer of them in memory

    # -- losses (model/losses.py)
    type_weight: float = 1.0  # special, command, parameter type or value?
    command_weight: float = 1.0  # which command
    param_type_weight: float = 1.0  # which parameter letter
    param_value_weight: float = 1.0  # which value
    reconstruction_weight: float = 0.0  # hidden rows of the input are predicted (MSE)
    reconstruction_mask: float = 0.25  # share of a window's patches hidden, when reconstruction has a weight
    reconstruction_patch: int = 8  # rows a patch
    fingerprint_weight: float = 0.1  # which operation is running, read from the encoder
    contrastive_weight: float = 0.0  # windows of one line attract each other
    contrastive_temperature: float = 0.1  # lower: the nearest strangers push harder
    loss_type: Literal["cross_entropy", "focal", "label_smoothing"] = "label_smoothing"  # of the four heads
    focal_gamma: float = 2.0  # read when loss_type is "focal"; 0 is cross-entropy
    label_smoothing: float = 0.1  # epsilon; read when loss_type is "label_smoothing"
    class_weights: bool = False  # weighs classes by the inverse square root of their frequency in train
    invariant_fingerprint: bool = False  # adds a reversed-gradient head that must not name the recording

    # -- augmentation (model/augment.py); training only
    oversampling_factor: int = 1  # how much oftener windows with seldom seen values are drawn
    rare_share: float = 0.2  # about this share of the windows, those with the seldomest values, are rare
    board_dropout: float = 0.1  # probability that a present board is absent, mask included, for a window
    noise_std: float = 0.02  # in standard deviations of a channel
    noise_probability: float = 0.5  # that a window gets noise
    jitter_rows: int = 0  # a training window starts up to this many rows earlier or later, its label with it
    shift_max: int = 2  # rows a window moves at most, either way; its edge is repeated
    shift_probability: float = 0.5  # that a window is moved
    scale_range: float = 0.1  # magnitudes are multiplied by 1 ± this
    scale_probability: float = 0.5  # that a window is scaled
    mixup_alpha: float = 0.0  # windows are mixed in pairs by a share from Beta(alpha, alpha); 0: not
    cutout_rows: int = 0  # successive rows set to a channel's mean
    cutout_probability: float = 0.5  # that a window loses rows
    time_warp: float = 0.0  # largest relative change of speed within a window
    time_warp_probability: float = 0.5  # that a window is warped

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"config key '{name}': expected {low} to {high}, got {value!r}")
        if self.d_model % self.heads:
            raise InputError(
                f"config key 'd_model': expected a multiple of heads ({self.heads}), got {self.d_model}; "
                f"{self.d_model - self.d_model % self.heads} is the nearest below"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Checks names and types of `values` (missing keys take their default).

        Raises:
            InputError: names the key, the value, what was expected and, for names, the nearest valid one.
        """
        fields = typing.get_type_hints(cls)
        for name in values:
            if name not in fields:
                close = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
                hint = f"; did you mean '{close[0]}'?" if close else ""
                raise InputError(f"unknown config key '{name}'{hint} (valid: {', '.join(sorted(fields))})")
        return cls(**{name: _checked(name, value, fields[name]) for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """All values, defaults included; `from_dict` of it gives an equal config."""
        return dataclasses.asdict(self)


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("window", 4, 4096),
    ("stride", 1, 4096),
    ("prefix_rows", 1, 10_000),
    ("context_before", 0, 4096),
    ("context_after", 0, 4096),
    ("vocab_bucket_digits", 1, 4),
    ("d_model", 8, 4096),
    ("encoder_layers", 1, 32),
    ("decoder_layers", 1, 32),
    ("heads", 1, 64),
    ("dropout", 0, 0.95),
    ("feature_dropout", 0, 0.95),
    ("epochs", 1, 10_000),
    ("batch_size", 1, 65_536),
    ("learning_rate", 1e-8, 10),
    ("weight_decay", 0, 10),
    ("grad_clip", 0, 1e6),
    ("warmup_epochs", 0, 10_000),
    ("lr_decay", 0.001, 1),
    ("lr_step_epochs", 1, 10_000),
    ("plateau_patience", 1, 10_000),
    ("early_stopping", 0, 10_000),
    ("ema", 0, 0.99999),
    ("type_weight", 0, 1e3),
    ("command_weight", 0, 1e3),
    ("param_type_weight", 0, 1e3),
    ("param_value_weight", 0, 1e3),
    ("reconstruction_weight", 0, 1e3),
    ("fingerprint_weight", 0, 1e3),
    ("reconstruction_mask", 0.01, 0.9),
    ("reconstruction_patch", 1, 4096),
    ("contrastive_weight", 0, 1e3),
    ("contrastive_temperature", 0.01, 10),
    ("focal_gamma", 0, 20),
    ("label_smoothing", 0, 0.9),
    ("oversampling_factor", 1, 100),
    ("rare_share", 0, 1),
    ("board_dropout", 0, 0.95),
    ("noise_std", 0, 10),
    ("noise_probability", 0, 1),
    ("jitter_rows", 0, 4096),
    ("shift_max", 0, 4096),
    ("shift_probability", 0, 1),
    ("scale_range", 0, 0.99),
    ("scale_probability", 0, 1),
    ("mixup_alpha", 0, 100),
    ("cutout_rows", 0, 4096),
    ("cutout_probability", 0, 1),
    ("time_warp", 0, 0.9),
    ("time_warp_probability", 0, 1),
)


def _checked(name: str, value: Any, kind: Any) -> Any:
    """`value` as the type `kind` of the field `name`, or InputError."""
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value in choices:
            return value
        close = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.4)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise InputError(f"config key '{name}': expected one of {', '.join(choices)}, got {value!r}{hint}")
    alternatives = typing.get_args(kind) or (kind,)
    if value is None and type(None) in alternatives:
        return None
    if str in alternatives and isinstance(value, str):
        return value
    if bool in alternatives and isinstance(value, bool):
        return value
    if int in alternatives and not isinstance(value, bool):
        if isinstance(value, int):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
    if float in alternatives and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    names = " or ".join("null" if a is type(None) else a.__name__ for a in alternatives)
    raise InputError(f"config key '{name}': expected {names}, got {value!r}")
