"""Loads a trained run for decoding: takes windows of recordings, returns the logits of the next token.

`ensemble.predictor` has the same methods for several runs. Decoders use only these methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.config import Config
from model.devices import place
from model.network import LayerCache, Network
from model.recordings import Recordings
from model.registration import Registration
from model.row_source import POSITION_FEATURES, RowSource, delays_of
from model.run_files import SCALER, VOCABULARY, WEIGHTS
from model.scaler import Scaler
from model.tokens import HEADS, Vocabulary
from model.windows import Windows, find_windows
from tuner.base.errors import InputError
from tuner.base.files import read_object
from tuner.base.run_folder import CONFIG


@dataclass(frozen=True, eq=False)
class LoadedWindows:
    """Windows of some recordings and the rows to cut them from; see `RunPredictor.windows`."""

    windows: Windows
    source: RowSource

    def __len__(self) -> int:
        return len(self.windows)


@dataclass(frozen=True, eq=False)
class Memory:
    """Encoded windows: (windows, frames, width)."""

    encoded: Tensor

    def __len__(self) -> int:
        return len(self.encoded)


@dataclass(frozen=True, eq=False)
class State:
    """The decoder state between two tokens, one row per window or beam."""

    caches: list[LayerCache]


class RunPredictor:
    """The network of a run folder or of a member of a bundle, ready to decode."""

    def __init__(
        self,
        network: Network,
        *,
        config: Config,
        vocabulary: Vocabulary,
        scaler: Scaler,
        registration: Registration | None,
    ) -> None:
        self.device = place(config).device
        self.network = network.to(self.device).eval()
        self.config, self.vocabulary, self.scaler = config, vocabulary, scaler
        self.registration = registration

    @classmethod
    def load(cls, folder: Path) -> RunPredictor:
        """Reads config, vocabulary, scaler and weights of a run folder.

        Raises:
            InputError: a file is missing or torn, or does not fit the others.
        """
        config = _read(folder / CONFIG, Config.from_dict)
        vocabulary = _read(folder / VOCABULARY, Vocabulary.from_json)
        scaler = _read(folder / SCALER, Scaler.from_json)
        parts = _by_prefix(_weights(folder))
        registration = None
        if "registration" in parts:
            arrays = {k: v.numpy() for k, v in parts["registration"].items()}
            try:
                registration = Registration.from_arrays(arrays)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise InputError(
                    f"{folder / WEIGHTS}: its registration is not of a known kind ({error})"
                ) from None
        network = Network(
            config,
            channels=len(scaler.channels) + POSITION_FEATURES * config.machine_position,
            head_sizes=vocabulary.head_sizes,
            tokens=len(vocabulary),
            operations=len(scaler.operations),
            recordings=len(parts["network"].get("recording.bias", ())),
        )
        try:
            network.load_state_dict(parts["network"])
        except RuntimeError as error:
            first, *more = str(error).splitlines()[1:] or [str(error)]
            others = f", and {len(more)} more" if more else ""
            raise InputError(
                f"{folder / WEIGHTS}: does not fit {CONFIG} and {VOCABULARY} ({first.strip()[:200]}{others})"
            ) from None
        return cls(network, config=config, vocabulary=vocabulary, scaler=scaler, registration=registration)

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that recordings must have, in order (`Recordings.from_files(channels=…)`)."""
        return self.scaler.channels

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations that the network knows, in the order of its logits."""
        return self.scaler.operations

    def windows(self, data: Recordings, which: Sequence[int] | None = None) -> LoadedWindows:
        """The windows of the recordings `which` (default: all), scaled, with the delay of each corrected.

        Raises:
            InputError: `data` has other channels than this predictor.
        """
        config = self.config
        windows = find_windows(data, window=config.window, stride=config.stride, which=which)
        owners = sorted({int(i) for i in windows.recording})
        delays = delays_of(data, self.registration, owners)
        return LoadedWindows(windows, RowSource(data, self.scaler, config, delays=delays))

    @torch.inference_mode()
    def encode(self, loaded: LoadedWindows, index: np.ndarray) -> Memory:
        """Encodes the windows at `index` (B,). All beams and steps share the result."""
        x, _ = loaded.source.windows(loaded.windows, index)
        return Memory(self.network.encode(x.to(self.device)))

    @torch.inference_mode()
    def operation_logits(self, memory: Memory) -> Tensor:
        """(B, operations) float32."""
        return self.network.operation_logits(memory.encoded).float()

    @torch.inference_mode()
    def begin(self, memory: Memory) -> State:
        """The state before the first token, one row per window. Pass BOS to the first `advance`."""
        return State(self.network.decoder.begin(memory.encoded))

    @torch.inference_mode()
    def advance(self, state: State, tokens: Tensor) -> tuple[dict[str, Tensor], State]:
        """The logits {head: (N, classes) float32} of the token that follows `tokens` (N,)."""
        logits, caches = self.network.decoder.step(state.caches, tokens.to(self.device))
        return {head: logits[head].float() for head in HEADS}, State(caches)

    @torch.inference_mode()
    def reorder(self, state: State, rows: Tensor) -> State:
        """The state of `rows` (M,), in that order; rows may repeat or be left out."""
        return State([cache.reorder(rows.to(self.device)) for cache in state.caches])


T = TypeVar("T")


def _read(path: Path, parse: Callable[[dict[str, Any]], T]) -> T:
    """Parses a JSON file with `parse`; adds the file name to its InputError."""
    content = read_object(path)
    try:
        return parse(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a run; InputError if they are missing, torn or not finite."""
    path = folder / WEIGHTS
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise InputError(
            f"{folder}: has no {WEIGHTS}; only the best runs of a study keep their weights"
        ) from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not readable ({error}); was it cut off?") from None
    for name, tensor in tensors.items():
        if "." not in name:
            raise InputError(f"{path}: holds '{name}', which no part of the network has")
        if not torch.isfinite(tensor).all():
            raise InputError(f"{path}: the weights '{name}' are not finite; train the run again")
    return tensors


def _by_prefix(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"network": {}}
    for name, tensor in tensors.items():
        prefix, rest = name.split(".", 1)
        parts.setdefault(prefix, {})[rest] = tensor
    return parts
