"""The study `hypotheses`: pairs that differ in one thing, and what the ledger does with them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from model.config import Config
from tuner.base.errors import InputError
from tuner.claims import hypotheses, pairs, verdicts
from tuner.claims import material as data
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.storage import study_store
from tuner.storage.records import Records

DIGITS = {
    "claim": "3 digits beat 2",
    "where": "vocab_bucket_digits == 3",
    "against": "vocab_bucket_digits == 2",
}
FOCAL = {"claim": "focal loss helps", "where": "loss_type == 'focal'"}
STUDY: dict[str, Any] = {
    "method": "grid",
    "metric": {"name": "val/overall_acc", "goal": "maximize"},
    "parameters": {
        "vocab_bucket_digits": {"values": [2, 3]},
        "loss_type": {"values": ["cross_entropy", "focal"]},
        "focal_gamma": {"values": [1.0, 3.0]},
    },
    "tuner": {
        "max_epochs": 3,
        "when": {"focal_gamma": "loss_type == 'focal'"},
        "points": [  # no two alike but for the digits: the study itself has no matched pair
            {"vocab_bucket_digits": 3, "loss_type": "focal", "focal_gamma": 1.0},
            {"vocab_bucket_digits": 2, "loss_type": "cross_entropy"},
        ],
        "hypotheses": [DIGITS, FOCAL],
    },
}


@pytest.fixture
def small(campaign: ModuleType, records: Records, tmp_path: Path) -> StudyFile:
    """A finished study of two trials that leaves both of its claims undecided."""
    return run(campaign, records, tmp_path, STUDY)


def run(
    campaign: ModuleType, records: Records, tmp_path: Path, raw: dict[str, Any], **more: Any
) -> StudyFile:
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps({**raw, **more}))
    file = load_study_file(path)
    campaign.make_study(
        records, file, tmp_path / "results", count=len(file.space.grid()), rng=np.random.default_rng(0)
    )
    return file


def prepare(records: Records, tmp_path: Path, **more: Any) -> hypotheses.Prepared:
    """The only study of pairs."""
    chosen = {"chosen": None, "overrides": {}, "fresh": False, **more}
    (found,) = hypotheses.prepare(records, tmp_path / "results", **chosen)
    return found


def findings(records: Records, tmp_path: Path) -> list[verdicts.Finding]:
    material = data.load(records, (), tmp_path / "results", made=datetime(2026, 1, 7))
    return [found for found in verdicts.findings(material) if found.study == "small"]


def test_the_two_runs_of_a_pair_differ_in_what_the_claim_is_about_and_nothing_else(
    small: StudyFile, records: Records, tmp_path: Path
) -> None:
    file = prepare(records, tmp_path).file
    assert file is not None
    points = [{**file.base.config, **point} for point in file.space.grid()]
    assert all(set(point) == set(Config().to_dict()) for point in points)
    first = [point for point in points if point["seed"] == points[0]["seed"]]
    assert len(first) == 3, "the winner stands for its side of both claims, and runs once"
    varied = [{name for name in p if p[name] != first[0][name]} for p in first[1:]]
    assert {"vocab_bucket_digits"} in varied
    assert all(
        names <= {"loss_type", "focal_gamma"} for names in varied if "vocab_bucket_digits" not in names
    )
    assert len(points) == 3 * pairs.PAIRS


def test_the_verdict_uses_the_pairs_and_says_so(
    small: StudyFile, records: Records, tmp_path: Path, campaign: ModuleType
) -> None:
    before = findings(records, tmp_path)[0]
    assert (before.verdict, before.next_run) == ("undecided", "python -m tuner study hypotheses")
    file = prepare(records, tmp_path).file
    assert file is not None
    campaign.make_study(records, file, tmp_path / "results", count=file.run_cap, rng=np.random.default_rng(1))
    after = findings(records, tmp_path)[0]
    assert (after.verdict, after.how, after.pairs_run) == ("confirmed", "matched pairs", pairs.PAIRS)
    assert f"{pairs.PAIRS} matched pairs run for it in the study hypotheses" in after.basis


def test_pairs_on_other_data_decide_nothing(
    small: StudyFile, records: Records, tmp_path: Path, campaign: ModuleType
) -> None:
    file = prepare(records, tmp_path).file
    assert file is not None
    study_store.open_study(records, file, study_store.Origin(base={}, data="other 0123"), trials=file.run_cap)
    study = campaign.optuna.load_study(study_name="small", storage=records)
    study.set_user_attr(study_store.ORIGIN, study_store.Origin(base={}, data="mine 4567").to_dict())
    material = data.load(records, (), tmp_path / "results", made=datetime(2026, 1, 7))
    (one,) = material.studies
    assert verdicts.judge(one, one.file.hypotheses[0], material.pairs).pairs_run == 0


def test_what_was_begun_goes_on_and_fresh_takes_new_seeds(
    small: StudyFile, records: Records, tmp_path: Path, campaign: ModuleType
) -> None:
    begun = prepare(records, tmp_path).file
    assert begun is not None
    campaign.make_study(records, begun, tmp_path / "results", count=2, rng=np.random.default_rng(1))
    again = prepare(records, tmp_path)
    assert again.pairs is None and again.done == 2
    assert again.file is not None and again.file.digest() == begun.digest()
    fresh = prepare(records, tmp_path, fresh=True).file
    assert fresh is not None
    seeds = [{point["seed"] for point in file.space.grid()} for file in (begun, fresh)]
    assert min(seeds[1]) > pairs.FIRST_SEED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"on": "bundle"}, "always give the same score"),
        (
            {"hypotheses": [{"claim": "one digit", "where": "vocab_bucket_digits == 1"}]},
            "no trial has values",
        ),
        ({"requires": ["vocab_bucket_digits == 3 or loss_type == 'cross_entropy'"]}, "fit the winner"),
    ],
    ids=[
        "a decoder's study",
        "a side that was never tried",
        "a side that is not allowed",
    ],
)
def test_a_claim_without_pairs_says_why(
    campaign: ModuleType, records: Records, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    (tmp_path / "objective.py").write_text("def train(config, report): ...\n")
    tuner = {**STUDY["tuner"], "hypotheses": [DIGITS], **changes}
    run(campaign, records, tmp_path, STUDY, tuner=tuner)
    plan = prepare(records, tmp_path).pairs
    assert plan is not None
    assert plan.points == ()
    assert reason in plan.left_out[0][2]


def test_an_unfinished_study_is_finished_first(small: StudyFile, records: Records, tmp_path: Path) -> None:
    study_store.open_study(records, small, study_store.Origin(base={}), trials=40)
    plan = prepare(records, tmp_path).pairs
    assert plan is not None and "python -m tuner study small" in plan.left_out[0][2]


def test_a_fixed_value_holds_in_every_run(small: StudyFile, records: Records, tmp_path: Path) -> None:
    plan = prepare(records, tmp_path, overrides={"epochs": 1, "vocab_bucket_digits": 3}).pairs
    assert plan is not None
    assert {point["epochs"] for point in plan.points} == {1}
    assert [claim.claim for claim in plan.claims] == ["focal loss helps"]


def test_studies_of_two_data_sets_need_a_choice(
    small: StudyFile, records: Records, tmp_path: Path, campaign: ModuleType
) -> None:
    run(campaign, records, tmp_path, STUDY, name="second")
    for name in ("small", "second"):
        study = campaign.optuna.load_study(study_name=name, storage=records)
        study.set_user_attr(study_store.ORIGIN, replace(study_store.Origin({}), data=f"{name} 0").to_dict())
    with pytest.raises(InputError, match="--data data/second"):
        prepare(records, tmp_path)
    plan = prepare(records, tmp_path, chosen=Path("data/small")).pairs
    assert plan is not None and {claim.study for claim in plan.claims} == {"small"}
