"""The benchmark of the referee: its worlds and rules, on a world that is made up."""

import numpy as np
import pytest

bench = pytest.importorskip("bench_referee")


@pytest.fixture
def world() -> object:
    rng = np.random.default_rng(0)
    return bench.World("made/up", np.sort(rng.normal(0, 3, 60)), rng.normal(0, 1, (60, 4)))


def test_greedy_keeps_what_is_no_gain_and_the_referee_does_not(world: object) -> None:
    def kept(rule: str, history: int) -> int:
        draw = bench.nothing(world, np.random.default_rng(history))
        return int(bench.RULES[rule](draw, 20, 10**6).false)

    assert sum(kept("greedy", i) > 0 for i in range(5)) >= 4
    assert sum(kept("referee", i) > 0 for i in range(5)) <= 1


def test_every_rule_spends_its_runs_and_no_more(world: object) -> None:
    for rule, play in bench.RULES.items():
        loop = play(bench.a_loop(world, np.random.default_rng(1)), 30, 30)
        assert 25 <= loop.used <= 30, rule


def test_a_large_gain_is_kept(world: object) -> None:
    kept = {
        rule: play(bench.one_gain(world, np.random.default_rng(2), 8.0), 1, 10**6).keeps
        for rule, play in bench.RULES.items()
    }
    assert kept["greedy"] == kept["5 runs each"] == kept["Welch, 5"] == kept["referee"] == 1
