"""Learning-rate schedules: the guide's warm-up formulas, and what each scheduler does after them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.config import Config
from model.schedules import Schedule, warmup_factor

STEPS = 7

FORMULAS: dict[str, Callable[[float], float]] = {
    "linear": lambda s: s,
    "exponential": lambda s: math.exp(math.log(0.01) * (1 - s)),
    "cosine": lambda s: 0.5 * (1 + math.cos(math.pi * (1 - s))),
}


def schedule(**keys: object) -> Schedule:
    return Schedule(Config.from_dict({"learning_rate": 0.01, "epochs": 20, **keys}), steps_per_epoch=STEPS)


def at_epoch_ends(one: Schedule) -> list[float]:
    return [one.rate((epoch + 1) * STEPS - 1) for epoch in range(one.config.epochs)]


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("warmup_epochs", [3, 5, 20])
def test_warmup_follows_its_formula_at_the_end_of_each_epoch(kind: str, warmup_epochs: int) -> None:
    rates = at_epoch_ends(schedule(warmup_type=kind, warmup_epochs=warmup_epochs))
    for epoch in range(warmup_epochs):
        assert rates[epoch] == pytest.approx(0.01 * FORMULAS[kind]((epoch + 1) / warmup_epochs))


@given(st.sampled_from(sorted(FORMULAS)), st.floats(0, 1), st.floats(0, 1))
def test_warmup_never_falls_and_ends_at_the_peak(kind: str, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 0 <= warmup_factor(kind, low) <= warmup_factor(kind, high) <= 1
    assert warmup_factor(kind, 1.0) == 1.0


@pytest.mark.parametrize("scheduler", ["cosine", "plateau", "step", "constant"])
def test_without_warmup_the_first_step_is_at_the_peak(scheduler: str) -> None:
    assert schedule(scheduler=scheduler, warmup_epochs=0).rate(0) == 0.01


@pytest.mark.parametrize("scheduler", ["cosine", "onecycle", "plateau", "step", "constant"])
def test_the_peak_is_the_learning_rate_and_is_never_passed(scheduler: str) -> None:
    one = schedule(scheduler=scheduler, warmup_epochs=3)
    rates = [one.rate(step) for step in range(one.total_steps)]
    assert max(rates) == pytest.approx(0.01, rel=1e-3)
    assert min(rates) > 0


def test_cosine_is_half_way_down_in_the_middle_and_near_zero_at_the_end() -> None:
    one = schedule(scheduler="cosine", warmup_epochs=4)
    assert one.rate(12 * STEPS) == pytest.approx(0.005)
    assert one.rate(one.total_steps - 1) < 1e-5


def test_step_falls_every_few_epochs_counted_from_the_warmup() -> None:
    rates = at_epoch_ends(schedule(scheduler="step", warmup_epochs=2, lr_step_epochs=5, lr_decay=0.1))
    assert rates[2:7] == pytest.approx([0.01] * 5)
    assert rates[7:12] == pytest.approx([0.001] * 5)


def test_plateau_falls_when_the_metric_stalls_for_its_patience() -> None:
    one = schedule(scheduler="plateau", warmup_epochs=0, plateau_patience=2, lr_decay=0.5)
    rates = []
    for metric in [0.5, 0.6, 0.6, 0.6, 0.7, 0.6, 0.65]:
        one.observe(metric)
        rates.append(one.rate(100))
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.005, 0.005, 0.005, 0.0025])


def test_plateau_does_not_count_epochs_of_the_warmup() -> None:
    one = schedule(scheduler="plateau", warmup_epochs=3, plateau_patience=1)
    for metric in [0.5, 0.4, 0.4]:
        one.observe(metric)
    assert one.rate(3 * STEPS) == 0.01


def test_other_schedulers_do_not_listen_to_the_metric() -> None:
    quiet, told = schedule(scheduler="cosine"), schedule(scheduler="cosine")
    for _ in range(10):
        told.observe(0.0)
    assert told.rate(90) == quiet.rate(90)


def test_onecycle_equals_torchs_and_ignores_the_warmup() -> None:
    one = schedule(scheduler="onecycle", warmup_epochs=5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.01, total_steps=one.total_steps, cycle_momentum=False
    )
    for step in range(one.total_steps):
        assert one.rate(step) == pytest.approx(theirs.get_last_lr()[0], abs=2e-4)
        optimizer.step()
        theirs.step()


def test_a_run_shorter_than_its_warmup_stays_below_the_peak() -> None:
    rates = at_epoch_ends(schedule(epochs=2, warmup_epochs=20))
    assert rates == pytest.approx([0.01 / 20, 0.01 * 2 / 20])
