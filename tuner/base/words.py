"""Formats numbers, durations and values as text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

BLOCKS = "▁▂▃▄▅▆▇█"
LONGEST_NAME = 100  # characters; file systems allow 255 bytes, and endings are added to names


def duration(seconds: float) -> str:
    """`95` → "1 min 35 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def in_words(values: Mapping[str, Any]) -> str:
    """`learning_rate=0.0012, scheduler=cosine`, or "nothing that differs from the defaults"."""
    if not values:
        return "nothing that differs from the defaults"
    return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())


def slug(text: str) -> str:
    """Turns `text` into a name that is safe for folders and databases."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:LONGEST_NAME] or "study"


def sparkline(values: Sequence[float], *, width: int = 60) -> str:
    """`values` as at most `width` blocks of different heights. Always shows the first and the last value."""
    count = min(width, len(values))
    if count < 2:
        return BLOCKS[0] * count
    shown = [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
    low, span = min(shown), (max(shown) - min(shown)) or 1.0
    return "".join(BLOCKS[min(7, int(8 * (v - low) / span))] for v in shown)
