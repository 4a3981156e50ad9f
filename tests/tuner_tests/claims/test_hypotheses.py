"""Rounds of paired runs for open claims: how they are planned, and what the verdicts make of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from model.config import Config
from tuner.base.errors import InputError
from tuner.claims import design, evidence, hypotheses, rounds, verdicts
from tuner.claims import material as data
from tuner.definition.constraints import Hypothesis
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.storage import study_store
from tuner.storage.attributes import ORIGIN
from tuner.storage.records import Records
from tuner.workloads.workload import Shorter

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
    """A finished study of two trials that leaves both of its claims open."""
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
    """The only round."""
    chosen = {"chosen": None, "overrides": {}, "fresh": False, **more}
    (found,) = hypotheses.prepare(records, tmp_path / "results", **chosen)
    return found


def play(campaign: ModuleType, records: Records, tmp_path: Path, file: StudyFile, *, count: int = 0) -> None:
    """Writes the runs of a round, with the scores of the formula and noise."""
    campaign.make_study(
        records, file, tmp_path / "results", count=count or file.run_cap, rng=np.random.default_rng(1)
    )


def findings(records: Records, tmp_path: Path) -> list[verdicts.Finding]:
    material = data.load(records, (), tmp_path / "results", made=datetime(2026, 1, 7))
    return [found for found in verdicts.findings(material) if found.study == "small"]


def configurations(file: StudyFile) -> list[dict[str, Any]]:
    return [{**file.base.config, **point} for point in file.space.grid()]


def test_the_runs_of_a_pair_are_on_opposite_sides_of_every_claim_and_differ_in_nothing_else(
    small: StudyFile, records: Records, tmp_path: Path
) -> None:
    prepared = prepare(records, tmp_path)
    assert prepared.file is not None and prepared.planned is not None
    points = configurations(prepared.file)
    assert len(points) == 2 * design.rows_of([[0], [1]], True)
    for first, second in zip(points[::2], points[1::2], strict=True):
        assert first["seed"] == second["seed"]
        varied = {name for name in first | second if first.get(name) != second.get(name)}
        assert varied <= {"vocab_bucket_digits", "loss_type", "focal_gamma"}
        for claim in small.hypotheses:
            assert {claim.side(first), claim.side(second)} == {"where", "against"}
    assert len({point["seed"] for point in points}) == len(points) // 2, "each pair has a seed of its own"
    signs = [[h.side(p) == "where" for p in points[::2]] for h in small.hypotheses]
    agree = sum(a == b for a, b in zip(*signs, strict=True))
    assert agree == len(points) // 4, "the two claims are varied independently of each other"


def test_runs_lie_around_the_default_configuration(
    small: StudyFile, records: Records, tmp_path: Path
) -> None:
    file = prepare(records, tmp_path).file
    assert file is not None
    about = {"vocab_bucket_digits", "loss_type", "focal_gamma", "seed", "epochs"}
    for point in configurations(file):
        assert {n: v for n, v in point.items() if n not in about} == {
            n: v for n, v in Config().to_dict().items() if n not in about
        }


def test_the_verdict_uses_the_pairs_and_says_so(
    small: StudyFile, records: Records, tmp_path: Path, campaign: ModuleType
) -> None:
    before = findings(records, tmp_path)[0]
    assert (before.verdict, before.next_run) == ("open", "tuner study hypotheses")
    file = prepare(records, tmp_path).file
    assert file is not None
    play(campaign, records, tmp_path, file)
    after, focal = findings(records, tmp_path)
    assert (after.verdict, after.how, after.pairs_run) == ("as claimed", "matched pairs", file.run_cap // 2)
    assert after.basis == f"{after.pairs} pairs, each for up to 2 claims"
    shrunk = 1 - 0.6 * np.exp(-1)  # three epochs of the formula's curve
    assert after.low is not None and after.low < 0.09 * shrunk < after.high  # type: ignore[operator]
    assert focal.low is not None and focal.low < -0.02 * shrunk < focal.high  # type: ignore[operator]


def test_a_decided_claim_leaves_the_next_round(
    small: StudyFile, records: Records, tmp_path: Path, campaign: ModuleType
) -> None:
    first = prepare(records, tmp_path)
    assert first.file is not None
    play(campaign, records, tmp_path, first.file)
    still = [f for f in findings(records, tmp_path) if not f.decided]
    second = prepare(records, tmp_path)
    assert second.planned is not None and second.planned.name == "hypotheses.round2"
    assert [c.hypothesis.claim for c in second.planned.claims] == [f.claim for f in still]
    if second.file is not None:
        seeds = [{p["seed"] for p in configurations(f)} for f in (first.file, second.file)]
        assert not seeds[0] & seeds[1], "no pair has a seed of an earlier one"


def test_pairs_on_other_data_decide_nothing(
    small: StudyFile, records: Records, tmp_path: Path, campaign: ModuleType
) -> None:
    file = prepare(records, tmp_path).file
    assert file is not None
    play(campaign, records, tmp_path, file)
    study = campaign.optuna.load_study(study_name="small", storage=records)
    study.set_user_attr(ORIGIN, asdict(study_store.Origin(base={}, data="mine 4567")))
    assert [found.pairs_run for found in findings(records, tmp_path)] == [0, 0]


def test_a_round_that_was_left_early_counts_and_goes_on(
    small: StudyFile, records: Records, tmp_path: Path, campaign: ModuleType
) -> None:
    begun = prepare(records, tmp_path).file
    assert begun is not None
    play(campaign, records, tmp_path, begun, count=7)
    assert findings(records, tmp_path)[0].pairs_run == 3, "three whole pairs"
    again = prepare(records, tmp_path)
    assert again.planned is None and again.done == 7
    assert again.file is not None and again.file.digest() == begun.digest()
    fresh = prepare(records, tmp_path, fresh=True)
    assert fresh.planned is not None and fresh.planned.name == "hypotheses.round2"


def test_pairs_of_an_older_version_still_count(
    small: StudyFile, records: Records, tmp_path: Path, campaign: ModuleType
) -> None:
    """They were one study, without claims in its file; a seed was run once on each side."""
    points = [
        {"vocab_bucket_digits": digits, "seed": seed} for seed in range(2000, 2005) for digits in (3, 2)
    ]
    raw = {
        **STUDY, "name": "hypotheses",
        "parameters": {"vocab_bucket_digits": {"values": [2, 3]},
                       "seed": {"values": list(range(2000, 2005))}},
        "tuner": {"max_epochs": 3, "points": points},
    }  # fmt: skip
    path = tmp_path / "hypotheses.yaml"
    path.write_text(json.dumps(raw))
    play(campaign, records, tmp_path, load_study_file(path))
    found = findings(records, tmp_path)[0]
    assert (found.verdict, found.pairs_run) == ("as claimed", 5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hypotheses": [{"claim": "one digit", "where": "vocab_bucket_digits == 1"}]}, "no values as"),
        ({"requires": ["vocab_bucket_digits == 3 or loss_type == 'cross_entropy'"]}, "fit the other values"),
        ({"hypotheses": [{"claim": "s", "where": "seed == 1", "against": "seed == 0"}]}, "about the seed"),
    ],
    ids=["a side outside the space", "a side that is not allowed", "a claim about the seed"],
)  # fmt: skip
def test_a_claim_without_pairs_says_why(
    campaign: ModuleType, records: Records, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    tuner = {**STUDY["tuner"], "hypotheses": [DIGITS], "base": {"loss_type": "focal"}, **changes}
    run(campaign, records, tmp_path, STUDY, tuner=tuner)
    plan = prepare(records, tmp_path).planned
    assert plan is not None
    assert plan.points == ()
    assert reason in plan.left_out[0][2]


def test_work_that_always_gives_the_same_score_is_compared_at_other_values(
    campaign: ModuleType, records: Records, tmp_path: Path
) -> None:
    """A seed would change nothing there: each pair has other values of what the claim leaves open."""
    tuner = {**STUDY["tuner"], "workload": "bundle", "hypotheses": [FOCAL]}
    run(campaign, records, tmp_path, STUDY, tuner=tuner)
    prepared = prepare(records, tmp_path)
    assert prepared.planned is not None and prepared.planned.drawn
    points = prepared.planned.points
    assert all("seed" not in point for point in points)
    gammas = {point["focal_gamma"] for point in points if point["loss_type"] == "focal"}
    assert gammas == {1.0, 3.0}


def test_an_unfinished_study_is_finished_first(small: StudyFile, records: Records, tmp_path: Path) -> None:
    study_store.open_study(records, small, study_store.Origin(base={}), trials=40)
    plan = prepare(records, tmp_path).planned
    assert plan is not None and "tuner study small" in plan.left_out[0][2]


def test_a_fixed_value_holds_in_every_run(small: StudyFile, records: Records, tmp_path: Path) -> None:
    plan = prepare(records, tmp_path, overrides={"epochs": 1, "vocab_bucket_digits": 3}).planned
    assert plan is not None
    assert {point["epochs"] for point in plan.points} == {1}
    assert [claim.hypothesis.claim for claim in plan.claims] == ["focal loss helps"]


def test_a_claim_whose_effect_seems_large_is_varied_alone(
    small: StudyFile, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, other = small.hypotheses

    def judged(study: data.Study, claim: Hypothesis, evidence: evidence.Evidence) -> verdicts.Finding:
        found = verdicts.judge(study, claim, evidence)
        return replace(found, matters=0.005, effect=0.1 if claim == alone else 0.01)

    monkeypatch.setattr(rounds, "judge", judged)
    file = prepare(records, tmp_path).file
    assert file is not None
    pairs = list(zip(*[iter(configurations(file))] * 2, strict=True))
    varied = [{h.claim for h in small.hypotheses if h.side(a) != h.side(b)} for a, b in pairs]
    assert varied[: rounds.ALONE] == [{alone.claim}] * rounds.ALONE
    assert varied[rounds.ALONE :] == [{other.claim}] * (len(pairs) - rounds.ALONE)


def test_in_shorter_runs_durations_are_shorter_too(
    small: StudyFile, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the digits were a number of epochs."""
    whole = prepare(records, tmp_path).planned
    shorter = Shorter({"epochs": 1}, "in short", 0.5, frozenset({"vocab_bucket_digits"}))
    monkeypatch.setattr("model.workload.Training.shorter", lambda *_: shorter)
    plan = prepare(records, tmp_path).planned
    assert plan is not None and whole is not None and plan.notes == "in short"
    digits = {point["vocab_bucket_digits"] for point in whole.points}
    assert {point["vocab_bucket_digits"] for point in plan.points} == {max(1, round(d / 2)) for d in digits}
    assert {point["epochs"] for point in plan.points} == {1}
    file = prepare(records, tmp_path).file
    assert file is not None
    for first, second in zip(*[iter(configurations(file))] * 2, strict=True):
        for claim in file.hypotheses:
            assert {claim.side(first), claim.side(second)} == {"where", "against"}


