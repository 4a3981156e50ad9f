"""Which trial comes next: exactly N, each grid point once, the dead reaped."""

from collections.abc import Callable
from dataclasses import replace

import optuna
import pytest
from optuna.trial import FrozenTrial, Trial, TrialState

from tuner.storage.allocate import Allocator, Done, Wait, state_of
from tuner.storage.attributes import LEASE, STOPPED
from tuner.storage.leases import Observer, Owner
from tuner.storage.records import Records
from tuner.storage.study import OpenStudy, Stop

DEAD = replace(Owner.this_process(), pid=2**22 + 1, started="1")  # above the highest process id


@pytest.fixture
def study(records: Records) -> optuna.Study:
    return optuna.create_study(
        study_name="s", storage=records, direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)
    )


@pytest.fixture
def allocator(records: Records, study: optuna.Study) -> Callable[..., Allocator]:
    def make(total: int | None = None, grid: list[dict[str, float]] | None = None) -> Allocator:
        return Allocator(
            OpenStudy(records, study.study_name),
            owner=Owner.this_process(),
            observer=Observer(),
            total=total,
            grid=grid,
        )

    return make


def finish(study: optuna.Study, trial: FrozenTrial | Wait | Done, state: TrialState) -> None:
    assert isinstance(trial, FrozenTrial)
    live = Trial(study, trial._trial_id)
    x = live.suggest_float("x", 0, 1)
    study.tell(live, x if state is TrialState.COMPLETE else None, state=state)


def test_running_trials_hold_a_place_and_failed_ones_give_it_back(
    study: optuna.Study, allocator: Callable[..., Allocator]
) -> None:
    give = allocator(total=3)
    first, second, third = give.next(), give.next(), give.next()
    assert isinstance(give.next(), Wait)
    finish(study, first, TrialState.COMPLETE)
    assert isinstance(give.next(), Wait)
    finish(study, second, TrialState.FAIL)
    fourth = give.next()
    finish(study, third, TrialState.PRUNED)
    finish(study, fourth, TrialState.COMPLETE)
    last = give.next()
    assert last == Done("3 trials finished")


@pytest.mark.parametrize("paused", [True, False])
def test_a_trial_that_its_owner_takes_up_again_is_not_taken_for_silent(
    records: Records, study: optuna.Study, allocator: Callable[..., Allocator], paused: bool
) -> None:
    now = 0.0
    give = allocator(total=3)
    observer = Observer(term=60, clock=lambda: now)
    other = Allocator(
        OpenStudy(records, study.study_name), owner=Owner.this_process(), observer=observer, total=3
    )
    first = give.next()
    assert isinstance(first, FrozenTrial) and other.reap() == []
    if paused:
        records.pause(first._trial_id)
        now += 50
        again = records.resume(first._trial_id, user_attrs={LEASE: Owner.this_process().lease()})
    else:
        records.release(first._trial_id)
        now += 50
        again = give.next()
    assert isinstance(again, FrozenTrial) and again.number == first.number
    now += 50  # since the other one saw it last: 100
    assert other.reap() == []
    now += 61
    assert len(other.reap()) == 1


def test_each_grid_point_is_handed_out_once_even_where_it_fails(
    study: optuna.Study, allocator: Callable[..., Allocator]
) -> None:
    points = [{"x": 0.1}, {"x": 0.2}, {"x": 0.3}]
    give, other = allocator(grid=points), allocator(grid=points)
    for agent, state in ((give, TrialState.COMPLETE), (other, TrialState.FAIL), (give, TrialState.PRUNED)):
        finish(study, agent.next(), state)
    assert other.next() == Done("all 3 points tried")
    assert [trial.params["x"] for trial in study.get_trials()] == [0.1, 0.2, 0.3]


def test_a_dead_agents_grid_point_is_run_again(
    records: Records, study: optuna.Study, allocator: Callable[..., Allocator]
) -> None:
    lost = records.claim(
        study._study_id, user_attrs={LEASE: DEAD.lease(3), "grid_point": 0}, fixed={"x": 0.1}
    )
    Trial(study, lost._trial_id).suggest_float("x", 0, 1)
    records.flush(lost._trial_id)
    give = allocator(grid=[{"x": 0.1}])
    finish(study, give.next(), TrialState.COMPLETE)
    assert give.next() == Done("all 1 points tried")
    failed, again = study.get_trials()
    assert (failed.state, again.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert [state_of(failed), state_of(again)] == ["interrupted", "complete"]
    assert failed.user_attrs["error"].startswith("interrupted: process ")
    assert failed.user_attrs["error"].endswith("has died; run again as trial 1")
    assert again.params == {"x": 0.1}
    assert (again.user_attrs["retry_of"], again.user_attrs["grid_point"]) == (0, 0)


def test_a_trial_of_other_code_has_no_lease_and_is_left_alone(
    study: optuna.Study, allocator: Callable[..., Allocator]
) -> None:
    study.ask()
    assert allocator(total=2).reap() == []


def test_a_stopped_study_hands_out_nothing(
    records: Records, study: optuna.Study, allocator: Callable[..., Allocator]
) -> None:
    records.set_study_user_attr(study._study_id, STOPPED, "three failures")
    assert allocator(total=2).next() == Done("three failures", fine=False)


def test_a_stop_is_for_the_agents_that_began_before_it(
    records: Records, study: optuna.Study, allocator: Callable[..., Allocator]
) -> None:
    before = allocator()
    OpenStudy(records, study.study_name).ask_to_stop(Stop("stop"))
    later = OpenStudy(records, study.study_name)
    later.asked_before = later.attrs["stop_asked"]
    assert before.next() == Done("stopped by tuner stop")
    assert later.stop_asked() is None
    later.ask_to_stop(Stop("stop"))
    assert later.stop_asked() == Stop("stop")
