"""A trial whose run was made before, in any study: its epochs are reported again and its files are shared.

Only complete runs are reused, and only those that still have their weights: but a retraining is there to be
compared, so it needs none. Pruning, views and W&B see what they would see of a new run, so a reused run can
be pruned.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.config import Config
from model.run_files import PARTS, PREDICTIONS, SCALER, VOCABULARY, WEIGHTS
from tuner.base.endings import Paused, Pruned
from tuner.base.errors import InputError
from tuner.base.files import read_json, write_json
from tuner.base.run_folder import CONFIG, METRICS, RESULT, Report, RunFolder, due, read_metrics

SHARED = (WEIGHTS, VOCABULARY, SCALER, *(f"{PREDICTIONS}/{part}.npz" for part in PARTS))
JUDGED_BY = "val/overall_acc"  # as `model.trainer` chooses the best epoch


class Runs:
    """The runs of results folders by their identity. A folder that was read once is not read again."""

    def __init__(self) -> None:
        self._seen: dict[Path, str] = {}

    def find(self, identity: str, results: Path, *, weights: bool = True) -> Path | None:
        """The folder of a complete run of this identity in `results/runs`, or None.

        Args:
            weights: only one that still has its weights.
        """
        for folder in sorted((results / "runs").glob("*/*")):
            if folder.name.isdigit() and folder not in self._seen and (folder / RESULT).exists():
                self._seen[folder] = str(_read(folder).get("identity", ""))
            if self._seen.get(folder) == identity and _whole(folder, identity, weights=weights):
                return folder
        return None


def _read(folder: Path) -> dict[str, Any]:
    """The result of a run; {} where it has none or a damaged one."""
    try:
        found = read_json(folder / RESULT)
    except (InputError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(folder: Path, identity: str, *, weights: bool) -> bool:
    """Whether the folder (still) holds this run, complete, with the files that are needed of it."""
    result = _read(folder)
    needed = (METRICS, *(name for name in SHARED if weights or name != WEIGHTS))
    return (
        result.get("identity") == identity
        and result.get("state") == "complete"
        and all((folder / name).is_file() for name in needed)
    )


def replay(
    source: Path,
    config: Config,
    report: Report,
    *,
    run_folder: Path,
    checkpoint: Path | None,
    weights: bool = True,
) -> dict[str, float] | None:
    """Reports the epochs of the run `source` again and writes `run_folder` as training would.

    Args:
        weights: they are needed; otherwise they are shared if they are there.

    Returns:
        its metrics; None, before anything was reported, where the run's files were removed meanwhile or an
        epoch was not evaluated whose metrics `report` needs.

    Raises:
        Pruned, Paused: raised by `report`; the result in the run folder says so. A paused trial that is
            resumed goes on with its next epoch.
    """
    began = time.monotonic()
    with RunFolder(run_folder, checkpoint=checkpoint) as folder:
        try:
            for name in SHARED:
                if weights or name != WEIGHTS or (source / name).exists():
                    _share(source / name, folder.path / name)
            result, epochs = read_json(source / RESULT), read_metrics(source / METRICS)
        except (InputError, OSError):
            return None
        if any(JUDGED_BY not in line and due(report, line["epoch"]) for line in epochs):
            return None
        original = result.get("reused", f"runs/{source.parent.name}/{source.name}")
        result |= {"reused": original, "notes": [f"reused: {original}"]}
        write_json(folder.path / CONFIG, config.to_dict())
        first = max((line["epoch"] for line in folder.before), default=-1) + 1  # of a resumed trial
        told = epochs[:first]
        try:
            for line in epochs[first:]:
                told.append(line)
                metrics = {name: value for name, value in line.items() if name != "epoch"}
                folder.log(line["epoch"], metrics)
                report(line["epoch"], metrics)
        except (Pruned, Paused) as error:
            for name in SHARED:
                (folder.path / name).unlink(missing_ok=True)
            (folder.path / PREDICTIONS).rmdir()
            ended = _until(told, result, config)
            state = "pruned" if isinstance(error, Pruned) else "paused"
            folder.finish({**ended, "state": state, "seconds": round(time.monotonic() - began, 3)})
            raise
        folder.finish({**result, "seconds": round(time.monotonic() - began, 3)})
    return dict(result["metrics"])


def _until(told: list[dict[str, Any]], result: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """The result of the run had it ended after the epochs `told`."""
    judged = [line for line in told if JUDGED_BY in line]
    best = judged[-1] if config.last_is_best else max(judged, key=lambda line: line[JUDGED_BY])
    return {
        **{name: value for name, value in result.items() if name != "ms_per_window"},
        "metrics": {name: value for name, value in best.items() if name.startswith("val/")},
        "test_metrics": {},
        "best_epoch": best["epoch"],
    }


def _share(source: Path, target: Path) -> None:
    """The file under a second name; a copy where the file system has no links."""
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