def test_a_claim_is_given_up_after_many_pairs(
    small: StudyFile, records: Records, tmp_path: Path, campaign: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = prepare(records, tmp_path).file
    assert file is not None
    play(campaign, records, tmp_path, file, count=6)
    monkeypatch.setattr(rounds, "MOST_PAIRS", 3)
    plan = prepare(records, tmp_path, fresh=True).planned
    assert plan is not None and all("pairs have not decided it" in reason for _, _, reason in plan.left_out)


def test_claims_about_the_same_parameter_take_turns() -> None:
    names = [frozenset("ab"), frozenset("c"), frozenset("bd"), frozenset("e"), frozenset("d")]
    groups = design.groups_of(names)
    assert groups == [[0, 2, 4], [1], [3]]
    turns = design.turns(groups, 12, np.random.default_rng(0), pairs=[0] * 5, costs=[1.0] * 5)
    assert all(len(row.keys() & {0, 2, 4}) == 1 and {1, 3} <= row.keys() for row in turns)
    assert [sum(i in row for row in turns) for i in (0, 2, 4)] == [4, 4, 4]


def test_after_some_pairs_each_one_claim_of_a_group_gets_all_turns() -> None:
    turns = design.turns([[0, 1], [2]], 24, np.random.default_rng(0), pairs=[0] * 3, costs=[1.0] * 3)
    counts = sorted(sum(i in row for row in turns) for i in (0, 1))
    assert counts == [design.TURNS, 24 - design.TURNS]


def test_slow_claims_wait_for_the_others() -> None:
    rng = np.random.default_rng(0)
    turns = design.turns([[0], [1], [2]], 8, rng, pairs=[0, 0, 0], costs=[1.0, 3.0, 2.0])
    assert [set(row) for row in turns] == [{0}] * 8
    turns = design.turns([[0], [1]], 8, rng, pairs=[0, 0], costs=[3.0, 2.0])
    assert [set(row) for row in turns] == [{0, 1}] * 8


def test_the_columns_of_a_design_are_orthogonal() -> None:
    table = design.signs(7, 16, np.random.default_rng(3))
    assert (table.T @ table == 16 * np.eye(7, dtype=int)).all()


def test_studies_of_two_data_sets_need_a_choice(
    small: StudyFile, records: Records, tmp_path: Path, campaign: ModuleType
) -> None:
    run(campaign, records, tmp_path, STUDY, name="second")
    for name in ("small", "second"):
        study = campaign.optuna.load_study(study_name=name, storage=records)
        study.set_user_attr(ORIGIN, asdict(study_store.Origin({}, data=f"{name} 0")))
    with pytest.raises(InputError, match="--data data/second"):
        prepare(records, tmp_path)
    plan = prepare(records, tmp_path, chosen=Path("data/small")).planned
    assert plan is not None and {claim.study.name for claim in plan.claims} == {"small"}


def test_claims_with_the_same_sides_share_their_pairs() -> None:
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], size=(16, 3))
    signs[:, 2] = signs[:, 0]
    y = 0.02 * signs[:, 0] + rng.normal(0, 0.004, 16)
    found = evidence._estimated(["a", "b", "c"], signs, y)
    assert found["a"] == found["c"]
    assert found["a"].low > 0


