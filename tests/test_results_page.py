"""docs/write_results.py: the results page leads with what is known, from a campaign with known answers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import figures
import pytest
import synthetic_campaign
from optuna.trial import TrialState

from tuner.claims.verdict import WORDS
from tuner.definition.loading import load_study_file, shipped_campaign
from tuner.storage.access import default_url, open_records
from tuner.storage.attributes import CONFIRMED
from tuner.storage.study import load_study

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
FEW = {
    "augmentation_optimization": 12, "architecture_sweep": 16, "loss_weighting": 12,
    "inference_parameters": 12, "head_temperatures": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_results", ROOT / "docs" / "write_results.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(writer: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    results = folder / "results of the campaign"
    synthetic_campaign.make_campaign(results, trials=FEW)
    records = open_records(default_url(results))

    def race(number: int, again: list[float], *, shown: bool) -> dict[str, Any]:
        """What a race of one configuration with the default stores."""
        return {
            "number": number if shown else 0, "mean": 0.7, "default": not shown, "leader": number,
            "chance": 0.8, "noise": 0.005, "drop": 0.01, "gain": None, "lead": None, "runner_up": None,
            "candidates": [
                {"number": number, "score": 0.72, "again": again, "rounds": [0, 1, 2], "mean": 0.71,
                 "chance": 0.8},
                {"number": 0, "score": 0.70, "again": [0.70, 0.701, 0.702], "rounds": [0, 1, 2],
                 "mean": 0.701, "chance": 0.2},
            ],
        }  # fmt: skip

    load_study(records, "augmentation_optimization").set_user_attr(
        CONFIRMED, race(3, [0.71, 0.697, 0.704], shown=False)
    )
    study = load_study(records, "loss_weighting")
    winner = next(t.number for t in study.trials[1:] if t.state is TrialState.COMPLETE)
    study.set_user_attr(CONFIRMED, race(winner, [0.720, 0.722, 0.721], shown=True))
    (results / "evaluations").mkdir()
    told = {"overall_acc": 0.9, "exact_acc": 0.882}
    quality = {"ece": 0.05, "ece_by_chance": 0.02, "ece_fitted_here": 0.03}
    calibrated = {"type": {"before": quality, "after": {**quality, "ece": 0.01}}}
    names = ("exact_acc", "row_acc", "program_error_rate", "recording_operation_acc")
    whole = {"oracle program": {name: {"mean": 0.9} for name in names}}
    answers: dict[str, Any] = {
        "baseline": {"baselines": {writer.CLOCK: told}, "whole_recordings": whole},
        "refit_joint": dict.fromkeys(names, 0.954),
        "default_seed0": {"test/overall_acc": 0.93, "test/exact_acc": 0.8, "test/operation_acc": 0.912},
        "refit": {"overall_acc": 0.968, "exact_acc": 0.884, "operation_acc": 0.971},
        "distillation": {"gain_kept": 0.87, "latency": 0.09},
        "winner_windows_seed0": {"test/overall_acc": 0.96, "test/exact_acc": 0.87},
        "baseline_windows": {"baselines": {}},
        "leads": {"rows": [{"from": 0, "to": 2, "windows": 30, "exact_acc": 0.75}], "wrong": 9,
                  "line_of_the_window": 0.9, "close": 0.8},
        "calibration": {"quality": {"test": calibrated}},
        "compare": {"rows": [{"k": 5, "members": 5, "weights": "uniform", "megabytes": 100.0,
                              "test": {"exact": 0.83, "overall": 0.95, "nll": 1.2}}]},
    }  # fmt: skip
    for name, answer in answers.items():
        (results / "evaluations" / f"{name}.json").write_text(json.dumps(answer))
    written = folder / "results.md"
    writer.main(results, written, folder / "figures.json")
    return written


def test_the_page_leads_with_what_is_known(page: Path) -> None:
    text = page.read_text()
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings[0] == "## What is known"
    first = text.partition("## What is known")[2].partition("\n## ")[0]
    known = {line.partition("**: ")[0]: line for line in first.splitlines() if line.startswith("- **")}
    assert known["- **augmentation_optimization"].startswith(
        "- **augmentation_optimization**: It is open whether trial 3 is better than the default "
        "configuration (trial 0): val/overall_acc 0.7037 (mean of 3) against 0.7010 (mean of 3), a "
        "difference of +0.0027 ["
    )
    assert (
        "No gain over the default configuration was shown in 6 retrainings, so the next study starts from "
        "the default. Cost: "
    ) in known["- **augmentation_optimization"]
    assert " is better than the default configuration (trial 0): " in known["- **loss_weighting"]


def test_only_retrained_or_repeatable_studies_have_a_gain(page: Path) -> None:
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]
    gains = {row[0].strip("| "): row[-1].rstrip(" |") for row in rows if len(row) == 10}
    assert gains["loss_weighting"].startswith("+0.0200 [") and gains["inference_parameters"].startswith("+")
    assert gains["warmup_optimization"] == "–"


def test_each_claim_stands_on_the_page_once_with_its_verdict(page: Path) -> None:
    lines = page.read_text().splitlines()
    for hypothesis in (h for name in shipped_campaign().studies for h in load_study_file(name).hypotheses):
        said = [line.split(" | ") for line in lines if f"| {hypothesis.claim} |" in line]
        assert len(said) == 1 and len(said[0]) == 5
        assert said[0][2] in WORDS.values()


def test_whole_recordings_stand_beside_their_baselines(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert "| oracle program | 90.0 | 90.0 | 90.0 | 90.0 |" in lines
    assert "| … refitted on all but test | 95.4 | 95.4 | 95.4 | 95.4 |" in lines


def test_the_figure_shows_every_claim_with_an_effect(page: Path) -> None:
    drawn = (page.parent / "results" / "claims.svg").read_text()
    assert "difference that matters" in drawn
    assert "vocabulary_bucketing: 3 digits beat 2" in drawn


def test_its_figures_are_stored_for_the_other_pages(page: Path) -> None:
    stored = figures.load(page.parent / "figures.json")
    assert figures.filled(page.read_text(), stored) == page.read_text()
    wanted = {key for key in figures.load() if key.startswith("campaign.")}
    assert wanted - set(stored) == set()
    assert (
        stored["campaign.clock_exact"]["value"] == "88.2"
        and stored["campaign.refit_operation"]["value"] == "97.1"
    )
    assert stored["campaign.gain_kept"]["value"] == "87"
    assert "| 0 to 2 rows | 30 | 75.0 |" in stored["campaign.leads"]["lines"]
    assert "| type | 5.0 | 1.0 | 3.0 | 2.0 |" in stored["campaign.calibration"]["lines"]
    assert "| 5 of 5 | uniform | 83.0 | 95.0 | 1.20 | 100 |" in stored["campaign.sizes"]["lines"]
