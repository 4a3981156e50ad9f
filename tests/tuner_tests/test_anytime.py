"""The world in which benchmarks/bench_anytime.py compares tuners: fair bookkeeping of epochs."""

import importlib.util
from pathlib import Path

import pytest

SPACE = [
    {"name": "lr", "low": 1e-4, "high": 1e-2, "log": True, "integer": False},
    {"name": "kind", "choices": ["a", "b"]},
]
RUNS = [
    {"params": {"lr": 1e-3, "kind": "a"}, "values": [0.1, 0.2, 0.3]},
    {"params": {"lr": 1e-2, "kind": "a"}, "values": [0.4, 0.5, 0.6]},
    {"params": {"lr": 1e-3, "kind": "b"}, "values": [0.7, 0.8, 0.9]},
]


@pytest.fixture(scope="module")
def replay():
    """The module under `benchmarks/anytime`."""
    path = Path(__file__).parents[2] / "benchmarks" / "anytime" / "replay.py"
    spec = importlib.util.spec_from_file_location("replay", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_a_configuration_behaves_as_the_nearest_recorded_one(replay):
    world = replay.World({"space": SPACE, "runs": RUNS, "epochs": 3})
    assert world.curve({"lr": 7e-3, "kind": "a"})[0] == 0.4  # near on the log scale
    assert world.curve({"lr": 9e-3, "kind": "b"})[0] == 0.7


def test_every_epoch_of_every_worker_is_counted(replay):
    world = replay.World({"space": SPACE, "runs": RUNS, "epochs": 3})
    script = Script([RUNS[0]["params"], RUNS[2]["params"], RUNS[1]["params"], RUNS[0]["params"]])
    trace = replay.replay(script, world, budget=6, workers=2)
    assert trace == [0.1, 0.7, 0.7, 0.8, 0.8, 0.9]
    assert script.ended == [(0.1, True), (0.4, True), (0.1, True), (0.9, False)]
