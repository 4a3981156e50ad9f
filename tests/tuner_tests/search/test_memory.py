"""What runs out of memory is learnt, and avoided."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

import tuner
from tuner.base.endings import ran_out_of_memory
from tuner.base.errors import TrainingFailed, WorkFailed
from tuner.definition.in_python import log, study_from_python
from tuner.definition.study_file import StudyFile
from tuner.search import samplers
from tuner.search.memory import PROBABLE, MemoryLimit, learnt
from tuner.storage.access import default_url, open_records
from tuner.storage.attributes import OUT_OF_MEMORY
from tuner.storage.study import load_study

SPACE = {"batch": [8, 16, 32, 64, 128], "width": log(32, 4096), "lr": log(1e-5, 1e-1), "kind": ["a", "b"]}


def file_of(method: str = "random", **own: object) -> StudyFile:
    return study_from_python(
        "memory", SPACE, metric="loss", goal="minimize", method=method, own={"workload": "m:W", **own}
    )


def at(**config: object) -> dict[str, object]:
    """Parameters of a trial."""
    return file_of().space.params_for({"batch": 8, "width": 64, "lr": 1e-3, "kind": "a", **config})


def runs(file: StudyFile, count: int, seed: int, *, learns: bool = True) -> list[optuna.trial.FrozenTrial]:
    """Trials in a world where batch · width > 2^14 does not fit."""
    sampler = samplers.make(file, seed)
    study = optuna.create_study(sampler=sampler if learns else sampler._base)  # type: ignore[attr-defined]
    for _ in range(count):
        trial = study.ask()
        config = file.space.suggest(trial)
        if config["batch"] * config["width"] > 2**14:
            trial.set_user_attr(OUT_OF_MEMORY, True)
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, -np.log(config["width"]) + abs(np.log10(config["lr"]) + 3))
    return study.trials


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_fewer_trials_run_out_of_memory_the_more_have(method: str) -> None:
    file = file_of(method)

    def failed(learns: bool) -> float:
        found = [trial for seed in range(4) for trial in runs(file, 30, seed, learns=learns)[10:]]
        return float(np.mean([trial.state is TrialState.FAIL for trial in found]))

    assert failed(True) < 0.6 * failed(False)


def test_what_is_avoided_is_named_and_other_parameters_are_not() -> None:
    trials = runs(file_of(), 40, 0)
    limit = learnt(trials, file_of().space.distributions())
    assert limit is not None and set(limit.larger()) == {"batch", "width"}
    few, many = limit.probability([at(lr=1e-2), at(batch=128, width=4000, lr=1e-4)])
    assert few < 0.05 and many > 0.95


def test_the_first_failure_alone_already_moves_the_search() -> None:
    space = file_of().space.distributions()
    limit = MemoryLimit(space, [at(batch=64, width=2048)], [])
    larger = at(batch=128, width=4096)
    found = limit.mended(larger, np.random.default_rng(0))
    assert limit.probability([found])[0] <= PROBABLE < limit.probability([larger])[0]


def test_what_fits_and_what_is_fixed_stays_as_it_is() -> None:
    limit = learnt(runs(file_of(), 40, 0), file_of().space.distributions())
    assert limit is not None
    fits, large, rng = at(), at(batch=128, width=4096), np.random.default_rng(0)
    assert limit.mended(fits, rng) == fits
    assert limit.mended(large, rng, fixed=fits) == large
    found = limit.mended(large, rng, fixed=["width"], valid=lambda params: params["lr"] == large["lr"])
    assert (found["width"], found["lr"]) == (large["width"], large["lr"]) and found["batch"] != 128


def test_a_study_without_such_a_failure_is_searched_as_before() -> None:
    file = file_of("bayes")
    study = optuna.create_study(sampler=samplers.make(file, 3))
    plain = optuna.create_study(sampler=samplers.make(file, 3)._base)  # type: ignore[attr-defined]
    for _ in range(25):
        ours, theirs = study.ask(), plain.ask()
        assert file.space.suggest(ours) == file.space.suggest(theirs)
        for one, trial in ((study, ours), (plain, theirs)):
            one.tell(trial, float(trial.params["width"]))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (TrainingFailed("the script was killed by SIGKILL (out of memory?)"), True),
        (TrainingFailed("the script ended with exit status 1: torch.OutOfMemoryError: no room"), True),
        (TrainingFailed("the script ended with exit status 137"), True),
        (TrainingFailed("the script ended with exit status 1: KeyError: 'memory'"), False),
    ],
)
def test_which_errors_say_that_memory_was_out(error: Exception, expected: bool) -> None:
    assert ran_out_of_memory(error) == expected


def test_a_study_says_what_it_avoids_and_is_not_stopped(tmp_path: Path, agents_in_this_process: None) -> None:
    def train(config: dict[str, float]) -> float:
        if config["width"] > 100:
            raise MemoryError(f"cannot allocate {config['width']}")
        return config["width"]

    first = [{"width": width} for width in (1000, 900, 800, 700, 50)]
    found = tuner.study(
        train,
        {"width": log(10, 1000)},
        trials=2,
        agents=1,
        results=tmp_path,
        quiet=True,
        options={"first": first},
    )
    *failed, last = found.optuna.trials[:5]
    assert all(OUT_OF_MEMORY.of(trial) for trial in failed) and last.value == 50
    assert (
        failed[-1].user_attrs["error"].startswith("out of memory (the search avoids larger width now): Mem")
    )
    assert len(found.optuna.trials) < 9


def test_the_message_is_short_and_names_the_remedy_where_no_size_is_searched(
    tmp_path: Path, agents_in_this_process: None
) -> None:
    def train(config: dict[str, float]) -> float:
        raise RuntimeError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"
        )

    with pytest.raises(WorkFailed, match="trials in a row failed: out of memory"):
        tuner.study(train, {"kind": ["a", "b"]}, trials=20, agents=1, results=tmp_path, quiet=True, seed=1)
    failed = load_study(open_records(default_url(tmp_path)), "train").get_trials()
    assert {trial.user_attrs["error"] for trial in failed} == {
        "out of memory (make the trials smaller, or run fewer agents at a time): "
        "RuntimeError: CUDA out of memory"
    }