def test_a_huge_effect_is_found_in_a_few_pairs() -> None:
    """With more claims than pairs: the optimiser that hardly learns stands out all the same."""
    rng = np.random.default_rng(0)
    signs = np.column_stack([rng.choice([-1.0, 1.0], size=12) for _ in range(17)])
    effects = np.array([0.45, *rng.normal(0, 0.02, 16)])
    found = evidence._estimated(
        [str(i) for i in range(17)], signs, signs @ effects + rng.normal(0, 0.005, 12)
    )
    assert found["0"].low > 0.2


def test_a_huge_effect_does_not_hide_the_small_ones() -> None:
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], size=(24, 3))
    y = signs @ np.array([0.5, 0.02, 0.0]) + rng.normal(0, 0.005, 24)
    found = evidence._estimated(["huge", "small", "none"], signs, y)
    assert found["huge"].low > 0.4
    assert 0 < found["small"].low < 0.02 < found["small"].high
    assert found["none"].high < 0.02


def test_the_sides_of_a_claim_differ_as_little_as_they_can(
    campaign: ModuleType, records: Records, tmp_path: Path
) -> None:
    """The best trial on the other side has another gamma as well: the claim does not ask for it."""
    claim = {
        "claim": "a strong focal loss",
        "where": "loss_type == 'focal' and vocab_bucket_digits == 3",
        "against": "loss_type == 'cross_entropy' and vocab_bucket_digits >= 2",
    }
    run(campaign, records, tmp_path, STUDY, tuner={**STUDY["tuner"], "hypotheses": [claim]})
    planned = prepare(records, tmp_path).planned
    assert planned is not None
    (sides,) = planned.claims
    assert sides.where["vocab_bucket_digits"] == sides.against["vocab_bucket_digits"] == 3


