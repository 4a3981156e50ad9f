"""Real run folders of the simulator: bundle in, the same answers out, on another machine too."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ensemble.build import Built, Options, build
from ensemble.bundle import Bundle
from ensemble.compare import compare
from ensemble.distill import DistillOptions, distill, student_config, teacher_of, verdict
from ensemble.predictor import BundlePredictor
from ensemble.show import notes
from model import train
from model.data_sets import synthesize
from model.recordings import Recordings
from model.simulator import Simulation
from model.tokens import BOS, HEADS
from tuner.base.errors import InputError
from tuner.base.files import read_json

CONFIG = {"d_model": 16, "heads": 2, "encoder_layers": 1, "window": 16, "stride": 16, "batch_size": 32}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, tiny_recordings: Recordings) -> Path:
    """Three runs, one of them of another width."""
    root = tmp_path_factory.mktemp("trained")
    for i, width in enumerate((16, 16, 24)):
        config = {**CONFIG, "d_model": width, "epochs": 2, "seed": i}
        train(
            config,
            lambda epoch, metrics: None,
            data=tiny_recordings.folder,
            run_folder=root / "runs" / "tiny" / str(i),
        )
    return root


@pytest.fixture(scope="module")
def built(results: Path) -> Built:
    return build(results, Options(k=3, rule="uniform"), created="now")


def test_three_runs_become_a_bundle(built: Built) -> None:
    assert len(built.bundle.members) == 3
    assert built.skipped.reasons == {}
    assert all(member.ms_per_window for member in built.bundle.members)


def test_sizes_can_be_timed_here_and_now(results: Path) -> None:
    rows = compare(results, ks=[1, 3], studies=["tiny"], measure=True).rows
    assert 0 < rows[0].ms < rows[1].ms  # type: ignore[operator]


def test_a_single_member_scores_what_its_run_says(results: Path) -> None:
    one = build(results, Options(k=1), created="now").bundle
    metrics = read_json(results / "runs/tiny" / str(one.members[0].number) / "result.json")["metrics"]
    scores = one.report["pooled"]["select"]  # from float16 logits: a near tie may fall the other way
    assert scores["overall"] == pytest.approx(metrics["val/overall_acc"], abs=0.02)
    assert scores["exact"] == pytest.approx(metrics["val/exact_acc"], abs=0.02)


def test_a_copied_bundle_answers_as_the_stored_predictions_do_without_their_runs(
    built: Built, results: Path, tiny_recordings: Recordings, tmp_path: Path
) -> None:
    elsewhere = shutil.copytree(built.folder, tmp_path / "bundle")
    runs = results.rename(results.with_name("moved"))
    try:
        predictor = BundlePredictor.load(elsewhere)
        stored = dict(np.load(elsewhere / "predictions" / "calibrate.npz"))
        answers = teacher_forced(predictor, tiny_recordings, stored)
    finally:
        runs.rename(results)
    value_letter = predictor.vocabulary.factor_table[stored["gold"], 2]
    for h, head in enumerate(HEADS):
        applies = stored["applies"][:, h]
        answer, expected = answers[head][applies], stored[head].astype(np.float32)
        if head == "param_value":  # decoders mask to the parameter and renormalise
            inside = predictor.vocabulary.value_param_type[None] == value_letter[applies][:, None]
            answer = np.where(inside, answer, -np.inf)
            answer -= np.log(np.exp(answer).sum(axis=1, keepdims=True))
            answer, expected = answer[inside], expected[inside]
        np.testing.assert_allclose(answer, expected, atol=0.03)


def teacher_forced(
    predictor: BundlePredictor, data: Recordings, stored: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Head → (P, classes) pooled log-probabilities, fed with the true tokens one by one."""
    which = [int(i) for i in np.unique(stored["recording"])]
    windows = predictor.windows(data, which)
    memory = predictor.encode(windows, np.arange(len(windows)))
    state = predictor.begin(memory)
    tokens = torch.full((len(windows),), BOS)
    out = {
        head: np.zeros((len(stored["gold"]), n), np.float32)
        for head, n in predictor.vocabulary.head_sizes.items()
    }
    for step in range(int(stored["step"].max()) + 1):
        answer, state = predictor.advance(state, tokens)
        here = np.flatnonzero(stored["step"] == step)
        for head in HEADS:
            out[head][here] = answer[head].numpy()[stored["window"][here]]
        tokens = torch.zeros(len(windows), dtype=torch.long)
        tokens[stored["window"][here]] = torch.from_numpy(stored["gold"][here].astype(np.int64))
    return out


@pytest.mark.slow
def test_a_student_becomes_a_bundle_with_its_share_of_the_gain(
    built: Built, results: Path, tiny_recordings: Recordings
) -> None:
    assert tiny_recordings.folder is not None
    student = distill(
        built.bundle,
        built.folder,
        results=results,
        data=tiny_recordings.folder,
        options=DistillOptions({"epochs": 1, "seed": 9}),
        report=lambda epoch, metrics: None,
        created="now",
    )
    assert student.folder.name == "top3-distilled" and len(student.bundle.members) == 1
    figures = Bundle.load(student.folder).report["distilled"]
    assert [row["name"].split()[0] for row in figures["rows"]] == ["best", "bundle", "student"]
    assert figures["latency"] is not None and "test" in figures["rows"][2]
    assert verdict(figures)
    said = "\n".join(notes(student.bundle))
    assert said.count(", which the network was trained on") == 2 and "optimism" not in said
    assert "optimism" in "\n".join(notes(built.bundle))
    again = build(results, Options(k=9, name="again"), created="now").bundle
    assert {member.study for member in again.members} == {"tiny"}  # students enter only by name


def test_the_teacher_answers_as_the_bundle_does(built: Built, tiny_recordings: Recordings) -> None:
    stored = dict(np.load(built.folder / "predictions" / "calibrate.npz"))
    predictor = BundlePredictor.load(built.folder)
    teacher = teacher_of(
        built.folder, tiny_recordings, DistillOptions({}), vocabulary_tokens=predictor.vocabulary.tokens
    )
    start = torch.from_numpy(stored["start"][:3].astype(np.int64))
    recording = torch.from_numpy(stored["recording"][:3].astype(np.int64))
    answer = teacher.answers(start, recording, torch.full((3, 1), BOS))
    first = (stored["step"] == 0)[stored["applies"][:, 0]]
    np.testing.assert_allclose(answer["type"][:, 0].numpy(), stored["type"][first][:3], atol=0.03)


@pytest.mark.parametrize("change", [{"window": 32}, {"vocab_bucket_digits": 2}, {"split_seed": 1}])
def test_a_student_is_asked_what_its_bundle_was(built: Built, change: dict[str, int]) -> None:
    with pytest.raises(InputError, match="a student keeps its bundle's"):
        student_config(built.bundle, built.folder, change)


def test_a_student_of_other_data_is_refused_by_name(built: Built, results: Path, tmp_path: Path) -> None:
    other = synthesize(
        tmp_path / "other",
        Simulation(seed=5, operations=("face",), recordings_per_operation=4, boards=("frame_r2",), scale=0.3),
    )
    assert other.folder is not None
    with pytest.raises(InputError, match="was trained on data"):
        distill(
            built.bundle,
            built.folder,
            results=results,
            data=other.folder,
            options=DistillOptions({}),
            report=lambda epoch, metrics: None,
            created="now",
        )
