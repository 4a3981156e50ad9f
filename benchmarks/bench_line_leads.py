"""What a network of the windows track gets wrong: its exact lines by how clearly a window's line leads.

    python benchmarks/bench_line_leads.py results/runs/single/3 --data data/mill [--json]

The label of a window is the line of most of its 64 rows; the first of equally frequent ones. Where it has
only a row more than the next line, the answer depends on a quarter of a second.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from model.config import Config
from model.evaluate import evaluate
from model.predictor import RunPredictor
from model.task import prepare
from tuner.base.files import read_json
from tuner.base.run_folder import CONFIG

LEADS = ((0, 0), (1, 2), (3, 7), (8, 64))  # rows by which a line leads, both included
CLOSE = 3  # rows; with fewer the next line is as good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--data", type=Path, required=True, help="the data set that it was trained on")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    config = Config.from_dict(read_json(options.run / CONFIG))
    task = prepare(options.data, config)
    run = RunPredictor.load(options.run)
    outcome = evaluate(run.network, task, "test", device=run.device)
    windows, ids = task.parts["test"], np.asarray(task.data.line_ids)
    tokens = [_line(row, length) for row, length in zip(task.table.targets, task.table.length, strict=True)]
    lead, right, inside = [], [], []
    for start, owner, line, decoded in zip(
        windows.start, windows.recording, windows.line, outcome.decoded, strict=True
    ):
        recording = task.data.recordings[owner]
        end = min(start + config.window, recording.start + recording.rows)
        counts = Counter(ids[start:end].tolist())
        lead.append(counts[line] - max((n for other, n in counts.items() if other != line), default=0))
        right.append(tuple(decoded) == tokens[line])
        inside.append(tuple(decoded) in {tokens[other] for other in counts})
    leads, exact, present = np.array(lead), np.array(right), np.array(inside)
    rows = []
    for low, high in LEADS:
        here = (leads >= low) & (leads <= high)
        rows.append({"from": low, "to": high, "windows": int(here.sum()), "exact_acc": _share(exact[here])})
    found = {
        "rows": rows,
        "wrong": int((~exact).sum()),
        "line_of_the_window": _share(present[~exact]),
        "close": _share(leads[~exact] < CLOSE),
    }
    if options.json:
        print(json.dumps(found))
        return
    for row in rows:
        print(
            f"leads by {row['from']:2} to {row['to']:2} rows: {row['windows']:4} windows, "
            f"{100 * row['exact_acc']:5.1f} % exact"
        )
    share, close = 100 * found["line_of_the_window"], 100 * found["close"]
    print(f"of {found['wrong']} wrong answers, {share:.0f} % are another line of the same window, and")
    print(f"{close:.0f} % are of windows whose line leads by fewer than {CLOSE} rows")


def _share(of: np.ndarray) -> float:
    return float(of.mean()) if len(of) else 0.0


def _line(targets: np.ndarray, length: int) -> tuple[int, ...]:
    """The tokens of a line as they are decoded: without the end."""
    return tuple(targets[: length - 1].tolist())


if __name__ == "__main__":
    main()
