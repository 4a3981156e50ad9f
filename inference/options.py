"""Decoding options: greedy, beam, or sampling with minimum Bayes risk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from inference.beam import ALL, Filter
from model.tokens import HEADS
from tuner.base.errors import InputError, nearest

METHODS = ("greedy", "beam", "sample+mbr")


def neutral() -> dict[str, float]:
    """A temperature of 1 per head."""
    return dict.fromkeys(HEADS, 1.0)


@dataclass(frozen=True)
class DecodingOptions:
    """Decoding parameters; `canonical` drops those without effect.

    Attributes:
        method: one of METHODS.
        beam: hypotheses per window (method "beam").
        temperatures: per head, for choosing lines; reported probabilities come from the calibration.
        top_k, top_p: see `Filter`; None: no filter.
        samples: lines drawn per window (method "sample+mbr").
        seed: seed of the draws.
    """

    method: str = "greedy"
    beam: int = 1
    temperatures: Mapping[str, float] = field(default_factory=neutral)
    top_k: int | None = None
    top_p: float | None = None
    samples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            hint = nearest(str(self.method), METHODS)
            raise InputError(
                f"decoding method: expected one of {', '.join(METHODS)}, got {self.method!r}{hint}"
            )
        for name, value in (("beam", self.beam), ("samples", self.samples)):
            if value is not None and not (isinstance(value, int) and 1 <= value <= 10_000):
                raise InputError(f"{name}: expected a whole number from 1 to 10000, got {value!r}")
        self.filter()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DecodingOptions:
        """From `decoding` of a bundle; the key `joint` is ignored."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if values.get(name) is not None}
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `decoding` of a bundle."""
        return {
            "method": self.method,
            "beam": self.beam,
            "temperatures": dict(self.temperatures),
            "top_k": self.top_k,
            "top_p": self.top_p,
            "samples": self.samples,
        }

    def filter(self) -> Filter:
        """Temperatures, top-k and top-p for the search. InputError names a bad one."""
        return Filter(
            temperature={**neutral(), **self.temperatures},
            top_k=ALL if self.top_k is None else int(self.top_k),
            top_p=1.0 if self.top_p is None else float(self.top_p),
        )

    def canonical(self) -> DecodingOptions:
        """The simplest options that give the same lines.

        A beam of 1 is greedy decoding, which takes the most probable token. An equal temperature for all
        heads, top-k and top-p do not change this token, so they are dropped. Temperatures that differ
        between heads are kept.
        """
        if self.method == "sample+mbr":
            return replace(self, beam=1, samples=self.samples or DEFAULT_SAMPLES)
        if self.method == "beam" and self.beam > 1:
            return replace(self, samples=None)
        per_head = len(set(self.temperatures.values())) > 1
        kept = dict(self.temperatures) if per_head else neutral()
        return DecodingOptions(temperatures=kept)


DEFAULT_SAMPLES = 16  # lines drawn per window by default
