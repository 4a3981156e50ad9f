"""The world in which benchmarks/bench_anytime.py compares tuners: fair bookkeeping of epochs."""

import importlib.util
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

SPACE = {"lr": FloatDistribution(1e-4, 1e-2, log=True), "kind": CategoricalDistribution(["a", "b"])}
RUNS = [
    {"params": {"lr": 1e-3, "kind": "a"}, "values": [0.1, 0.2, 0.3]},
    {"params": {"lr": 1e-2, "kind": "a"}, "values": [0.4, 0.5, 0.6]},
    {"params": {"lr": 1e-3, "kind": "b"}, "values": [0.7, 0.8, 0.9]},
]


def module(name):
    """A module under `benchmarks/anytime`."""
    path = Path(__file__).parents[2] / "benchmarks" / "anytime" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def world():
    return module("surrogate").Surrogate(SPACE, RUNS)


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


def test_a_recorded_configuration_has_its_recorded_curve(world):
    for run in RUNS:
        assert world.curve(run["params"]) == pytest.approx(run["values"])


def test_a_configuration_between_two_recorded_ones_lies_between_their_curves(world):
    low, high = RUNS[0]["values"], RUNS[1]["values"]
    between = world.curve({"lr": 3e-3, "kind": "a"})
    assert all(a < value < b for a, value, b in zip(low, between, high, strict=True))


def test_every_epoch_of_every_worker_is_counted(world):
    script = Script([RUNS[0]["params"], RUNS[2]["params"], RUNS[1]["params"], RUNS[0]["params"]])
    trace = module("replay").replay(script, world, budget=6, workers=2)
    assert trace == pytest.approx([0.1, 0.7, 0.7, 0.8, 0.8, 0.9])
    assert [(pytest.approx(value), stopped) for value, stopped in script.ended] == [
        (0.1, True), (0.4, True), (0.1, True), (0.9, False)
    ]  # fmt: skip
