"""Freeze-thaw search: which trial goes on, whatever a study has reported."""

import math
from dataclasses import replace

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.optimize import approx_fprime

from tuner.definition.loading import load_study_file
from tuner.search.freeze_thaw import Curve, Earlier, FreezeThaw, draws_of, mends_of, process, rungs_of
from tuner.search.freeze_thaw.curves import with_earlier
from tuner.search.freeze_thaw.data import MOST_VALUES, Data
from tuner.search.freeze_thaw.targets import Targets

RUNGS = [2, 4, 9, 18]
SPACE = {
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "layers": IntDistribution(1, 4),
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "width": IntDistribution(16, 64, step=16),
    "data": CategoricalDistribution(["only"]),
}


def draw_with(rng):
    def draw():
        return {
            "lr": 10 ** rng.uniform(-4, -1),
            "layers": int(rng.integers(1, 5)),
            "kind": str(rng.choice(["a", "b", "c"])),
            "width": 16 * int(rng.integers(1, 5)),
            "data": "only",
        }

    return draw


def search(maximize=True, **options):
    draw = draw_with(np.random.default_rng(0))
    options = {"seed": 0, "lead_after": 100, **options}  # by the model, unless a test is about the leader
    return FreezeThaw(SPACE, maximize=maximize, length=18, rungs=RUNGS, draw=draw, **options)


def curves(count, value, state="paused"):
    """So many started trials; `value(params, epoch)` at the first rung or two."""
    draw = draw_with(np.random.default_rng(1))
    found = []
    for number in range(count):
        params = draw()
        epochs = RUNGS[: 1 + number % 2]
        found.append(Curve(number, params, {epoch: value(params, epoch) for epoch in epochs}, state))
    return found


def accuracy(params, epoch):
    """Best at lr 1e-2 and kind b; rises with epochs."""
    good = 0.9 - 0.2 * abs(math.log10(params["lr"]) + 2) - 0.2 * (params["kind"] != "b")
    return good * (1 - 0.5 / epoch)


def test_the_first_trials_are_random_and_run_to_the_first_rung():
    chooser = search(starts=3)
    choice = chooser.choose(curves(2, accuracy))
    assert (choice.number, choice.until, choice.chance) == (
        None,
        2,
        None,
    ) and choice.params.keys() == SPACE.keys()
    assert chooser.explain(choice) == "drawn at random, as the first 3 are"
    assert search(starts=3).choose(curves(9, accuracy)).chance is not None


def test_a_clearly_better_paused_trial_goes_on_to_its_next_rung():
    bad = [Curve(n, {**c.params, "kind": "a"}, {2: 0.1}, "paused") for n, c in enumerate(curves(8, accuracy))]
    good = Curve(8, {**bad[0].params, "lr": 1e-2, "kind": "b"}, {2: 0.6, 4: 0.8}, "paused")
    chooser = search()
    found = [chooser.choose([*bad, good], may_start=False) for _ in range(5)]
    assert {(choice.number, choice.until, choice.params) for choice in found} == {(8, 9, None)}
    choice = found[0]
    assert 0.8 < choice.threshold < 1 and choice.horizon > 4
    odds = f"31 % likely to beat {choice.threshold:.4g} by epoch {choice.horizon}"
    assert chooser.explain(replace(choice, chance=0.314)) == f"the most promising ({odds})"
    assert chooser.explain(replace(choice, chance=0.004)).startswith("the most promising (under 1 % likely")


def test_the_leader_of_the_first_trials_runs_to_its_end():
    paused = [Curve(n, c.params, {2: 0.1}, "paused") for n, c in enumerate(curves(3, accuracy))]
    best = Curve(3, {**paused[0].params, "kind": "b"}, {2: 0.4}, "paused")
    chooser = search(lead_after=4)
    choice = chooser.choose([*paused, best])
    assert (choice.number, choice.until, choice.chance) == (3, 4, None)
    said = "expected to end best; none has ended yet"
    assert chooser.explain(choice) == said
    assert chooser.choose([*paused, replace(best, values={2: 0.4, 4: 0.5})]).until == 9
    assert chooser.choose(paused).number is None  # too few are started


