"""What an epoch costs is learnt from the trials so far; of equally promising values the cheaper is tried."""

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from tuner.search.points.cost import FEWEST, EpochCost

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {
    "width": FloatDistribution(1.0, 100.0, log=True),
    "kind": CategoricalDistribution(["a", "b"]),
}


def test_the_seconds_of_an_epoch_are_learnt_as_a_sum_over_parameters():
    rows = np.array([[place / 9, float(place % 2), np.nan] for place in range(10)])
    choices = np.array([False, True, False])
    seconds = [math.exp(2 * row[0] + row[1]) for row in rows]
    cost = EpochCost(rows, choices, seconds)
    assert np.abs(cost.logs(rows) - np.log(seconds)).max() < 0.3
    ends = cost.part(0, np.array([0.0, 1.0]))
    assert ends[1] - ends[0] == pytest.approx(2, abs=0.4)
    kinds = cost.part(1, np.array([0.0, 1.0, 7.0]))  # the last one was never tried
    assert kinds[1] - kinds[0] == pytest.approx(1, abs=0.2) and kinds[0] < kinds[2] < kinds[1]
    assert cost.logs(np.array([[50.0, 1.0, np.nan]])) == pytest.approx(math.log(max(seconds)))


@pytest.mark.parametrize("seconds", [[2.0] * (FEWEST - 1) + [None], [0.0] * FEWEST, [None] * FEWEST])
def test_nothing_is_said_while_little_is_known(seconds):
    rows = np.linspace(0, 1, 2 * FEWEST).reshape(FEWEST, 2)
    cost = EpochCost(rows, np.array([False, False]), seconds)
    assert (cost.logs(rows) == 0).all() and (cost.part(0, rows[:, 0]) == 0).all()
