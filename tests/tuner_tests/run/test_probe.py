"""What a study will cost: measured epochs, times those that the pruner lets through."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.base.errors import WorkFailed
from tuner.definition.pruner_settings import PrunerSettings
from tuner.definition.study_file import StudyFile
from tuner.run import probe
from tuner.workloads.workload import Workload


class Work(Workload):
    """A workload that does what the test says."""

    def __init__(self, does: Callable[..., dict[str, float]]) -> None:
        self.does = does

    def run(self, config: Any, report: Any, *, run_folder: Path, inputs: Path | None) -> dict[str, float]:
        return self.does(report, run_folder)


def test_a_probe_stops_after_two_epochs_and_keeps_nothing() -> None:
    epochs: list[int] = []
    folders: list[Path] = []

    def train(report: Any, run_folder: Path) -> dict[str, float]:
        folders.append(run_folder)
        for epoch in range(100):
            epochs.append(epoch)
            report(epoch, {"loss": 1.0})
        return {}

    found = probe.timed(Work(train), {}, inputs=None)
    assert epochs == [0, 1]
    assert found.epoch < 1
    assert not folders[0].parents[3].exists()


def test_a_trial_without_reports_is_one_long_epoch() -> None:
    found = probe.timed(Work(lambda report, run_folder: {}), {}, inputs=None)
    assert found.epoch == 0
    assert found.trial(10) == found.first_epoch


def test_a_probe_runs_in_a_process_of_its_own(
    make_study: Callable[..., StudyFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "objective", raising=False)  # of a test before
    found = probe.measure(make_study(), {"x": 0.5})
    assert found.first_epoch > 0
    assert "objective" not in sys.modules


def test_an_error_before_the_first_report_is_said(make_study: Callable[..., StudyFile]) -> None:
    with pytest.raises(WorkFailed, match=r"small: the probe failed: ValueError: no good: 0\.5"):
        probe.measure(make_study(), {"x": 0.5, "mode": "error"})


def test_expected_epochs_follow_the_rungs() -> None:
    assert probe.expected_epochs(PrunerSettings(), 9) == 9
    halving = PrunerSettings(kind="successive_halving", min_resource=1, max_resource=9, eta=3)
    assert math.isclose(probe.expected_epochs(halving, 9), 1 + 2 / 3 + 6 / 9)
    assert math.isclose(probe.expected_epochs(halving, 2), 1 + 1 / 3), "trials that were made shorter"
    assert probe.expected_epochs(halving, 1) == 1
    hyperband = PrunerSettings(kind="hyperband", min_resource=1, max_resource=9, eta=3)
    # brackets of 9, 5 and 3 trials, whose first rungs are after epochs 1, 3 and 9
    expected = (9 * (1 + 2 / 3 + 6 / 9) + 5 * (3 + 6 / 3) + 3 * 9) / 17
    assert math.isclose(probe.expected_epochs(hyperband, 9), expected)