def test_a_metric_that_no_run_logs_ends_the_rounds(
    campaign: ModuleType, records: Records, tmp_path: Path
) -> None:
    run(
        campaign,
        records,
        tmp_path,
        STUDY,
        tuner={**STUDY["tuner"], "hypotheses": [{**FOCAL, "metric": "f1"}]},
    )
    file = prepare(records, tmp_path).file
    assert file is not None
    play(campaign, records, tmp_path, file)
    planned = prepare(records, tmp_path).planned
    assert planned is not None and planned.points == ()
    assert "6 pairs have run, and none logged f1" in planned.left_out[0][2]


def test_the_first_round_of_a_design_is_large_enough_for_its_claims() -> None:
    assert [design.rows_of([[i] for i in range(17)], first) for first in (True, False)] == [24, 8]
    assert [design.rows_of([[0, 1, 2, 3], [4]], first) for first in (True, False)] == [8, 8]
    assert [design.rows_of([[0]], first) for first in (True, False)] == [6, 4]


FOUR = [
    DIGITS,
    FOCAL,
    {"claim": "SGD is worse", "where": "optimizer == 'adamw'", "against": "optimizer == 'sgd'"},
    {"claim": "a step is worse", "where": "scheduler == 'cosine'", "against": "scheduler == 'step'"},
]


def of_four(
    campaign: ModuleType, records: Records, tmp_path: Path, claims: Sequence[Mapping[str, str]] = FOUR
) -> StudyFile:
    more = {"optimizer": {"values": ["adamw", "sgd"]}, "scheduler": {"values": ["cosine", "step"]}}
    points = [{**p, "optimizer": "adamw", "scheduler": "cosine"} for p in STUDY["tuner"]["points"]]
    return run(
        campaign,
        records,
        tmp_path,
        STUDY,
        parameters={**STUDY["parameters"], **more},
        tuner={**STUDY["tuner"], "points": points, "matters": 0.005, "hypotheses": claims},
    )