def test_a_trusted_trial_leads_unless_another_is_clearly_ahead():
    others = [Curve(n, c.params, {2: 0.1}, "paused") for n, c in enumerate(curves(3, accuracy))]
    default = Curve(3, others[0].params | {"kind": "b"}, {2: 0.3}, "paused", trusted=True)
    chooser = search(lead_after=4)
    ahead = [replace(others[0], values={2: 0.31}), *others[1:]]
    assert chooser.choose([*ahead, default]).number == 3
    assert chooser.choose([*ahead, replace(default, trusted=False)]).number == 0
    far_ahead = [replace(others[0], values={2: 0.8}), *others[1:]]
    assert chooser.choose([*far_ahead, default]).number == 0


@pytest.mark.parametrize("leader", [("running", {2: 0.4}, 4), ("ended", {2: 0.4, 18: 0.5}, None)])
def test_once_a_trial_is_on_its_way_to_its_end_the_others_need_no_leader(leader):
    state, values, until = leader
    paused = [Curve(n, c.params, {2: 0.1}, "paused") for n, c in enumerate(curves(8, accuracy))]
    started = [*paused, Curve(8, paused[0].params, values, state, until)]
    assert search(lead_after=4).choose(started).chance is not None


def test_how_likely_a_paused_trial_is_to_win():
    bad = [Curve(n, c.params, {2: 0.1, 18: 0.2}, "ended") for n, c in enumerate(curves(8, accuracy))]
    poor = Curve(8, bad[0].params, {2: 0.01}, "paused")
    good = Curve(9, {**bad[0].params, "kind": "b"}, {2: 0.3}, "paused")
    assert search().likeliest(bad) == 0.0  # none is paused
    assert search().likeliest([*bad, poor]) < 0.02
    assert search().likeliest([*bad, poor, good]) > 0.5
    assert search().likeliest([*bad, poor, good], gain=0.7) < 0.02
    assert search().likeliest([good]) == 1.0  # too little is known


def test_no_configuration_is_started_twice_while_there_are_others():
    space = {"x": IntDistribution(1, 20)}
    rng = np.random.default_rng(0)
    chooser = FreezeThaw(
        space,
        maximize=True,
        length=18,
        rungs=RUNGS,
        starts=3,
        draw=lambda: {"x": int(rng.integers(1, 21))},
        seed=0,
    )
    started = [Curve(n, {"x": n + 1}, {2: 0.1 * (n == 5) + 0.5}, "ended") for n in range(18)]
    assert {chooser.choose(started).params["x"] for _ in range(20)} <= {19, 20}


def test_new_trials_come_near_the_best_ones():
    started = curves(30, accuracy, state="ended")
    chooser = search()
    found = [chooser.choose(started).params for _ in range(20)]
    assert np.mean([params["kind"] == "b" for params in found]) > 0.8
    assert np.mean([abs(math.log10(params["lr"]) + 2) < 0.7 for params in found]) > 0.8


@pytest.mark.slow
def test_an_earlier_study_shows_where_to_look_until_it_is_seen_to_mislead():
    """The earlier study is right in one case; in the other it calls the best configurations the worst."""
    earlier = curves(30, accuracy, state="ended")
    misleading = [
        Curve(c.number, c.params, {e: 1 - v for e, v in c.values.items()}, "ended") for c in earlier
    ]
    few, many = curves(4, accuracy, state="ended"), curves(30, accuracy, state="ended")

    def share_of_good(curves, started):
        chooser = search(earlier=[Earlier(SPACE, curves, maximize=True)], starts=0)
        return np.mean([chooser.choose(started).params["kind"] == "b" for _ in range(20)])

    assert share_of_good(earlier, few) > share_of_good(misleading, few)
    assert share_of_good(misleading, many) > 0.8


