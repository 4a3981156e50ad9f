"""Whatever agents do and whenever they die: exactly N trials finish, none twice, none is lost."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import optuna
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.access import default_url, open_records
from tuner.storage.allocate import MAX_RETRIES, Allocator, Choice, Chooser, Done, Wait, is_paused
from tuner.storage.attributes import PAUSED, RETRIES
from tuner.storage.leases import Observer, Owner
from tuner.storage.study import OpenStudy
from tuner.storage.trial_rows import Pending

TOTAL = 5
POINT = {"x": (0.5, optuna.distributions.FloatDistribution(0.0, 1.0))}


class Allocation(RuleBasedStateMachine):
    """Agents that take, finish, return and lose trials of one study, in any order."""

    chooser: Chooser | None = None

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.records = open_records(default_url(self.folder), create=True)
        self.study = optuna.create_study(study_name="s", storage=self.records)
        self.identity = self.study._study_id
        self.reader = open_records(default_url(self.folder))  # it has no trials of its own
        self.held: dict[int, Owner] = {}  # by trial id: of an agent that lives
        self.dead: dict[int, Owner] = {}
        self.ended: dict[int, tuple[TrialState, list[float]]] = {}
        self.paused: set[int] = set()
        self.agents = 0

    def teardown(self) -> None:
        for records in (self.records, self.reader):
            records.optuna_storage._backend.engine.dispose()  # type: ignore[attr-defined]
        shutil.rmtree(self.folder)

    def allocator(self, owner: Owner) -> Allocator:
        return Allocator(
            OpenStudy(self.records, "s"),
            owner=owner,
            observer=Observer(),
            total=TOTAL,
            chooser=self.chooser,
        )

    @rule()
    def take(self) -> None:
        """A new agent takes what is next; the trials of dead ones come back first."""
        self.agents += 1
        found = self.allocator(owner := Owner.this_process(mark=f"none-{self.agents}")).next()
        self.dead.clear()
        counted = len(self.counted())
        if isinstance(found, Done):
            trials = self.records.get_all_trials(self.identity, deepcopy=False)
            for number in found.closed:
                self.ended[trials[number]._trial_id] = (TrialState.PRUNED, [])
            self.paused.clear()
            assert counted + len(found.closed) == TOTAL
        elif isinstance(found, Wait):
            assert counted + len(self.held) + len(self.paused) >= TOTAL
        else:
            assert counted + len(self.held) < TOTAL
            self.paused.discard(found._trial_id)
            assert found._trial_id not in self.held and found._trial_id not in self.ended
            self.held[found._trial_id] = owner

    @precondition(lambda self: self.held)
    @rule(data=st.data(), state=st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]))
    def finish(self, data: st.DataObject, state: TrialState) -> None:
        trial = data.draw(st.sampled_from(sorted(self.held)))
        values = [float(trial)] if state is TrialState.COMPLETE else []
        lease = self.held.pop(trial).lease(0)
        assert self.records.queue.finish(trial, Pending(params=dict(POINT)), state, values, lease)
        self.ended[trial] = (state, values)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        trial = data.draw(st.sampled_from(sorted(self.held)))
        del self.held[trial]
        assert self.records.release(trial)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """The agent is killed in the middle of its trial, whose parameters are written."""
        trial = data.draw(st.sampled_from(sorted(self.held)))
        owner = replace(self.held.pop(trial), pid=2**22 + 1, started="1", mark="")
        self.records.queue.write(trial, Pending(params=dict(POINT)))
        self.records.queue.renew(trial, owner.lease(1))
        self.dead[trial] = owner

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def wake_up_and_finish(self, data: st.DataObject) -> None:
        """One that was taken for dead ends its trial, which another agent has by now: nothing is written."""
        trial = data.draw(st.sampled_from(sorted(self.dead)))
        self.allocator(Owner.this_process()).reap()
        lease = self.dead[trial].lease(1)
        self.dead.clear()
        assert not self.records.queue.finish(trial, Pending(), TrialState.COMPLETE, [9.0], lease)

    @rule(x=st.floats(0, 1))
    def enqueue(self, x: float) -> None:
        self.records.enqueue(self.identity, {"x": x}, {})

    @invariant()
    def what_has_ended_stays_as_it_was(self) -> None:
        self.reader.refresh()
        trials = {
            trial._trial_id: trial for trial in self.reader.get_all_trials(self.identity, deepcopy=False)
        }
        for trial, (state, values) in self.ended.items():
            assert trials[trial].state is state
            assert (trials[trial].values or []) == values
        assert len(self.counted()) <= TOTAL
        running = {trial for trial, found in trials.items() if found.state is TrialState.RUNNING}
        assert running == {*self.held, *self.dead}
        assert all(trial.user_attrs.get(RETRIES, 0) <= MAX_RETRIES for trial in trials.values())

    def counted(self) -> list[int]:
        return [trial for trial, (state, _) in self.ended.items() if state is not TrialState.FAIL]


class Fickle:
    """Resumes the oldest paused trial now and then, and each until the study has all its trials."""

    def choose(self, trials: Sequence[FrozenTrial], *, unstarted: int | None) -> Choice | str:
        paused = [trial for trial in trials if is_paused(trial)]
        if paused and len(trials) % 2 and len(paused) > 1:
            return Choice(paused[0]._trial_id, None, None, "why not")
        if unstarted:
            return Choice(None, {"x": 0.5}, 2, "new")
        return "enough"

    def until(self, trial: FrozenTrial) -> int | None:
        return 2 if trial.number % 2 else None


class PausingAllocation(Allocation):
    """The same with trials that are paused and resumed."""

    chooser = Fickle()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        trial = data.draw(st.sampled_from(sorted(self.held)))
        del self.held[trial]
        pending = Pending(params=dict(POINT), user_attrs={PAUSED: 2})
        assert self.records.queue.pause(trial, pending)
        self.records._open.pop(trial, None)
        self.paused.add(trial)


TestAllocation = Allocation.TestCase
TestPausingAllocation = pytest.mark.slow(PausingAllocation.TestCase)
TestAllocation.settings = TestPausingAllocation.settings = settings(
    max_examples=8, stateful_step_count=20, deadline=None, derandomize=True, database=None
)
