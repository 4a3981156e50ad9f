"""Leases: the dead are noticed without comparing clocks, the living never given up."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest

from tuner.storage.leases import Heartbeat, Observer, Owner, is_here, process_start


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_this_process_is_alive() -> None:
    assert Observer().gone(1, Owner.this_process().lease(0)) is None


def test_a_process_that_has_died_is_gone_at_once() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(Owner.this_process(), pid=child.pid, started=process_start(child.pid) or "")
    observer = Observer()
    assert observer.gone(1, owner.lease(0)) is None
    child.kill()
    time.sleep(0.1)  # a zombie, not waited for, has died too
    assert "has died" in (observer.gone(1, owner.lease(0)) or "")
    child.wait()


def test_another_process_with_the_same_id_is_not_the_owner() -> None:
    owner = replace(Owner.this_process(), started="1")
    assert "has died" in (Observer().gone(1, owner.lease(0)) or "")


def test_a_restart_of_the_machine_ends_every_lease_of_before() -> None:
    owner = replace(Owner.this_process(), boot="another")
    assert Observer().gone(1, owner.lease(0)) == "the machine was restarted"


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"host": "elsewhere", "boot": "another", "machine": "another"},
        {"boot": "another", "machine": "another"},  # another machine of the same name
        {"space": "pid:[1]"},  # another container of this machine
    ],
)
def test_an_owner_who_is_not_seen_here_is_judged_by_his_beats_alone(elsewhere: dict[str, str]) -> None:
    """No process of this machine has his id, which says nothing about him."""
    clock = Clock()
    observer = Observer(term=60, clock=clock)
    owner = replace(Owner.this_process(), pid=2**22 + 1, started="1", **elsewhere)
    assert not is_here(owner.lease(0))
    for beat in range(3):
        assert observer.gone(1, owner.lease(beat)) is None
        clock.now += 59
        assert observer.gone(1, owner.lease(beat)) is None
    clock.now += 2
    assert "sent no sign of life for 60 s" in (observer.gone(1, owner.lease(2)) or "")


def test_the_lease_of_an_earlier_version_is_read() -> None:
    lease = Owner.this_process().lease(0)
    del lease["machine"], lease["space"]
    assert is_here(lease)
    assert Observer().gone(1, lease) is None


def test_silence_while_nobody_could_reach_the_storage_proves_nothing() -> None:
    clock = Clock()
    back = [-1.0]
    observer = Observer(term=60, clock=clock, since=lambda: back[0])
    lease = replace(Owner.this_process(), host="elsewhere").lease(0)
    assert observer.gone(1, lease) is None
    clock.now += 300
    back[0] = clock.now  # it answers again
    assert observer.gone(1, lease) is None
    clock.now += 61
    assert "sent no sign" in (observer.gone(1, lease) or "")


def test_an_owner_elsewhere_is_gone_after_a_term_without_a_beat() -> None:
    clock = Clock()
    observer = Observer(term=60, clock=clock)
    owner = replace(Owner.this_process(), host="elsewhere")
    for beat in range(5):  # alive for five terms: each beat counts anew
        assert observer.gone(1, owner.lease(beat)) is None
        clock.now += 59
        assert observer.gone(1, owner.lease(beat)) is None
    clock.now += 2
    assert "sent no sign" in (observer.gone(1, owner.lease(4)) or "")


def test_a_stopped_process_is_given_up_after_a_term() -> None:
    clock = Clock()
    observer = Observer(term=60, clock=clock)
    lease = Owner.this_process().lease(7)
    assert observer.gone(1, lease) is None
    clock.now += 61
    assert f"process {os.getpid()}" in (observer.gone(1, lease) or "")


def test_wall_clock_jumps_do_not_matter(monkeypatch: Any) -> None:
    observer = Observer(term=60)
    lease = Owner.this_process().lease(0)
    assert observer.gone(1, lease) is None
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert observer.gone(1, lease) is None


def test_the_heartbeat_raises_the_beat_and_notices_when_the_trial_is_lost() -> None:
    beats: list[tuple[int, int]] = []

    def renew(trial_id: int, lease: Any) -> bool:
        beats.append((trial_id, lease["beat"]))
        return len(beats) < 3

    heartbeat = Heartbeat(Owner.this_process(), renew, term=0.1)
    heartbeat.watch(5)
    deadline = time.monotonic() + 5
    while not heartbeat.lost and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [trial for trial, _ in beats] == [5, 5, 5]
    assert beats == sorted(set(beats))
    heartbeat.watch(6)
    assert not heartbeat.lost
    heartbeat.watch(None)
