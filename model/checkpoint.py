"""The state of a training run in one file: a run that goes on from it equals one that was never stopped.

One safetensors file: tensors, and in its metadata everything else as JSON. It is written beside its place and
renamed, so it is whole or absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tuner.base.errors import InputError
from tuner.base.files import whole_file

STATE = "training.safetensors"
SECONDS = 60.0  # between checkpoints that are written in case the process is killed, …
SHARE = 0.05  # … which take at most this share of the time


@dataclass
class State:
    """Named tensors, and values that JSON can hold."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def put(self, prefix: str, tensors: Mapping[str, Tensor]) -> None:
        self.tensors |= {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}

    def take(self, prefix: str) -> dict[str, Tensor]:
        """The tensors that were put under `prefix`."""
        start = f"{prefix}."
        found = {name: tensor for name, tensor in self.tensors.items() if name.startswith(start)}
        return {name.removeprefix(start): tensor for name, tensor in found.items()}


def save(state: State, folder: Path) -> None:
    """Writes a state to a checkpoint folder, in place of the one that is there."""
    # clones, as safetensors refuses tensors that share memory
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in state.tensors.items()}
    with whole_file(folder / STATE) as beside:
        save_file(tensors, beside, metadata={"values": json.dumps(state.values)})


def load(folder: Path) -> State | None:
    """The state in a checkpoint folder, on the CPU; None where there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads(file.metadata()["values"])
            return State({name: file.get_tensor(name) for name in file.keys()}, values)  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: the checkpoint cannot be read ({error}); remove it to train from the start"
        ) from None


def put_optimizer(state: State, optimizer: torch.optim.Optimizer) -> None:
    """Adds the state of an optimiser."""
    own = optimizer.state_dict()
    values: dict[str, dict[str, Any]] = {}
    for number, entries in own["state"].items():
        state.put(f"optimizer.{number}", {k: v for k, v in entries.items() if isinstance(v, Tensor)})
        values[str(number)] = {k: v for k, v in entries.items() if not isinstance(v, Tensor)}
    state.values["optimizer"] = {"groups": own["param_groups"], "state": values}


def take_optimizer(state: State, optimizer: torch.optim.Optimizer) -> None:
    """Gives an optimiser the state that was added."""
    own = state.values["optimizer"]
    entries = {
        int(number): {**state.take(f"optimizer.{number}"), **values}
        for number, values in own["state"].items()
    }
    optimizer.load_state_dict({"state": entries, "param_groups": own["groups"]})


def put_generators(state: State, numbers: np.random.Generator, generator: torch.Generator) -> None:
    """Adds the states of the two generators, and of torch's own on the CPU and on the device."""
    kind = generator.device.type
    state.values |= {"numpy": numbers.bit_generator.state, "device": kind}
    own = {"cpu": torch.get_rng_state(), "own": generator.get_state()}
    if kind != "cpu":
        own["device"] = getattr(torch, kind).get_rng_state()  # torch.cuda or torch.mps
    state.put("generator", own)


def take_generators(state: State, numbers: np.random.Generator, generator: torch.Generator) -> None:
    """Sets the generators to the states that were added; those of a device only on a device of its kind."""
    own = state.take("generator")
    numbers.bit_generator.state = state.values["numpy"]
    torch.set_rng_state(own["cpu"])
    kind = generator.device.type
    if state.values["device"] == kind:
        generator.set_state(own["own"])
        if kind != "cpu":
            getattr(torch, kind).set_rng_state(own["device"])