def test_an_earlier_study_may_have_other_ranges_and_other_parameters():
    """Here only lr and kind are shared; kind has a new choice, and the scale of the metric is another."""
    space = {
        "lr": FloatDistribution(1e-3, 1e-1, log=True),
        "kind": CategoricalDistribution(["b", "a", "new"]),
        "layers": FloatDistribution(1, 4),
        "momentum": FloatDistribution(0, 1),
    }
    rng = np.random.default_rng(0)

    def draw():
        kind = str(rng.choice(["b", "a", "new"]))
        return {
            "lr": 10 ** rng.uniform(-3, -1),
            "kind": kind,
            "layers": rng.uniform(1, 4),
            "momentum": rng.random(),
        }

    known = [
        replace(c, values={e: 100 * (1 - v) for e, v in c.values.items()})
        for c in curves(40, accuracy, "ended")
    ]
    chooser = FreezeThaw(
        space, maximize=True, length=27, rungs=[3, 9, 27], draw=draw, seed=0,
        earlier=[Earlier(SPACE, known, maximize=False)],
    )  # fmt: skip
    choice = chooser.choose([])
    chosen = choice.params
    assert chooser.explain(choice) == "what an earlier study would choose"
    assert chosen["kind"] == "b" and abs(math.log10(chosen["lr"]) + 2) < 0.5


def test_without_paused_trials_and_without_leave_to_start_there_is_nothing_to_do():
    assert search().choose(curves(9, accuracy, state="ended"), may_start=False) is None


def test_free_agents_share_the_paused_trials():
    """Each choice is told of those before it as running; none is made twice."""
    started = curves(10, accuracy)
    chosen = []
    while (choice := search(seed=len(chosen)).choose(started, may_start=False)) is not None:
        chosen.append(choice.number)
        place = started[choice.number]
        started[choice.number] = Curve(place.number, place.params, place.values, "running", choice.until)
    assert sorted(chosen) == list(range(10))


def test_before_any_rung_has_been_reached_no_model_is_asked():
    running = Curve(0, curves(1, accuracy)[0].params, {1: 0.3}, "running", 2)
    assert search(starts=0).choose([running]).chance is None
    waiting = Curve(1, running.params, {}, "paused")
    choice = search().choose([running, waiting], may_start=False)
    assert (choice.number, choice.until, choice.chance) == (1, 2, None)


@pytest.mark.parametrize("lead_after", [4, 100])
@pytest.mark.parametrize("may_start", [True, False])
@pytest.mark.parametrize(
    ("maximize", "value"),
    [
        (True, lambda p, e: math.nan if p["lr"] > 1e-2 else accuracy(p, e)),
        (True, lambda p, e: math.inf if p["kind"] == "a" else accuracy(p, e)),
        (True, lambda p, e: math.nan),
        (True, lambda p, e: 0.5),
        (False, lambda p, e: 0.0),
        (False, lambda p, e: 1e12 if p["kind"] == "a" else 1 - accuracy(p, e)),
        (False, lambda p, e: 1e5 - accuracy(p, e)),
        (True, lambda p, e: -300 + 100 * accuracy(p, e)),
        (True, lambda p, e: 1.0),
    ],
    ids=["nan", "inf", "nothing but nan", "constant", "zero", "exploded", "offset", "reward", "perfect"],
)
def test_any_reports_give_a_valid_choice(maximize, value, may_start, lead_after):
    draw = draw_with(np.random.default_rng(2))
    started = [
        *curves(9, value),
        Curve(9, draw(), {}, "ended"),  # failed before its first report
        Curve(10, draw(), {}, "running", 2),
        Curve(11, draw(), {}, "paused"),  # returned to the queue before its first report
    ]
    choice = search(maximize=maximize, lead_after=lead_after).choose(started, may_start=may_start)
    assert choice.until in RUNGS
    if choice.number is None:
        assert may_start
        assert all(
            SPACE[name]._contains(SPACE[name].to_internal_repr(v)) for name, v in choice.params.items()
        )
    else:
        assert started[choice.number].state == "paused" and choice.until > started[choice.number].done
    if choice.chance is not None:
        assert 0 <= choice.chance <= 1 and math.isfinite(choice.threshold)


