"""A program: reads a Parquet file and writes its rows to its output, as a JSON list of objects.

Apart from the tuner, because a damaged file can end the process that reads it: polars aborts, as fuzz tests
found.
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from typing import Any


def rows(path: str) -> list[dict[str, Any]]:
    """Reads with polars, or with pandas where that is missing."""
    try:
        import polars
    except ImportError:
        import pandas as pd

        frame = pd.read_parquet(path)
        return [dict(row) for row in frame.astype(object).where(frame.notna(), None).to_dict("records")]
    found: list[dict[str, Any]] = polars.read_parquet(path).to_dicts()
    return found


def plain(value: Any) -> Any:
    """A value that JSON has not: numbers of NumPy and decimals as numbers, all others as text."""
    if hasattr(value, "item"):
        return value.item()
    return float(value) if isinstance(value, Decimal) else str(value)


if __name__ == "__main__":
    json.dump(rows(sys.argv[1]), sys.stdout, default=plain)
