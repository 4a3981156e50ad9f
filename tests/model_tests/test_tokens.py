"""The tokenizer: the examples of its specification, then properties that hold for every line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tokens import (
    EOS,
    QUANTUM,
    SPECIALS,
    UNK,
    Vocabulary,
    bucket,
    canonical,
    quantise,
    tokenize,
)
from tuner.base.errors import InputError

LINES = {
    "G1 X-0.1254": 40,
    "X3.275 Y0.3746 R0.083": 9,
    "G3 X1.7129 Y1.6349 R0.025": 7,
    "G53 G0 Z0.": 5,
    "G1 Z0.025 F13.3": 3,
    "X13.27": 2,
    "X1.327": 2,
    "M30": 1,
}

digits_kept = st.sampled_from([None, 1, 2, 3, 4])
numbers = st.decimals(-9999, 9999, places=4, allow_nan=False).map(lambda number: format(number, "f"))
parameters = st.sampled_from(sorted(QUANTUM))
words = st.one_of(
    st.sampled_from(["G0", "G1", "g01", "G53", "M30", "T2", "G92.1"]),
    st.tuples(parameters, st.sampled_from(["", " "]), numbers).map("".join),
)
lines = st.lists(words, min_size=1, max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("quantised", "digits", "expected"),
    [
        (1575, 2, "15"),
        (5, 2, "05"),
        (-125, 2, "-1"),
        (-5, 2, "-5"),
        (0, 2, "00"),
        (1575, 3, "157"),
        (5, 3, "005"),
        (13275, 4, "1327"),
        (-8, 4, "-008"),
        (13275, None, "13275"),
        (-5, None, "-5"),
        (-125, 1, "-"),
    ],
)
def test_bucket_keeps_the_first_digits(quantised, digits, expected):
    assert bucket(quantised, digits) == expected


@pytest.mark.parametrize(
    ("letter", "number", "expected"),
    [
        ("X", "1.575", 1575),
        ("R", "0.075", 750),
        ("F", "13.3", 13),
        ("S", "12000", 1200),
        ("X", "0.0005", 0),
        ("X", "0.0015", 2),
        ("Z", "-.008", -8),
    ],
)
def test_values_are_counted_in_quanta_of_their_parameter(letter, number, expected):
    assert quantise(letter, number) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("G01 X1.575", "G1 X1.575"),
        ("n120 g00x1.50y-.25*71", "G0 X1.5 Y-0.25"),
        ("G1 X1 (slow here) Y2 ; and a note", "G1 X1 Y2"),
        ("/G53 G0 Z0.", "G53 G0 Z0"),
        ("%", ""),
        ("X +1. Y -0.0", "X1 Y0"),
        ("G92.1", "G92.1"),
        ("T02 M06", "T2 M6"),
    ],
)
def test_canonical_form(line, expected):
    assert canonical(line) == expected


def test_a_parameter_becomes_its_letter_and_a_value_token():
    assert tokenize("X1.575", 4) == ["X", "NUM_X_1575"]
    assert tokenize("G01 X1.575 Y-0.125", 2) == ["G1", "X", "NUM_X_15", "Y", "NUM_Y_-1"]
    assert tokenize("M3 S12000 T2", 4) == ["M3", "S", "NUM_S_1200", "T2"]


@given(st.text(max_size=60))
def test_canonical_form_of_any_text_is_its_own_canonical_form(text):
    assert canonical(canonical(text)) == canonical(text)


@given(lines, digits_kept)
def test_tokens_of_a_line_and_of_its_canonical_form_are_the_same(line, digits):
    assert tokenize(line, digits) == tokenize(canonical(line), digits)


@given(st.dictionaries(lines, st.integers(1, 50), min_size=1, max_size=8), digits_kept)
def test_encoded_lines_come_back_as_lines_with_the_same_tokens(counts, digits):
    vocabulary = Vocabulary.build(counts, digits=digits)
    for line in counts:
        ids = vocabulary.encode(line)
        assert UNK not in ids
        assert vocabulary.encode(vocabulary.to_line([*ids, EOS])) == ids


@given(st.dictionaries(lines, st.integers(1, 50), min_size=1, max_size=8), digits_kept)
def test_every_token_has_factors_of_its_own(counts, digits):
    vocabulary = Vocabulary.build(counts, digits=digits)
    factors = [vocabulary.decompose(i) for i in range(len(vocabulary))]
    assert len(set(factors)) == len(vocabulary)
    assert [list(f[:4]) for f in factors] == vocabulary.factor_table.tolist()


@given(st.dictionaries(lines, st.integers(1, 50), min_size=1, max_size=8), digits_kept)
def test_a_vocabulary_survives_its_json_file(counts, digits):
    vocabulary = Vocabulary.build(counts, digits=digits)
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


def test_ids_are_specials_then_frequency_then_text():
    vocabulary = Vocabulary.build({"X1 Y1": 2, "Y1": 1, "Z1": 2}, digits=4)
    assert vocabulary.tokens[:5] == SPECIALS
    assert vocabulary.tokens[5:] == ("NUM_Y_1000", "Y", "NUM_X_1000", "NUM_Z_1000", "X", "Z")


def test_heads_have_one_class_for_each_command_letter_and_value():
    vocabulary = Vocabulary.build(LINES, digits=4)
    assert set(vocabulary.commands) == {"G0", "G1", "G3", "G53", "M30"}
    assert set(vocabulary.param_types) == set("XYZRF")
    assert vocabulary.head_sizes["param_value"] == len(vocabulary.values) == len(vocabulary.means)
    letters = [vocabulary.param_types[i] for i in vocabulary.value_param_type]
    assert letters == [token[4] for token in vocabulary.values]


def test_a_bucket_goes_back_to_the_mean_of_its_values_weighted_by_count():
    vocabulary = Vocabulary.build({"X1.51": 3, "X1.59": 1}, digits=2)
    assert vocabulary.means == pytest.approx([1.53])
    assert vocabulary.to_line(vocabulary.encode("X1.55")) == "X1.53"


def test_a_bucket_of_two_magnitudes_is_written_as_a_value_that_was_seen():
    vocabulary = Vocabulary.build(LINES, digits=4)
    assert vocabulary.encode("X13.27") == vocabulary.encode("X1.327")
    assert vocabulary.to_line(vocabulary.encode("X13.27")) in ("X13.27", "X1.327")


def test_an_unseen_value_is_unk_and_leaves_its_parameter_standing():
    vocabulary = Vocabulary.build(LINES, digits=4)
    ids = vocabulary.encode("G1 X9.999")
    assert [vocabulary.tokens[i] for i in ids] == ["G1", "X", "UNK"]
    assert vocabulary.to_line(ids) == "G1 X"


def test_published_vocabulary_keeps_its_ids_and_foreign_tokens(tmp_path):
    tokens = [*SPECIALS, "X", "NUM_X_1575", "G0", "F22."]
    path = tmp_path / "published.json"
    path.write_text(
        json.dumps({"config": {"bucket_digits": 4}, "vocab": {t: i for i, t in enumerate(tokens)}})
    )
    vocabulary = Vocabulary.from_published(path, {"X1.5751": 1})
    assert vocabulary.tokens == tuple(tokens)
    assert vocabulary.means == (1.5751,)


def test_a_file_that_is_no_vocabulary_is_named(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(InputError, match=r"other\.json: expected keys"):
        Vocabulary.from_published(path)
