"""Keys of attributes: text wherever Optuna or a worker copies them, and read with their type."""

import copy
import json
import pickle

import optuna

from tuner.storage.attributes import CONFIRMED, METRICS, STUDY, TRIAL, WHY, Attribute


def test_copied_or_sent_elsewhere_a_key_is_plain_text() -> None:
    for copied in (
        copy.deepcopy({WHY: 1}),
        pickle.loads(pickle.dumps({WHY: 1})),
        json.loads(json.dumps({WHY: 1})),
    ):
        assert copied == {"why": 1}
        assert type(next(iter(copied))) is str


def test_a_key_is_read_of_a_trial_and_of_a_mapping_and_what_was_cleared_is_absent() -> None:
    trial = optuna.trial.create_trial(value=0.0, user_attrs={METRICS: {"loss": 0.5}})
    assert METRICS.of(trial) == {"loss": 0.5}
    assert METRICS.of({}) == {}
    assert CONFIRMED.of({CONFIRMED: None}) == {}


def test_every_key_that_is_checked_has_a_type() -> None:
    assert all(isinstance(key, Attribute) and key.kind for key in (*STUDY, *TRIAL))
