"""Decodes recordings into programs and lines of G-code.

import inference

decoder = inference.load("loss5")              # a bundle's name or folder, or a run folder
decoded = decoder.decode("face_012.csv")       # window by window; also a polars or pandas data frame
(whole,) = inference.Reader.of(decoder).read("face_012.csv")    # the program, row by row
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.pipeline import Decoder, load
    from inference.whole import Reader

__all__ = ["Decoder", "Reader", "load"]


def __getattr__(name: str) -> Any:
    """Imports the pipeline on first use, so that `tuner inference --help` needs no torch."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("inference.whole" if name == "Reader" else "inference.pipeline"), name)
    raise AttributeError(f"module 'inference' has no attribute '{name}'")
