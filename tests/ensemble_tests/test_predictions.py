"""Stored predictions: what decoding asks of each head, and files that are no predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ensemble.predictions import Layout, part_file, read_log_probabilities, read_targets
from model.run_files import VOCABULARY
from model.tokens import HEADS, PARAM_TYPE, PARAM_VALUE, SPECIAL, UNK, Vocabulary
from tuner.base.errors import InputError
from tuner.base.files import read_json


@pytest.fixture
def run(make_runs: Callable[..., list[Path]]) -> Path:
    return make_runs(1)[0]


def vocabulary_of(run: Path) -> Vocabulary:
    return Vocabulary.from_json(read_json(run / VOCABULARY))


def test_values_are_distributions_over_their_parameters_values(run: Path) -> None:
    vocabulary = vocabulary_of(run)
    path = part_file(run, "calibrate")
    layout = Layout.of(read_targets(path), vocabulary)
    log_p = read_log_probabilities(path, layout)
    for group, array in zip(layout.groups["param_value"], log_p["param_value"], strict=True):
        owners = vocabulary.value_param_type[group.classes]
        assert len(set(owners)) == 1 and len(group.classes) == int(
            (vocabulary.value_param_type == owners[0]).sum()
        )
        np.testing.assert_allclose(np.exp(array).sum(axis=1), 1, rtol=1e-5)


def test_every_known_token_is_asked_by_its_type_and_one_more_head(run: Path) -> None:
    targets = read_targets(part_file(run, "calibrate"))
    layout = Layout.of(targets, vocabulary_of(run))
    asked = np.zeros(len(targets.gold), dtype=int)
    for head in HEADS[1:]:
        for group in layout.groups[head]:
            asked[group.position] += 1
    kinds = vocabulary_of(run).factor_table[targets.gold, 0]
    assert (asked == (kinds > 0)).all()
    assert (layout.unknown == (targets.gold == UNK)).all()


def test_an_unknown_token_counts_only_where_the_type_head_is_asked_for_it(run: Path) -> None:
    path = part_file(run, "calibrate")
    arrays = dict(np.load(path))
    unknown = arrays["gold"] == UNK
    assert unknown.any() and Layout.of(read_targets(path), vocabulary_of(run)).unknown.any()
    arrays["applies"][:, 0] = True  # the published evaluation: "special" is right for it
    arrays["type"] = np.zeros((len(unknown), 4), dtype=np.float16)
    np.savez(path, **arrays)
    layout = Layout.of(read_targets(path), vocabulary_of(run))
    assert not layout.unknown.any()
    assert (layout.groups["type"][0].gold[unknown] == SPECIAL).all()


def test_the_whole_layout_adds_parameter_types_of_values(run: Path) -> None:
    vocabulary = vocabulary_of(run)
    targets = read_targets(part_file(run, "calibrate"))
    whole = Layout.of(targets, vocabulary, everything=True)
    kinds = vocabulary.factor_table[targets.gold, 0]
    assert len(whole.groups["param_type"][0].position) == np.isin(kinds, (PARAM_TYPE, PARAM_VALUE)).sum()


def test_a_class_that_a_run_rules_out_has_a_floor(run: Path) -> None:
    path = part_file(run, "calibrate")
    arrays = dict(np.load(path))
    arrays["command"][:, 0] = -np.inf
    np.savez(path, **arrays)
    layout = Layout.of(read_targets(path), vocabulary_of(run))
    assert (read_log_probabilities(path, layout)["command"][0][:, 0] == -30).all()


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def damage_text(path: Path) -> None:
    path.write_text("not a zip file")


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_foreign(path: Path) -> None:
    np.savez(path, something=np.zeros(3))


def damage_shape(path: Path) -> None:
    arrays = dict(np.load(path))
    arrays["applies"] = arrays["applies"][:-1]
    np.savez(path, **arrays)


@pytest.mark.parametrize("damage", [damage_cut, damage_text, damage_empty, damage_foreign, damage_shape])
def test_a_file_that_is_no_predictions_is_an_error_that_names_it(
    run: Path, damage: Callable[[Path], None]
) -> None:
    path = part_file(run, "calibrate")
    damage(path)
    with pytest.raises(InputError, match=r"calibrate\.npz"):
        read_targets(path)


def test_logits_of_another_vocabulary_or_not_finite_are_errors(run: Path) -> None:
    path = part_file(run, "calibrate")
    layout = Layout.of(read_targets(path), vocabulary_of(run))
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "param_value": arrays["param_value"][:, :3]})
    with pytest.raises(InputError, match="do not fit the vocabulary"):
        read_log_probabilities(path, layout)
    arrays["type"][0, 0] = np.nan
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="not finite"):
        read_log_probabilities(path, layout)


def test_a_difference_of_targets_is_told_in_words(run: Path) -> None:
    path = part_file(run, "calibrate")
    one = read_targets(path)
    arrays = dict(np.load(path))
    arrays["start"] = arrays["start"] + 1
    np.savez(path, **arrays)
    assert one.difference(one) is None
    assert one.difference(read_targets(path)) == "windows differ in start"
