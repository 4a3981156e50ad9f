"""A program: reads a Parquet file and writes its rows, pickled, to its output.

Apart from the tuner, because a damaged file can end the process that reads it: polars aborts, as fuzz tests
found.
"""

from __future__ import annotations

import pickle
import sys
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


if __name__ == "__main__":
    pickle.dump(rows(sys.argv[1]), sys.stdout.buffer)
