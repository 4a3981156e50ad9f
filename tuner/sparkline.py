"""A row of numbers as a line of blocks."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], *, width: int = 60) -> str:
    """`values` as blocks from the least to the greatest, at most `width`, the first and last among them."""
    count = min(width, len(values))
    if count < 2:
        return BLOCKS[0] * count
    shown = [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
    low, span = min(shown), (max(shown) - min(shown)) or 1.0
    return "".join(BLOCKS[min(7, int(8 * (v - low) / span))] for v in shown)
