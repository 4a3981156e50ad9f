"""The storage's contract: what buffered writes leave behind is what Optuna's own writes leave behind."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import Trial, TrialState

from tuner.base.endings import GivenAway
from tuner.storage.access import open_records
from tuner.storage.attributes import LEASE
from tuner.storage.records import Records


def fill(trial: Trial) -> None:
    trial.suggest_float("x", 0, 1)
    trial.suggest_int("n", 1, 9, log=True)
    trial.suggest_categorical("c", ["a", None, 3.5])
    for step, value in ((1, 0.5), (2, float("nan")), (3, float("inf")), (1, 0.25)):
        trial.storage.set_trial_intermediate_value(trial._trial_id, step, value)
    trial.set_user_attr("note", {"deep": [1, 2]})
    trial.set_constraint("acc >= 1", 0.25)


def new_study(records: Records, name: str) -> optuna.Study:
    return optuna.create_study(
        study_name=name, storage=records, direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)
    )


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
def test_a_buffered_trial_is_stored_as_optuna_stores_it(
    records: Records, url: str, state: TrialState
) -> None:
    plain, buffered = new_study(records, "plain"), new_study(records, "buffered")
    values = 0.75 if state is TrialState.COMPLETE else None

    theirs = plain.ask()
    fill(theirs)
    plain.tell(theirs, values, state=state)

    claimed = records.claim(buffered._study_id, user_attrs={})
    ours = Trial(buffered, claimed._trial_id)
    fill(ours)
    buffered.tell(ours, values, state=state)

    read = open_records(url)  # another process's view
    expected = optuna.load_study(study_name="plain", storage=read).trials[0]
    found = optuna.load_study(study_name="buffered", storage=read).trials[0]
    for field in ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs"):
        assert getattr(found, field) == getattr(expected, field), field
    assert repr(found.intermediate_values) == repr(expected.intermediate_values)
    assert found.datetime_start is not None
    assert found.datetime_complete is not None
    assert found.datetime_complete >= found.datetime_start


def test_reports_are_seen_by_oneself_at_once_and_by_others_after_a_flush(records: Records, url: str) -> None:
    study = new_study(records, "s")
    claimed = records.claim(study._study_id, user_attrs={LEASE: {"pid": 1}})
    trial = Trial(study, claimed._trial_id)
    trial.suggest_float("x", 0, 1)
    trial.report(0.5, 1)
    assert study.trials[0].intermediate_values == {1: 0.5}
    assert optuna.load_study(study_name="s", storage=open_records(url)).trials[0].intermediate_values == {}
    records.flush(claimed._trial_id)
    theirs = optuna.load_study(study_name="s", storage=open_records(url)).trials[0]
    assert theirs.intermediate_values == {1: 0.5}
    assert theirs.params == trial.params
    assert theirs.user_attrs[LEASE] == {"pid": 1}


def test_a_trial_that_was_given_away_cannot_be_told(records: Records, url: str) -> None:
    study = new_study(records, "s")
    claimed = records.claim(study._study_id, user_attrs={})
    trial = Trial(study, claimed._trial_id)
    x = trial.suggest_float("x", 0, 1)
    records.flush(claimed._trial_id)

    again = open_records(url).give_up(claimed._trial_id, {"error": "agent lost"}, retries=2)
    with pytest.raises(GivenAway):
        study.tell(trial, x)

    assert again == 1
    failed, queued = study.get_trials()
    assert failed.state is TrialState.FAIL
    assert failed.values is None
    assert queued.system_attrs["fixed_params"] == {"x": x}
    assert queued.user_attrs == {"retry_of": 0, "retries": 1}


def test_a_configuration_is_queued_again_only_so_often(records: Records) -> None:
    study = new_study(records, "s")
    numbers: list[int | None] = []
    records.enqueue(study._study_id, {"x": 0.5}, {})
    for _ in range(3):
        claimed = records.claim(study._study_id, user_attrs={})
        Trial(study, claimed._trial_id).suggest_float("x", 0, 1)
        numbers.append(records.give_up(claimed._trial_id, {}, retries=2))
    assert numbers == [1, 2, None]


def test_a_released_trial_is_as_if_never_started(records: Records) -> None:
    study = new_study(records, "s")
    claimed = records.claim(study._study_id, user_attrs={LEASE: {"pid": 1}, "grid_point": 4})
    trial = Trial(study, claimed._trial_id)
    x = trial.suggest_float("x", 0, 1)
    trial.report(0.1, 1)
    records.flush(claimed._trial_id)
    assert records.release(claimed._trial_id)
    (waiting,) = study.get_trials()
    assert waiting.state is TrialState.WAITING
    assert (waiting.params, waiting.intermediate_values) == ({}, {})
    assert waiting.user_attrs == {"grid_point": 4}
    assert not records.release(claimed._trial_id)

    taken = records.claim(study._study_id, user_attrs={})
    assert taken.number == 0
    assert Trial(study, taken._trial_id).suggest_float("x", 0, 1) == x


def test_queued_trials_are_taken_oldest_first_each_once(records: Records) -> None:
    study = new_study(records, "s")
    for x in (0.1, 0.2, 0.3):
        records.enqueue(study._study_id, {"x": x}, {})
    taken = [records.claim(study._study_id, user_attrs={}) for _ in range(4)]
    assert [trial.number for trial in taken] == [0, 1, 2, 3]
    assert [trial.system_attrs.get("fixed_params", {}).get("x") for trial in taken] == [0.1, 0.2, 0.3, None]
    assert records.queue.counts(study._study_id)[TrialState.RUNNING] == 4


def test_parameters_that_were_ruled_out_leave_no_trace(records: Records) -> None:
    study = new_study(records, "s")
    claimed = records.claim(study._study_id, user_attrs={})
    first = Trial(study, claimed._trial_id).suggest_float("x", 0, 1)
    records.discard_params(claimed._trial_id)
    second = Trial(study, claimed._trial_id).suggest_float("x", 0, 1)
    records.flush(claimed._trial_id)
    assert first != second
    assert study.get_trials()[0].params == {"x": second}


def test_the_database_is_in_wal_mode(records: Records, tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "results" / "studies.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
