"""Refit: trains the networks of a bundle once more on all recordings, after everything was chosen.

Hyperparameters, weights, temperatures and decoding were chosen on held-out recordings. They are kept, and the
held-out recordings become training data. The accuracy of the refitted bundle cannot be measured then; it is
estimated by `but_test`, which leaves `test` out.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import joblib
import torch

from ensemble.build import COPIED
from ensemble.bundle import Bundle, Member
from ensemble.library import check_data, store
from model.recordings import Recordings
from model.run_files import SCALER, VOCABULARY
from model.trainer import train
from tuner.base.errors import InputError
from tuner.base.files import read_json, whole_folder
from tuner.base.run_folder import CONFIG, RESULT


def refit(
    bundle: Bundle,
    folder: Path,
    *,
    results: Path,
    data: Path,
    but_test: bool,
    jobs: int,
    created: str,
    done: Callable[[str], None],
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Trains each member of the bundle at `folder` again and writes the bundle `<name>-refit`.

    Args:
        but_test: leaves `test` out, so that the gain of the refit can be measured there.
        jobs: number of processes, which share the cores.
        done: called with the name of each finished member.
        changes: config values that override those of the members, for a quick try.

    Returns:
        the folder of the new bundle.

    Raises:
        InputError: the bundle was trained on another data set.
        TrainingFailed: see `model.train`.
    """
    recordings = Recordings.load(data)
    check_data(bundle, recordings)
    if bundle.track != "recordings":
        raise InputError(f"bundle '{bundle.name}': refitting needs the track 'recordings'")
    name = f"{bundle.name}-{'refit-but-test' if but_test else 'refit'}"
    new = results / "ensembles" / name
    fit_on = "all_but_test" if but_test else "all"
    with whole_folder(new) as beside:
        work = [
            joblib.delayed(_train_again)(
                {**read_json(folder / member.path / CONFIG), **(changes or {}), "fit_on": fit_on},
                data,
                beside / member.path,
                max(1, (os.cpu_count() or 1) // jobs),
            )
            for member in bundle.members
        ]
        finished = joblib.Parallel(n_jobs=jobs, return_as="generator")(work)
        for member, _ in zip(bundle.members, finished, strict=True):
            done(member.name)
        refitted = _described(bundle, beside, name=name, fit_on=fit_on, created=created)
        for file in (VOCABULARY, SCALER):
            shutil.copyfile(beside / refitted.members[0].path / file, beside / file)
        refitted.save(beside)
        store(beside, recordings, everything=not but_test)
    return new


def _train_again(config: dict[str, Any], data: Path, folder: Path, threads: int) -> None:
    """Trains one member in its own process; keeps only the files that a bundle needs."""
    torch.set_num_threads(threads)
    train(config, lambda epoch, metrics: None, data=data, run_folder=folder)
    for path in folder.iterdir():
        if path.name not in COPIED:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _described(bundle: Bundle, folder: Path, *, name: str, fit_on: str, created: str) -> Bundle:
    """The bundle with its new members, without the figures of the old ones."""

    def member(old: Member) -> Member:
        result = read_json(folder / old.path / RESULT)
        return dataclasses.replace(
            old, metrics={}, parameters=result["parameters"], ms_per_window=result["ms_per_window"]
        )

    note = {
        "part": fit_on,
        "how": f"each member of '{bundle.name}' trained again with its own config on {fit_on}; "
        "weights, temperatures and decoding as chosen there",
    }
    return dataclasses.replace(
        bundle,
        name=name,
        members=tuple(member(old) for old in bundle.members),
        chosen_by={**bundle.chosen_by, "refit": note},
        report={},
        created=created,
    )
