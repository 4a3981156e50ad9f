"""Decodes recordings into lines of G-code with a bundle.

import inference

decoder = inference.load("loss5")              # a bundle's name or folder, or a run folder
decoded = decoder.decode("face_012.csv")       # or a polars or pandas data frame
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.pipeline import Decoder, load

__all__ = ["Decoder", "load"]


def __getattr__(name: str) -> Any:
    """Imports the pipeline on first use, so that `python -m inference --help` needs no torch."""
    if name in __all__:
        from inference import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'inference' has no attribute '{name}'")
