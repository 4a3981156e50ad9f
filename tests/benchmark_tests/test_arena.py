"""The world in which benchmarks/bench_arena.py compares tuners: fair bookkeeping of epochs."""

import numpy as np
import pytest
from arena.methods import AllForOne, Foresight
from arena.outside import CURVES, arrays
from arena.replay import replay
from arena.studies import Store
from arena.summary import compare, regret, worse
from arena.worlds import Forest, Recorded, Surrogate, Table, half_of, tasks
from optuna.distributions import CategoricalDistribution, FloatDistribution
from sklearn.ensemble import ExtraTreesRegressor

SPACE = {"lr": FloatDistribution(1e-4, 1e-2, log=True), "kind": CategoricalDistribution(["a", "b"])}
RUNS = [
    {"params": {"lr": 1e-3, "kind": "a"}, "values": [0.1, 0.2, 0.3]},
    {"params": {"lr": 1e-2, "kind": "a"}, "values": [0.4, 0.5, 0.6]},
    {"params": {"lr": 1e-3, "kind": "b"}, "values": [0.7, 0.8, 0.9]},
]


@pytest.fixture(scope="module")
def world():
    return Surrogate(SPACE, RUNS)


class Script:
    """Tries the given configurations in turn and stops those with kind a after an epoch."""

    def __init__(self, configs):
        self.configs = configs
        self.ended = []

    def ask(self):
        config = self.configs.pop(0)
        return config, config

    def report(self, trial, epoch, value):
        return trial["kind"] == "a"

    def finish(self, trial, value, *, stopped):
        self.ended.append((value, stopped))

    def done(self, trial):
        return 0


def test_a_recorded_configuration_has_its_recorded_curve(world):
    for run in RUNS:
        assert world.curve(run["params"]) == pytest.approx(run["values"])


def test_a_configuration_between_two_recorded_ones_lies_between_their_curves(world):
    low, high = RUNS[0]["values"], RUNS[1]["values"]
    between = world.curve({"lr": 3e-3, "kind": "a"})
    assert all(a < value < b for a, value, b in zip(low, between, high, strict=True))


def test_the_forest_predicts_what_scikit_learn_does():
    rng = np.random.default_rng(0)
    rows, curves = rng.random((30, 4)), rng.random((30, 3))
    fitted = ExtraTreesRegressor(10, random_state=0).fit(rows, curves)
    forest = Forest(fitted)
    others = rng.random((20, 4))
    assert np.array([forest.predict(row) for row in others]) == pytest.approx(fitted.predict(others))


def test_in_a_table_a_proposal_is_the_nearest_configuration_that_is_left():
    parameters = [
        {"name": "lr", "low": 1e-4, "high": 1e-2, "log": True, "integer": False},
        {"name": "kind", "choices": ["a", "b"]},
    ]
    rows, ends = [(1e-4, "a"), (1e-2, "a"), (1e-4, "b")], np.array([[1.0], [2.0], [3.0]])
    table = Table("here/small", parameters, rows, ends, {"name": "score", "goal": "maximize"})
    for _ in range(2):
        world = table.fresh()
        asked = [{"lr": lr, "kind": "a"} for lr in (2e-4, 3e-4, 4e-4, 2e-4)]
        # 3e-4 is nearest to 1e-4, which is taken by then; another kind is as far as from one end to the other
        assert [world.curve(params) for params in asked] == [[1.0], [2.0], [3.0], [1.0]]
    assert table.ends().tolist() == [1.0, 2.0, 3.0] and table.budget == table.shown[-1]


def test_every_epoch_of_every_worker_is_counted(world):
    script = Script([RUNS[0]["params"], RUNS[2]["params"], RUNS[1]["params"], RUNS[0]["params"]])
    trace = replay(script, world, budget=6, workers=2)
    assert trace == pytest.approx([0.1, 0.7, 0.7, 0.8, 0.8, 0.9])
    assert [(pytest.approx(value), stopped) for value, stopped in script.ended] == [
        (0.1, True), (0.4, True), (0.1, True), (0.9, False)
    ]  # fmt: skip


class Pausing(Script):
    """Pauses its one trial after each epoch, and goes on with it."""

    def ask(self):
        return self.configs[0], self.configs[0]

    def report(self, trial, epoch, value):
        return True

    def done(self, trial):
        return len(self.ended)


def test_a_resumed_trial_goes_on_where_it_paused(world):
    trace = replay(Pausing([RUNS[1]["params"]]), world, budget=3, workers=1)
    assert trace == pytest.approx([0.4, 0.5, 0.6])


def test_with_foresight_only_what_ends_best_goes_on_after_the_first_rung():
    world = Recorded("curves", "report", 0, trees=1)
    foresight = Foresight(world, 0)
    best, rung = -np.inf, world.study.pruner.min_resource
    for _ in range(30):
        trial, params = foresight.ask()
        curve = world.curve(params)
        reached = next(
            (epoch for epoch, value in enumerate(curve, 1) if foresight.report(trial, epoch, value)),
            world.epochs,
        )
        assert reached == (world.epochs if max(curve) > best else rung)
        foresight.finish(trial, curve[reached - 1], stopped=reached == rung)
        best = max(best, *curve)


