"""Our network as a workload: what of a study file it checks, reads and repeats."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import tuner
from model.config import Config
from model.recordings import Recordings
from model.workload import Training, training
from tuner.base.errors import InputError
from tuner.base.files import read_json
from tuner.definition.campaign_file import read_campaign
from tuner.definition.loading import load_study_file
from tuner.definition.repeats import Repeats
from tuner.run.agent import repeats
from tuner.workloads.registry import workload_of

ROOT = Path(__file__).resolve().parents[2]
Load = Callable[[str], Training]

STUDY = """\
method: random
metric: {name: loss, goal: minimize}
parameters:
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The workload of a study of the given parameters."""

    def make(parameters: str) -> Training:
        path = tmp_path / "sweep.yaml"
        path.write_text(STUDY + textwrap.indent(parameters, "  ") + "\n")
        found = workload_of(load_study_file(path))
        assert isinstance(found, Training)
        return found

    return make


@pytest.mark.parametrize(
    ("parameters", "line", "message"),
    [
        ("lr: {min: 1.0e-4, max: 1.0}", 4, "'parameters.lr': no option of the model"),
        ("seed: {values: [1]}\ndropuot: {min: 0.0, max: 0.5}", 5, "did you mean 'dropout'?"),
        ("dropout: {min: 0.0, max: 1.5}", 4, "'parameters.dropout': expected 0 to 0.95, got 1.5"),
        ("optimizer: {values: [adamm]}", 4, "did you mean 'adam'?"),
    ],
)
def test_a_parameter_that_the_network_lacks_is_one_line(
    load: Load, parameters: str, line: int, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        load(parameters).check()
    found = str(caught.value)
    assert "\n" not in found and message in found
    assert f"sweep.yaml:{line}: " in found


def test_values_that_are_judged_together_are_left_to_requires(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        f"{STUDY}  d_model: {{min: 3, max: 96}}\n  heads: {{min: 1, max: 8}}\n"
        "tuner: {requires: ['d_model % heads == 0']}\n"
    )
    workload_of(load_study_file(path)).check()


def test_points_are_judged_as_whole_configurations(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    space = (
        f"{STUDY.replace('random', 'grid')}  d_model: {{values: [160, 96]}}\n  heads: {{values: [5, 4]}}\n"
    )
    path.write_text(f"{space}tuner: {{points: [{{d_model: 160, heads: 5}}, {{d_model: 96, heads: 4}}]}}\n")
    workload_of(load_study_file(path)).check()
    path.write_text(f"{space}tuner: {{points: [{{d_model: 160, heads: 5}}, {{d_model: 96, heads: 5}}]}}\n")
    with pytest.raises(InputError, match=r"'heads': 5.*expected a multiple of heads"):
        workload_of(load_study_file(path)).check()


def test_trial_0_is_a_plain_run_of_the_studys_length(load: Load) -> None:
    workload = load("dropout: {min: 0.0, max: 0.5}")
    assert workload.defaults() == Config().to_dict()
    assert workload.whole_trial(18) == {"epochs": 18}


def test_a_repetition_changes_the_seed_and_the_split(load: Load) -> None:
    workload = load("dropout: {min: 0.0, max: 0.5}")
    assert workload.reseeded({"reshuffle": 1}, 2) == {"seed": 2002, "reshuffle": 3}
    assert workload.seeded({}, 5) == {"seed": 5}


def test_a_data_set_binds_a_study_and_travels(
    load: Load, tiny_recordings: Recordings, tmp_path: Path
) -> None:
    workload, said = load("dropout: {min: 0.0, max: 0.5}"), list[str]()
    found = workload.inputs(tiny_recordings.folder, tmp_path, said.append)
    assert (found.binding, found.travels, found.digest) == (True, True, tiny_recordings.content_hash)
    assert tiny_recordings.folder is not None
    assert workload.digest_of(tiny_recordings.folder, arrived=True) == found.digest
    with pytest.raises(InputError, match="no data set there; make one with"):
        workload.inputs(tmp_path / "absent", tmp_path, said.append)


def test_the_order_of_runs_holds_after_half_of_their_epochs() -> None:
    """What the verdicts on claims say about shorter runs is computed from recorded runs."""
    curves = json.loads((ROOT / "benchmarks" / "data" / "curves.json").read_text())
    values = np.array([curve["values"] for curve in curves if len(curve["values"]) == 18])
    assert len(values) == 150
    assert round(float(spearmanr(values[:, 8], values[:, -1]).statistic), 2) == training.ORDER_HOLDS


def test_pairs_for_claims_train_half_of_the_epochs() -> None:
    workload = workload_of(load_study_file("loss_weighting"))
    shorter = workload.shorter(18)
    assert shorter is not None and shorter.values == {"epochs": 9}
    assert shorter.words == "runs of 9 epochs instead of 18, with a schedule of that length"
    whole = {"warmup_epochs": 5, "lr_step_epochs": 1, "early_stopping": 0, "batch_size": 64}
    assert shorter.fitted(whole) == {**whole, "warmup_epochs": 2}
    assert workload.shorter(6) is None


@pytest.mark.usefixtures("agents_in_this_process")
def test_training_with_two_seeds_is_one_trial_with_a_run_folder_for_each(
    tiny_recordings: Recordings, tmp_path: Path
) -> None:
    file = tmp_path / "seeds.yaml"
    file.write_text(
        "method: grid\nmetric: {name: val/overall_acc, goal: maximize}\n"
        "parameters: {dropout: {values: [0.1]}}\n"
        "tuner: {seeds: 2, max_epochs: 1, base: {d_model: 16, heads: 2, encoder_layers: 1, window: 32, "
        "stride: 8, device: cpu}}\n"
    )
    assert tiny_recordings.folder is not None
    results = tmp_path / "results"
    found = tuner.study(file, data=tiny_recordings.folder, results=results, agents=1, quiet=True)
    (trial,) = found.optuna.trials
    scores = [run["metrics"]["val/overall_acc"] for run in trial.user_attrs["repeats"]]
    assert trial.values == [pytest.approx(sum(scores) / 2)]
    assert trial.user_attrs["parameters"] > 0
    folder = results / "runs" / "seeds" / "0"
    assert [read_json(folder / f"seed{n}" / "config.json")["seed"] for n in (1, 2)] == [1, 2]
    assert (folder / "seed2" / "model.safetensors").is_file()


def test_training_takes_no_fold_but_averages_over_splits(load: Load) -> None:
    file = load("dropout: {min: 0.0, max: 0.5}").file
    with pytest.raises(InputError, match=r"'tuner\.folds': the trials have no parameter 'fold'"):
        repeats.check(Training(replace(file, repeats=Repeats(folds=(0, 1)))), {})
    splits = Training(replace(file, repeats=Repeats(fold="split_seed", folds=(0, 1))))
    repeats.check(splits, {})
    assert [part.changes for part in repeats.parts_of(splits, {})] == [{"split_seed": 0}, {"split_seed": 1}]


def test_the_shipped_campaigns_studies_train_equally_long() -> None:
    """A winner is handed on only at the length at which it was judged."""
    files = [load_study_file(name) for name in read_campaign(ROOT / "studies" / "campaign.yaml").studies]
    trained = [file for file in files if isinstance(workload_of(file), Training)]
    *searched, members = trained
    assert len(searched) == 5 and members.name == "ensemble_members", "which chooses nothing"
    assert len({file.max_epochs for file in searched}) == 1
    for file in searched:
        if file.pruner.kind in ("hyperband", "successive_halving"):
            assert file.pruner.max_resource == file.max_epochs, file.name
