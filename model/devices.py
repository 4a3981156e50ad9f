"""Chooses the device and precision of a run, each with its reason in words."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from torch import nn

from model.config import Config
from model.linear import Linear
from tuner.base.errors import InputError

# of a layer in bfloat16 on a CPU: to convert smaller ones takes longer than the product saves
LEAST_WEIGHTS = 100_000


@dataclass(frozen=True)
class Machine:
    """The hardware that torch finds; made by `look`, or by hand in tests."""

    cuda: str | None  # name of the GPU
    mps: bool
    cpu_bfloat16: bool  # the processor multiplies bfloat16 in hardware (AVX512-BF16, AMX)
    cuda_bfloat16: bool = False

    @classmethod
    def look(cls) -> Machine:
        """Asks torch."""
        cuda = torch.cuda.is_available()
        return cls(
            cuda=torch.cuda.get_device_name() if cuda else None,
            mps=torch.backends.mps.is_available(),
            cpu_bfloat16=_cpu_has_bfloat16(),
            cuda_bfloat16=cuda and torch.cuda.is_bf16_supported(including_emulation=False),
        )


@dataclass(frozen=True)
class Placement:
    """Device and precision of a run; `reason` explains them in one line."""

    device: torch.device
    precision: torch.dtype
    reason: str

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """The context of the forward pass; does nothing in float32 and on a CPU (see `prepare`)."""
        if self.precision == torch.float32 or self.device.type == "cpu":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)

    def prepare(self, network: nn.Module) -> None:
        """On a CPU, bfloat16 is for the training of large linear layers only, where it is faster."""
        here = self.device.type == "cpu" and self.precision == torch.bfloat16
        for module in network.modules():
            if isinstance(module, Linear):
                module.in_bfloat16 = here and module.weight.numel() >= LEAST_WEIGHTS

    def grad_scaler(self) -> torch.amp.GradScaler:
        """Scales the loss so that float16 gradients do not vanish; does nothing in other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)


def place(config: Config, machine: Machine | None = None) -> Placement:
    """Chooses device (auto: CUDA, then MPS, then CPU) and precision (auto: bfloat16, then float32).

    Where the hardware has no bfloat16 (emulation is slow), the run uses float32 and says so.

    Raises:
        InputError: the device is not available, or float16 without CUDA.
    """
    machine = machine or Machine.look()
    kind, why = _device(config.device, machine)
    precision, note = _precision(config.precision, kind, machine)
    return Placement(torch.device(kind), precision, f"{kind} ({why}), {note}")


def _device(asked: str, machine: Machine) -> tuple[str, str]:
    here = {"cuda": machine.cuda is not None, "mps": machine.mps, "cpu": True}
    if asked != "auto":
        if not here[asked]:
            found = ", ".join(name for name, present in here.items() if present)
            raise InputError(f"config key 'device': {asked} is not available here (found: {found})")
        return asked, "asked for"
    if machine.cuda is not None:
        return "cuda", machine.cuda
    if machine.mps:
        return "mps", "no CUDA GPU here"
    return "cpu", "no CUDA and no MPS on this machine"


def _precision(asked: str, kind: str, machine: Machine) -> tuple[torch.dtype, str]:
    if asked == "float16":
        if kind != "cuda":
            raise InputError(
                f"config key 'precision': float16 needs a CUDA GPU and this run is on {kind}; "
                "use bfloat16 or float32"
            )
        return torch.float16, "float16 with scaled loss"
    if asked in ("auto", "bfloat16"):
        able = {"cpu": machine.cpu_bfloat16, "cuda": machine.cuda_bfloat16, "mps": False}[kind]
        if not able:
            return torch.float32, f"float32 (this {kind} does not support bfloat16)"
        return torch.bfloat16, "bfloat16"
    return torch.float32, "float32"


def _cpu_has_bfloat16() -> bool:
    features = torch.cpu.get_capabilities()  # avx512_bf16, amx_bf16, or what other processors have
    return any(present for name, present in features.items() if name.endswith("bf16"))
