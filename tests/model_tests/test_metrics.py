"""Metrics by hand: small lines, known answers."""

from __future__ import annotations

import numpy as np
import pytest

from model.metrics import Forced, exact_matches, head_accuracies, value_errors
from model.tokens import BOS, EOS, UNK, Vocabulary

LINES = {"G1 X1.5 Y2": 3, "G0 X2.5": 2, "X1.5": 1}
VOCABULARY = Vocabulary.build(LINES, digits=4)


def perfect(lines: list[str]) -> Forced:
    """A pass in which every head says what the target has."""
    gold, window, step = [], [], []
    for i, line in enumerate(lines):
        ids = [*VOCABULARY.encode(line), EOS]
        gold += ids
        window += [i] * len(ids)
        step += list(range(len(ids)))
    factors = VOCABULARY.factor_table[np.array(gold)]
    return Forced(np.array(gold), np.array(window), np.array(step), *factors.T.copy())


def test_perfect_answers_score_one() -> None:
    assert set(head_accuracies(perfect(list(LINES)), VOCABULARY).values()) == {1.0}


def test_a_wrong_command_costs_one_token_and_one_command() -> None:
    forced = perfect(["G1 X1.5 Y2", "G0 X2.5"])
    forced.command[0] = 1 - forced.command[0]
    scores = head_accuracies(forced, VOCABULARY)
    assert scores["command_acc"] == 0.5
    assert scores["overall_acc"] == pytest.approx(1 - 1 / len(forced.gold))
    assert scores["composite"] == 0.5
    assert scores["type_acc"] == 1


def test_a_wrong_type_makes_the_token_wrong_whatever_the_heads_say() -> None:
    forced = perfect(["X1.5"])
    forced.type[0] = 1
    scores = head_accuracies(forced, VOCABULARY)
    assert scores["overall_acc"] == pytest.approx(2 / 3)
    assert scores["param_type_acc"] == 1


def test_an_unknown_token_is_never_right_unless_the_published_rule_is_asked_for() -> None:
    forced = perfect(["X9.999"])  # a value that the vocabulary lacks
    assert forced.gold.tolist()[1] == UNK
    assert head_accuracies(forced, VOCABULARY)["overall_acc"] == pytest.approx(2 / 3)
    assert head_accuracies(forced, VOCABULARY, unknown_is_token=True)["overall_acc"] == 1


def test_value_errors_are_millimetres_between_inches() -> None:
    forced = perfect(["G0 X2.5"])
    value_step = 2
    forced.param_value[value_step] = VOCABULARY.values.index("NUM_X_1500")
    assert value_errors(forced, VOCABULARY, ["G0 X2.5"]) == {
        "value_mae": pytest.approx(25.4),
        "value_within_tol": 0.0,
    }


def test_values_are_compared_with_the_line_itself_not_with_its_bucket() -> None:
    coarse = Vocabulary.build({"X1.5": 1, "X1.7": 1}, digits=1)
    gold = np.array([*coarse.encode("X1.5"), EOS])
    forced = Forced(gold, np.zeros(3, int), np.arange(3), *coarse.factor_table[gold].T)
    assert value_errors(forced, coarse, ["X1.5"])["value_mae"] == pytest.approx(0.1 * 25.4)


def test_exact_is_token_for_token_in_four_digits() -> None:
    decoded = ["G1 X1.5", "g01 x1.50000", "G1 X1.5001", "G1 X1.501", "G1 X1.5 Y2"]
    assert exact_matches(decoded, ["G1 X1.5"] * 5).tolist() == [True, True, True, False, False]


def test_a_part_without_commands_has_nothing_to_get_wrong() -> None:
    assert head_accuracies(perfect(["X1.5"]), VOCABULARY)["command_acc"] == 1
    assert BOS not in perfect(["X1.5"]).gold