def test_whole_numbers_are_as_close_to_the_default_as_their_side_allows(
    campaign: ModuleType, records: Records, tmp_path: Path
) -> None:
    widths = [96, 192, 256]
    run(
        campaign,
        records,
        tmp_path,
        STUDY,
        parameters={"d_model": {"values": widths}, "loss_type": {"values": ["cross_entropy"]}},
        tuner={
            "max_epochs": 3,
            "points": [{"d_model": width, "loss_type": "cross_entropy"} for width in reversed(widths)],
            "matters": 0.0001,
            "hypotheses": [{"claim": "wide", "where": "d_model >= 192", "against": "d_model < 128"}],
        },
    )
    plan = prepare(records, tmp_path).planned
    assert plan is not None
    assert {point["d_model"] for point in plan.points} == {192, 96}


def test_the_first_pairs_show_which_claims_have_slow_runs(
    campaign: ModuleType, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_four(campaign, records, tmp_path)
    monkeypatch.setattr(campaign, "seconds_of_epoch", lambda c: 1.0 + 2 * (c.get("loss_type") == "focal"))
    file = prepare(records, tmp_path).file
    assert file is not None
    play(campaign, records, tmp_path, file)
    material = data.load(records, (), tmp_path / "results", made=datetime(2026, 1, 7))
    slower = evidence.Evidence.of(material).slower("hypotheses")
    assert max(slower, key=lambda name: slower[name]) == "small: focal loss helps"


def test_several_claims_are_first_varied_alone_beside_one_run_of_the_default(
    campaign: ModuleType, records: Records, tmp_path: Path
) -> None:
    of_four(campaign, records, tmp_path)
    file = prepare(records, tmp_path).file
    assert file is not None
    points = configurations(file)
    assert len(points) == 8 and len({point["seed"] for point in points}) == 1
    names = [("vocab_bucket_digits",), ("loss_type", "focal_gamma"), ("optimizer",), ("scheduler",)]
    for own, first, second in zip(names, points[::2], points[1::2], strict=True):
        assert {n for n in first | second if first.get(n) != second.get(n)} <= set(own)
    default = Config().to_dict()
    alike = [
        all(p[n] == default[n] for n in ("optimizer", "scheduler", "vocab_bucket_digits")) for p in points
    ]
    assert sum(alike) >= 2, "both pairs about these have the default configuration on one side"


def test_claims_with_the_same_sides_share_the_pair_that_varies_them_alone(
    campaign: ModuleType, records: Records, tmp_path: Path
) -> None:
    """Counted for each, its difference would repeat, and look as if there were no noise."""
    same = {**FOUR[2], "claim": "SGD has worse values", "metric": "val/value_and_command"}
    of_four(campaign, records, tmp_path, [*FOUR, same])
    file = prepare(records, tmp_path).file
    assert file is not None
    assert len(configurations(file)) == 8
    for copy in (file, replace(file, name="hypotheses.round2")):
        play(campaign, records, tmp_path, copy)
        for result in (tmp_path / "results" / "runs" / copy.name).glob("*/result.json"):
            identity = (result.parent / "config.json").read_text()
            result.write_text(json.dumps({**json.loads(result.read_text()), "identity": identity}))
    material = data.load(records, (), tmp_path / "results", made=datetime(2026, 1, 7))
    known = evidence.Evidence.of(material)
    (study,) = material.studies
    assert [known.tried(study, claim) for claim in study.file.hypotheses] == [1] * 5


def test_only_a_claim_whose_first_pair_shows_a_large_effect_stays_alone(
    campaign: ModuleType, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_four(campaign, records, tmp_path)
    monkeypatch.setattr(campaign, "truth", lambda config: 0.6 - 0.2 * (config.get("optimizer") == "sgd"))
    monkeypatch.setattr(campaign, "NOISE", 0.001)
    file = prepare(records, tmp_path).file
    assert file is not None
    play(campaign, records, tmp_path, file)
    plan = prepare(records, tmp_path).planned
    assert plan is not None
    turns = [plan.points[i : i + 2] for i in range(0, len(plan.points), 2)]
    sgd = [len({p["optimizer"] for p in pair}) == 2 for pair in turns]
    assert sgd == [True] * rounds.ALONE + [False] * (len(turns) - rounds.ALONE)
    assert len({pair[0]["seed"] for pair in turns}) == len(turns), "each pair has a seed of its own"
    varied = [len({p["scheduler"] for p in pair}) == 2 for pair in turns]
    assert varied == [False] * rounds.ALONE + [True] * (len(turns) - rounds.ALONE)
