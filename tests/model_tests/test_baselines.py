"""The baselines: right on data whose answer is known, blind to what they must not see, the same each time."""

import json

import numpy as np
import pytest

from model.__main__ import main
from model.baselines import Scorer, baselines, clock, neighbours, prepare, window_statistics
from model.recordings import Recordings
from tuner.base.errors import InputError


@pytest.fixture(scope="module")
def problem(tiny_recordings):
    return prepare(tiny_recordings)


@pytest.fixture(scope="module")
def scores(problem):
    return {score.name: score for score in baselines(problem)}


def test_parts_are_whole_recordings_and_apart(problem):
    recordings = problem.windows.recording
    assert not set(recordings[problem.train]) & set(recordings[problem.test])


def test_perfect_weights_score_one(problem):
    known = np.isin(problem.windows.line[problem.test], problem.classes)
    weights = (problem.classes[None, :] == problem.windows.line[problem.test][:, None]).astype(float)
    weights[~known, 0] = 1.0
    score = Scorer(problem).score("oracle", weights)
    assert score.exact_acc >= known.mean()
    assert score.overall_acc > score.exact_acc - 1e-9


def test_a_tree_beats_the_prefix_and_the_leaks_are_marked(scores):
    prefix = scores["most frequent continuation of the prefix"]
    trees = scores["extra-trees, sensors, re-centred per recording"]
    assert trees.exact_acc > prefix.exact_acc
    assert {name for name, score in scores.items() if score.leak} == {
        "row number alone, no sensors",
        "true operation + row number, no sensors",
    }
    assert len(scores) == 8
    assert all(0 <= s.exact_acc <= 1 and 0 <= s.overall_acc <= 1 for s in scores.values())


def test_baselines_are_deterministic(problem, scores):
    assert {score.name: score for score in baselines(problem)} == scores


def test_centred_features_do_not_see_an_offset(problem):
    data = problem.data
    shifted = np.array(data.signals) + 5.0
    moved = Recordings(**{**vars_of(data), "signals": shifted})
    other = prepare(moved)
    plain = window_statistics(problem, centred=False)
    assert window_statistics(other, centred=False) == pytest.approx(plain + 5 * is_level(plain), abs=1e-2)
    centred = window_statistics(problem, centred=True)
    assert window_statistics(other, centred=True) == pytest.approx(centred, abs=1e-2)


def vars_of(data):
    return {name: getattr(data, name) for name in data.__dataclass_fields__}


def is_level(features):
    """Which features move with the signal: all but the second sixth, the deviations."""
    level = np.ones(features.shape[1])
    sixth = features.shape[1] // 6
    level[sixth : 2 * sixth] = 0
    return level


def test_the_nearest_neighbour_of_a_train_window_is_itself(problem):
    features = window_statistics(problem, centred=True)
    same = prepare(problem.data)
    object.__setattr__(same, "test", problem.train)
    weights = neighbours(same, features)
    own = weights[np.arange(len(problem.train)), problem.labels]
    assert (own >= 1).all()


def test_the_clock_knows_the_line_of_the_same_row(problem):
    weights = clock(problem, operation=True)
    assert (weights.sum(axis=1) >= 1).all()


def test_the_windows_track_adds_the_position_and_mixes_recordings(tiny_recordings):
    problem = prepare(tiny_recordings, track="windows")
    channels = len(tiny_recordings.channels) + 3
    assert window_statistics(problem, centred=False).shape[1] == 6 * channels
    recordings = problem.windows.recording
    assert set(recordings[problem.train]) & set(recordings[problem.test])


def test_one_recording_alone_cannot_be_split(tiny_csv):
    path = sorted(tiny_csv.glob("*.gz"))[0]
    with pytest.raises(InputError, match="at least two recordings"):
        prepare(Recordings.from_files([path], require_lines=True))


def test_recordings_without_lines_are_refused(tiny_csv, tmp_path):
    import polars as pl

    path = tmp_path / "face_001.csv"
    pl.read_csv(sorted(tiny_csv.glob("*.gz"))[0], infer_schema=False).drop("gcode_string").write_csv(path)
    with pytest.raises(InputError, match="rows without a line"):
        prepare(Recordings.from_files([path]))


def test_the_command_prints_a_table_with_the_leak_named(tiny_recordings, capsys):
    assert main(["baseline", "--data", str(tiny_recordings.folder)]) == 0
    out = capsys.readouterr().out
    assert "extra-trees" in out and "a leak" in out and "never seen in train" in out


def test_the_command_prints_one_json_object(tiny_recordings, capsys):
    assert main(["baseline", "--data", str(tiny_recordings.folder), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["track"] == "recordings"
    assert set(content["baselines"]["extra-trees, sensors"]) == {"overall_acc", "exact_acc"}
