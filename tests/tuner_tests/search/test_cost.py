"""What an epoch costs is learnt from the trials so far; of equally promising values the cheaper is tried."""

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from tuner.search import samplers
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


def proposed(seconds):
    """What TPE proposes where neither width nor kind matters, and an epoch takes `seconds(width, kind)`."""
    study = optuna.create_study(
        sampler=samplers.TPE(seed=0, n_startup_trials=5, multivariate=True, group=False)
    )
    rng = np.random.default_rng(0)

    def end(params):
        state = TrialState.PRUNED if len(study.trials) % 2 else TrialState.COMPLETE
        study.add_trial(
            create_trial(
                params=params,
                distributions=SPACE,
                state=state,
                value=float(rng.random()),
                intermediate_values={2: 0.5, 4: 0.5},
                user_attrs={"seconds": 4 * seconds(**params)},
            )
        )

    for _ in range(10):
        end({"width": float(100 ** rng.random()), "kind": str(rng.choice(["a", "b"]))})
    found = []
    for _ in range(60):
        trial = study.ask(SPACE)
        study.tell(trial, state=TrialState.FAIL)
        found.append(trial.params)
        end(trial.params)
    return [params["width"] for params in found], [params["kind"] for params in found]


def test_tpe_tries_the_cheaper_of_equally_promising_values_more_often():
    plain, _ = proposed(lambda width, kind: 1.0)
    cheap, _ = proposed(lambda width, kind: width)
    assert np.log(cheap).mean() < np.log(plain).mean() - 0.5
    assert max(cheap) > 10  # the expensive ones are tried all the same
    for dear in "ab":
        _, kinds = proposed(lambda width, kind, dear=dear: 9.0 if kind == dear else 1.0)
        assert 0 < kinds.count(dear) < 30