def test_conditional_parameters_and_requirements_hold(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("""
method: bayes
program: train.py
metric: {name: acc, goal: maximize}
parameters:
  optimizer: {values: [sgd, adam]}
  momentum: {min: 0.0, max: 1.0}
  layers: {min: 1, max: 3}
  width: {values: [16, 32]}
tuner:
  max_epochs: 18
  when: {momentum: optimizer == 'sgd'}
  requires: ["layers * width <= 64"]
""")
    space = load_study_file(path).space
    draw = draws_of(space, 0)
    started = [Curve(n, draw(), {2: 0.1 + 0.01 * n}, "ended") for n in range(12)]
    chooser = FreezeThaw(
        space.distributions(), maximize=True, length=18, rungs=RUNGS, draw=draw, mend=mends_of(space), seed=0
    )
    found = [*(curve.params for curve in started), *(chooser.choose(started).params for _ in range(20))]
    for params in found:
        assert ("momentum" in params) == (params["optimizer"] == "sgd")
        assert params["layers"] * params["width"] <= 64
    assert len({params["optimizer"] for params in found}) == 2


def test_of_many_trials_the_best_and_the_latest_are_modelled():
    many = curves(1000, lambda params, epoch: accuracy(params, epoch))
    data = Data.of(many, RUNGS, maximize=True)
    kept = [curve.number for curve in data.curves]
    best = max(many, key=lambda curve: max(curve.values.values()))
    assert len(data.targets) <= MOST_VALUES < data.seen
    assert best.number in kept and set(range(980, 1000)) <= set(kept)


def test_the_gradient_of_the_posterior_is_right():
    rng = np.random.default_rng(0)
    place = rng.random((6, 3))
    apart = np.square(place.T[:, :, None] - place.T[:, None, :])
    points = process.Points(rng.integers(0, 6, 14), np.log(rng.integers(1, 19, 14)))
    before = rng.normal(size=(6, 2))  # of two earlier studies
    pairs = process.Pairs(apart, np.eye(6), (before, before))
    medians, deviations = process._priors(3)
    loss = process._loss(points, pairs, rng.normal(size=14), medians, deviations)
    at = medians + 0.3 * rng.normal(size=len(medians))
    assert loss(at)[1] == pytest.approx(approx_fprime(at, lambda x: loss(x)[0], 1e-6), rel=1e-3, abs=1e-3)


def test_running_trials_that_do_as_predicted_change_no_mean_and_leave_less_doubt():
    rng = np.random.default_rng(0)
    place, before = rng.random((5, 2)), rng.normal(size=(5, 1))
    pairs = process.Pairs(np.square(place.T[:, :, None] - place.T[:, None, :]), np.eye(5), (before, before))
    points, targets = process.Points(np.arange(4), np.log([2, 4, 2, 9])), rng.normal(size=4)
    hyper = process.Hyperparameters.median(2)
    known = process.Process.of(points, pairs, targets, hyper)
    running = known.with_pending(process.Points(np.array([4]), np.log([2])))
    again = process.Process.of(running.points, pairs, running.targets, hyper)
    ends = process.Points(np.arange(5), np.log(np.full(5, 18)))
    for one, other in zip(running.predict(ends, pairs), again.predict(ends, pairs), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert running.predict(ends, pairs)[1][4] < known.predict(ends, pairs)[1][4]


def test_predictions_go_through_the_known_values_and_are_surest_there():
    apart = np.array([[[0.0, 0.25], [0.25, 0.0]]])
    points = process.Points(np.array([0, 0, 1]), np.log([2, 4, 2]))
    targets = np.array([0.5, 1.0, -1.0])
    hyper = process.Hyperparameters.median(1)
    pairs = process.Pairs(apart, np.eye(2), (np.zeros((2, 0)),) * 2)
    known = process.Process.of(points, pairs, targets, hyper)
    mean, deviation = known.predict(points, pairs)
    assert mean == pytest.approx(targets, abs=0.1)
    _, ahead = known.predict(process.Points(np.array([0, 1]), np.log([18, 18])), pairs)
    assert ahead.min() > deviation.max()


@pytest.mark.parametrize(
    ("values", "maximize"),
    [([0.1, 0.5, 0.94], True), ([3.0, 0.5, 0.2], False), ([-300.0, -20.0, 50.0], True)],
)
def test_targets_keep_the_order_and_turn_back(values, maximize):
    scale = Targets.of(np.array(values), maximize=maximize)
    targets = scale.to(np.array(values))
    assert list(targets) == sorted(targets)
    assert [scale.back(target) for target in targets] == pytest.approx(values)
    beaten = scale.back(scale.better_by(targets[-1], 0.1))
    assert (beaten > values[-1]) == maximize and beaten != values[-1]


@pytest.mark.parametrize("maximize", [True, False])
def test_what_diverged_hides_no_difference_among_the_rest(maximize):
    rest = [0.9, 0.8, 0.5, 0.3, 0.2] if maximize else [0.2, 0.3, 0.5, 0.8, 0.9]
    bad, worse = (0.1, -1e9) if maximize else (1.0, 1e9)
    little, far = (
        Targets.of(np.array([*rest, value]), maximize=maximize).to(np.array(rest)) for value in (bad, worse)
    )
    assert np.diff(far)[:2] == pytest.approx(np.diff(little)[:2], rel=0.5) and (np.diff(far) < -0.2).all()
    assert far[3:] == pytest.approx(little[3:])  # below the median only ranks count


def test_at_most_half_of_the_epochs_are_first_ones_of_trials():
    paused = [Curve(n, c.params, {2: 0.1 + 0.01 * n}, "paused") for n, c in enumerate(curves(12, accuracy))]
    assert search(starts=8).choose(paused).number is not None
    grown = [
        *paused[:6],
        *(replace(c, values={**c.values, 4: 0.4, 18: 0.5}, state="ended") for c in paused[6:]),
    ]
    picked = [search(starts=8, seed=seed).choose(grown).number for seed in range(20)]
    assert None in picked  # new ones may start again


def test_rungs_rise_to_the_full_length():
    for length in (1, 2, 3, 9, 18, 27, 100):
        rungs = rungs_of(length)
        assert rungs == sorted(set(rungs)) and rungs[-1] == length and rungs[0] >= 1
    with pytest.raises(ValueError, match="expected ascending epochs that end with 18"):
        FreezeThaw(SPACE, maximize=True, length=18, rungs=[4, 2], draw=dict)


def begun(count, value_at_1):
    """Trials that ran to epoch 2, where the later are the better; `value_at_1` of their number."""
    return [{1: value_at_1(n), 2: 0.5 + n / 100} for n in range(count)]


@pytest.mark.parametrize(
    ("trials", "maximize", "first"),
    [
        (begun(12, lambda n: n / 100), True, 1),
        (begun(11, lambda n: n / 100), True, 2),  # too few to tell
        (begun(12, lambda n: -n / 100), True, 2),  # the other way round
        (begun(12, lambda n: n * 7 % 12), True, 2),
        (begun(12, lambda n: 0.1), True, 2),  # says nothing
        (begun(12, lambda n: math.nan if n < 4 else n), True, 1),  # not a number is the worst …
        (begun(12, lambda n: math.nan if n < 4 else n), False, 2),  # … also of losses
        (
            [{1: 0.0}, {}, *begun(12, lambda n: n)],
            True,
            1,
        ),  # those that never came to the first rung are left out
        ([{2: 0.1}, *begun(12, lambda n: n)], True, 2),  # epoch 1 is not known of all
    ],
)
def test_a_new_trial_pauses_earlier_where_the_first_ones_show_that_it_says_as_much(trials, maximize, first):
    rungs = with_earlier(RUNGS, trials, maximize=maximize)
    assert rungs == ([1, *RUNGS] if first == 1 else RUNGS)


def test_a_trial_that_paused_at_an_earlier_rung_goes_on_to_the_first_one():
    draw = draw_with(np.random.default_rng(1))
    known = [Curve(n, draw(), each, "paused") for n, each in enumerate(begun(12, lambda n: n / 100))]
    assert search(starts=100).choose(known).until == 1
    assert search(starts=100, earlier_rung=False).choose(known).until == 2
    early = Curve(12, draw(), {1: 0.9}, "paused")
    choice = search().choose([*known, early], may_start=False)
    assert (choice.number, choice.until) == (12, 2)
