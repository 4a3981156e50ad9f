"""All options of one training run, checked once when the config is made.

The keys are flat because the parameters of a sweep are flat. The comments name the files that read them.
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
    """The options of a run. `Config.from_dict` checks names, types and ranges; `Config(…)` only ranges.

    Lengths are rows (one row is about 0.26 s of the machine's time), rates are per optimiser step.
    """

    # -- windows and vocabulary (model/windows.py, model/tokens.py)
    track: Literal["recordings", "windows"] = "recordings"  # split by recording; "windows": only to compare
    window: int = 64  # rows per window
    stride: int = 16  # rows from the start of one window to the next
    normalization: Literal["global", "recording", "prefix"] = "recording"  # what channels are centred on
    prefix_rows: int = 20  # first rows of a recording whose mean is subtracted; for normalization "prefix"
    machine_position: bool = False  # adds mpox mpoy mpoz to the input; it nearly reveals the line
    vocab_bucket_digits: int | None = 4  # digits that a value's bucket keeps; None: all
    vocabulary_file: str | None = None  # file of a published vocabulary; None: built from train
    registration: bool = True  # corrects the delay between sensors and lines of each recording
    context_before: int = 0  # rows before the window that the network sees too
    context_after: int = 64  # rows after the window; sensors lag by some 20 rows
    fit_on: Literal["train", "all_but_test", "all"] = "train"  # others: a final fit, once all is chosen
    split_seed: int = 42  # seed of the split into parts
    reshuffle: int = 0  # another number: another split of the recordings that are not in test

    # -- network (model/network.py)
    d_model: int = 128  # width of the network; a multiple of heads
    encoder_layers: int = 1  # attention layers over the summary of the window
    decoder_layers: int = 1  # attention layers over the tokens of the line
    heads: int = 4  # attention heads per layer
    dropout: float = 0.1  # dropout probability of activations
    feature_dropout: float = 0.5  # probability that an input channel is zero for a whole window
    feature_dropout_rescale: bool = True  # multiplies the kept channels by 1 / (1 - feature_dropout)

    # -- training (model/learner.py, model/schedules.py)
    seed: int = 0  # seed of initial weights, order of windows and augmentation
    epochs: int = 40  # passes over the windows of train
    batch_size: int = 64  # windows per step
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"  # sgd has Nesterov momentum 0.9
    learning_rate: float = 1e-3  # peak learning rate, reached after the warm-up
    weight_decay: float = 0.01  # weight decay of matrices; norms and biases have none
    grad_clip: float = 1.0  # largest norm of the gradient; 0: no clipping
    warmup_epochs: int = 2  # epochs of warm-up; 0: none; not used by onecycle
    warmup_type: Literal["linear", "exponential", "cosine"] = "linear"  # shape of the warm-up
    scheduler: Literal["cosine", "onecycle", "plateau", "step", "constant"] = "cosine"  # after the warm-up
    lr_decay: float = 0.5  # factor on the rate, for scheduler "step" and "plateau"
    lr_step_epochs: int = 5  # epochs between two decays, for scheduler "step"
    plateau_patience: int = 2  # epochs without improvement before a decay, for scheduler "plateau"
    early_stopping: int = 0  # epochs without a better `val/overall_acc` before the run stops; 0: off
    evaluate: Literal["every", "due"] = "every"  # every epoch, or those that a study needs, and the last
    ema: float = 0.0  # decay of the moving average of weights that is evaluated and kept; 0: no average
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # auto: CUDA, then MPS, then CPU
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: bfloat16 if in hardware
    gradient_checkpointing: bool = False  # less memory, more time: activations are computed twice

    # -- losses (model/losses.py)
    type_weight: float = 1.0  # loss weight: kind of token (special, command, parameter, value)
    command_weight: float = 1.0  # loss weight: command
    param_type_weight: float = 1.0  # loss weight: parameter letter
    param_value_weight: float = 1.0  # loss weight: value
    reconstruction_weight: float = 0.0  # loss weight: reconstruction of hidden rows (MSE)
    reconstruction_mask: float = 0.25  # share of patches hidden for the reconstruction
    reconstruction_patch: int = 8  # rows per patch
    fingerprint_weight: float = 0.1  # loss weight: operation, from the encoder output
    contrastive_weight: float = 0.0  # loss weight: contrastive, windows of one line attract each other
    contrastive_temperature: float = 0.1  # lower: hard negatives count more
    loss_type: Literal["cross_entropy", "focal", "label_smoothing"] = "label_smoothing"  # of the four heads
    focal_gamma: float = 2.0  # for loss_type "focal"; 0 is cross-entropy
    label_smoothing: float = 0.1  # epsilon, for loss_type "label_smoothing"
    class_weights: bool = False  # weights classes by 1 / sqrt(frequency in train)
    invariant_fingerprint: bool = False  # adversarial head: the encoder must not reveal the recording

    # -- augmentation (model/augment.py); training only
    oversampling_factor: int = 1  # oversampling factor for windows with rare values
    rare_share: float = 0.2  # share of windows that count as rare
    board_dropout: float = 0.1  # probability that a board is masked out of a window
    noise_std: float = 0.02  # standard deviation of the noise, in standard deviations of a channel
    noise_probability: float = 0.5  # probability of noise
    jitter_rows: int = 0  # largest shift of a training window and its label, in rows
    shift_max: int = 2  # largest shift of the input alone, in rows; the edge is repeated
    shift_probability: float = 0.5  # probability of a shift
    scale_range: float = 0.1  # the input is multiplied by 1 ± this
    scale_probability: float = 0.5  # probability of scaling
    mixup_alpha: float = 0.0  # alpha of mixup's Beta(alpha, alpha); 0: no mixup
    cutout_rows: int = 0  # consecutive rows set to the mean of the channel; 0: none
    cutout_probability: float = 0.5  # probability of cutout
    time_warp: float = 0.0  # largest change of a window's speed, and within it: 0.25 for other feeds; 0: none
    time_warp_probability: float = 0.5  # probability of time warp

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

    @property
    def evaluates_each(self) -> bool:
        """Whether every epoch is evaluated: asked for, or needed by what happens next."""
        return self.evaluate == "every" or self.scheduler == "plateau" or self.early_stopping > 0

    @property
    def last_is_best(self) -> bool:
        """Whether the last evaluated epoch is the result, and not the best one.

        With `select` among what is trained on, no epoch can be shown to be better than the last. Where few
        epochs are evaluated, which one is kept must not depend on when a study asked.
        """
        return self.fit_on != "train" or self.evaluate == "due"

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
    ("reshuffle", 0, 10_000),
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
