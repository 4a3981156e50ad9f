"""Members that another machine trained come from the artefact store."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from ensemble import __main__ as command
from tuner.artifacts.run_store import RunStore, location_for
from tuner.base.run_folder import STORED
from tuner.storage.access import default_url, open_records


def test_an_ensemble_is_built_from_runs_that_another_machine_trained(
    make_runs: Callable[..., list[Path]], results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = open_records(default_url(results), create=True)
    study = optuna.create_study(study_name="loss", storage=records)
    place = location_for(study, f"file://{tmp_path}/store")
    assert place is not None
    for number, folder in enumerate(make_runs(3)):
        RunStore(place).upload(folder, number)
    shutil.rmtree(results / "runs")
    (results / STORED).write_text(json.dumps({"store": place.url}))
    monkeypatch.setattr(
        sys, "argv", ["ensemble", "build", "--k", "3", "--weights", "uniform", "--results", str(results)]
    )
    assert command.main() == 0
    assert len(json.loads((results / "ensembles/top3/bundle.json").read_text())["members"]) == 3
