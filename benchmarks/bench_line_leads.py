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
from typing import Any

import numpy as np

from model.config import Config
from model.evaluate import evaluate
from model.predictor import RunPredictor
from model.task import prepare
from tuner.base.files import read_json
from tuner.base.run_folder import CONFIG

LEADS = ((0, 0), (1, 2), (3, 7), (8, 64))  # rows by which a line leads, both included
CLOSE = 3  # rows; with fewer the next line is as good


def found_in(folder: Path, data: Path) -> dict[str, Any]:
    """What a run decodes rightly of the part test, by the lead of the label of the window."""
    config = Config.from_dict(read_json(folder / CONFIG))
    task, run = prepare(data, config), RunPredictor.load(folder)
    outcome = evaluate(run.network, task, "test", device=run.device)
    windows, ids = task.parts["test"], np.asarray(task.data.line_ids)
    tokens = [  # of each line as they are decoded: without the end
        tuple(row[: length - 1].tolist())
        for row, length in zip(task.table.targets, task.table.length, strict=True)
    ]
    found = []
    for start, owner, line, decoded in zip(
        windows.start, windows.recording, windows.line, outcome.decoded, strict=True
    ):
        recording = task.data.recordings[owner]
        end = min(start + config.window, recording.start + recording.rows)
        counts = Counter(ids[start:end].tolist())
        lead = counts[line] - max((n for other, n in counts.items() if other != line), default=0)
        answer = tuple(decoded)
        found.append((lead, answer == tokens[line], answer in {tokens[other] for other in counts}))
    leads, exact, present = np.array(found).T
    exact, present = exact.astype(bool), present.astype(bool)
    rows = []
    for low, high in LEADS:
        here = (leads >= low) & (leads <= high)
        rows.append({"from": low, "to": high, "windows": int(here.sum()), "exact_acc": _share(exact[here])})
    return {
        "rows": rows,
        "wrong": int((~exact).sum()),
        "line_of_the_window": _share(present[~exact]),
        "close": _share(leads[~exact] < CLOSE),
    }


def _share(of: np.ndarray) -> float:
    return float(of.mean()) if len(of) else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--data", type=Path, required=True, help="the data set that it was trained on")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = found_in(options.run, options.data)
    if options.json:
        print(json.dumps(found))
        return
    for row in found["rows"]:
        leads = f"leads by {row['from']:2} to {row['to']:2} rows"
        print(f"{leads}: {row['windows']:4} windows, {100 * row['exact_acc']:5.1f} % exact")
    share, close = 100 * found["line_of_the_window"], 100 * found["close"]
    print(f"of {found['wrong']} wrong answers, {share:.0f} % are another line of the same window, and")
    print(f"{close:.0f} % are of windows whose line leads by fewer than {CLOSE} rows")


if __name__ == "__main__":
    main()