def test_halves_are_random_disjoint_and_the_same_each_time():
    runs = [{"params": {"number": number}} for number in range(20)]
    sides = [half_of(runs, side, split=0) for side in ("choose", "report")]
    numbers = [{run["params"]["number"] for run in side} for side in sides]
    assert [len(side) for side in numbers] == [10, 10] and not numbers[0] & numbers[1]
    assert half_of(runs, "choose", split=0) == sides[0] != half_of(runs, "choose", split=1)


def traces(*finals_at):
    """Studies of 10 epochs that reach a final value at an epoch, and 0 before."""
    return np.array([[0.0] * (epoch - 1) + [final] * (11 - epoch) for final, epoch in finals_at])


def test_every_study_is_compared_with_every_one_of_the_peer():
    ours, theirs = [traces((0.9, 2), (0.7, 4))], [traces((0.8, 5), (0.6, 5))]
    found = compare(ours, theirs)
    # ours to 0.8 and 0.6: epochs 2 and 2, whole budget and 4
    assert found.ratio.value == pytest.approx((2 + 2 + 10 + 4) / 4 / 5)
    assert found.share.value == pytest.approx((2 + 2 + 10 + 4) / 4 / 10)
    assert found.gain.value == pytest.approx(0.8 - 0.7)


def test_intervals_hold_the_value_and_shrink_with_the_studies():
    rng = np.random.default_rng(0)

    def studies(count):
        return [traces(*((round(rng.normal(0.8, 0.1), 3), int(rng.integers(1, 11))) for _ in range(count)))]

    few, many = compare(studies(8), studies(8)), compare(studies(80), studies(80))
    for found in (few, many):
        assert all(r.low <= r.value <= r.high for r in (found.ratio, found.share, found.gain))
    assert many.ratio.high - many.ratio.low < (few.ratio.high - few.ratio.low) / 2
    assert many.gain.low < 0 < many.gain.high  # a tuner against its twin


def test_regret_is_the_share_of_the_way_from_a_median_configuration_to_the_best():
    left = regret(np.array([[0.1, 0.5, 0.7, 0.9]]), ends=np.array([0.1, 0.5, 0.9]))
    assert left == pytest.approx(np.array([[1.0, 1.0, 0.5, 0.0]]))


def test_worse_than_random_means_beyond_noise():
    noise = np.random.default_rng(0).normal(0.0, 0.1, (20, 6))
    assert not worse(0.5 + noise, 0.5 + noise[::-1])
    assert worse(0.7 + noise, 0.5 + noise)


def test_one_epoch_for_all_then_the_best_go_on_to_the_end():
    world = Recorded("digits", "choose", 0, trees=1)
    tuner = AllForOne(world, 0)
    trace = replay(tuner, world, budget=world.budget, workers=1)
    started = world.budget - tuner.FINALISTS * (world.epochs - 1)
    assert len(tuner.params) == started
    best = sorted(world.curve(params)[0] for params in tuner.params)[-tuner.FINALISTS :]
    ends = [max(world.curve(p)) for p in tuner.params if world.curve(p)[0] in best]
    assert trace[-1] == pytest.approx(max([*ends, *best]))


def test_a_study_that_is_stored_is_not_run_again(tmp_path):
    world, store, made = Recorded("digits", "choose", 0, trees=1), Store(tmp_path), []

    def method(world, seed):
        made.append(seed)
        return AllForOne(world, seed)

    store.run(world, "one, epoch", method, [0, 1])
    store.run(world, "one, epoch", method, [1, 2])
    assert made == [0, 1, 2]
    found = store.get(world, "one, epoch", 3)
    assert [len(study.trace) for study in found] == [world.budget] * 3 and all(s.seconds > 0 for s in found)


@pytest.mark.skipif(not CURVES.exists(), reason="needs the outside curves in ../shared/data/curves")
@pytest.mark.parametrize("source", ["taskset", "lcbench"])
def test_a_proposal_in_a_table_is_the_nearest_configuration_that_the_study_has_not_had(source):
    world = tasks(source, "choose")[0]
    params = {axis["name"]: axis["low"] for axis in world.space}
    near = {**params, "learning_rate": 1.01 * params["learning_rate"]}
    one, other = world.fresh(), world.fresh()
    assert one.curve(params) == one.curve(params) == other.curve(params)
    assert world.fresh().curve(near) == one.curve(params) != one.curve(near)
    assert np.isfinite(world.ends()).all() and len(one.curve(params)) == world.epochs
    rows = arrays(CURVES, world.name)["params"][::97].tolist()
    again = [world.curve(dict(zip(params, row, strict=True))) for row in rows]  # as it was stored
    assert again == world._curves[::97].tolist()
    assert np.ptp(world._rows, axis=0) == pytest.approx(np.ones(len(params)), abs=0.02)
    names = [{each.name for each in tasks(source, side)} for side in ("choose", "report")]
    assert not names[0] & names[1]
