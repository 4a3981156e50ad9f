"""Which trials are best, which make up the front, and whose weights are kept."""

from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.artifacts import weights
from tuner.definition.study_file import StudyFile
from tuner.run.agent import station
from tuner.search import ranking
from tuner.storage.records import Records

MakeStudy = Callable[..., StudyFile]
FRONT = "max_epochs: 4\n  front: [{name: parameters, goal: minimize}]"


def trial(number: int, value: float, *, violation: float = 0.0, parameters: int | None = None) -> FrozenTrial:
    made = create_trial(
        state=TrialState.COMPLETE,
        value=value,
        system_attrs={"constraints:acc >= 1": violation},
        user_attrs={} if parameters is None else {"parameters": parameters},
    )
    made.number = number
    return made


def numbers(trials: list[FrozenTrial]) -> list[int]:
    return [found.number for found in trials]


def test_the_feasible_come_first_then_the_least_violation(make_study: MakeStudy) -> None:
    trials = [trial(0, 0.9, violation=0.2), trial(1, 0.5), trial(2, 0.7), trial(3, 0.8, violation=0.1)]
    assert numbers(ranking.ranked(trials, make_study())) == [2, 1, 3, 0]


def test_equal_trials_stand_in_the_order_they_were_run(make_study: MakeStudy) -> None:
    assert numbers(ranking.ranked([trial(4, 0.5), trial(2, 0.5)], make_study())) == [2, 4]


def test_smaller_is_better_where_the_study_minimises(make_study: MakeStudy) -> None:
    study_file = make_study(**{"goal: maximize": "goal: minimize"})
    assert numbers(ranking.ranked([trial(0, 0.9), trial(1, 0.5)], study_file)) == [1, 0]


def test_the_front_weighs_the_objective_against_size(make_study: MakeStudy) -> None:
    study_file = make_study(**{"max_epochs: 4": FRONT})
    trials = [
        trial(0, 0.9, parameters=900),
        trial(1, 0.8, parameters=300),
        trial(2, 0.7, parameters=500),  # worse and larger than trial 1
        trial(3, 0.6, parameters=100),
        trial(4, 0.95),  # its size is not known
        trial(5, 0.99, parameters=50, violation=1.0),  # infeasible
    ]
    assert numbers(ranking.front(trials, study_file)) == [0, 1, 3]


def test_weights_stay_for_the_best_and_the_front(
    records: Records, make_study: MakeStudy, tmp_path: Path
) -> None:
    study_file = make_study(**{"max_epochs: 4": FRONT})
    study = optuna.create_study(study_name="small", storage=records, direction="maximize")
    files = []
    for value, parameters in ((0.9, 900), (0.8, 300), (0.7, 500), (0.6, 100)):
        study.add_trial(
            create_trial(state=TrialState.COMPLETE, value=value, user_attrs={"parameters": parameters})
        )
        folder = tmp_path / "runs" / "small" / str(len(files))
        folder.mkdir(parents=True)
        (folder / "result.json").write_text("{}")
        files.append(folder / "model.safetensors")
        files[-1].write_text("weights")
    assert weights.tidy(study, study_file, tmp_path, keep=1, patterns=["*.safetensors"]) == [2]
    assert [path.exists() for path in files] == [True, True, False, True]
    assert (files[2].parent / "result.json").exists()


def test_without_a_metric_nothing_is_ranked_and_all_weights_stay(make_study: MakeStudy) -> None:
    study_file = make_study(**{"bayes": "random", "metric: {name: score, goal: maximize}\n": ""})
    trials = [trial(number, 0.0) for number in range(3)]
    assert ranking.ranked(trials, study_file) == ranking.front(trials, study_file) == []
    assert ranking.winner([], {}, study_file) is None
    assert weights.kept(trials, study_file, keep=1) == {0, 1, 2}


def test_no_trial_starts_on_a_full_disk(tmp_path: Path) -> None:
    assert station.disk_full(tmp_path, 1) is None
    assert "needed before a trial starts; free some space" in str(station.disk_full(tmp_path, 2**60))
