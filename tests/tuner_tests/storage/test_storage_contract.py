"""What every kind of storage must do alike: SQLite, PostgreSQL, and a server that agents come to by gRPC."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import Trial, TrialState

from tuner.base.endings import GivenAway
from tuner.base.errors import InputError
from tuner.storage.access import default_url, find_records, open_database, open_records
from tuner.storage.attributes import LEASE, PAUSED, UNTIL
from tuner.storage.records import Records
from tuner.storage.trial_rows import Pending

ROOT = Path(__file__).resolve().parents[3]
FreshDatabase = Callable[[], str]


@pytest.fixture(params=["sqlite", "postgresql", "grpc"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty storage of each kind."""
    if request.param == "sqlite":
        yield default_url(tmp_path / "results")
    elif request.param == "postgresql":
        yield request.getfixturevalue("postgres_url")()
    else:
        pytest.importorskip("grpc", reason="needs grpcio: pip install 'optuna-sweeps[grpc]'")
        from tuner.plugins.server.serve import make_server

        server = make_server(*open_database(default_url(tmp_path / "results"), create=True))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"grpc://127.0.0.1:{port}"
        server.stop(grace=None).wait()


@pytest.fixture
def records(url: str) -> Records:
    return open_records(url, create=True)


def crowd(url: str, **order: Any) -> list[int]:
    """Runs crowd.py; returns how each of its processes ended."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("crowd.py")), json.dumps(order)],
        env={**os.environ, "STORAGE": url, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ended: list[int] = json.loads(done.stdout.splitlines()[-1])
    assert all(status in (0, -9) for status in ended), done.stderr
    return ended


def new_study(records: Records, name: str = "s") -> optuna.Study:
    records.queue.make_study(name, objectives=[("score", "maximize")], user_attrs={"note": [1]}, first=None)
    return optuna.load_study(study_name=name, storage=records, sampler=optuna.samplers.RandomSampler(seed=0))


def test_nothing_is_there_before_it_is_made(url: str) -> None:
    if url.startswith("grpc"):
        assert optuna.get_all_study_names(open_records(url)) == []  # the server has made it
        return
    assert find_records(url) is None
    with pytest.raises(InputError, match="no studies yet"):
        open_records(url)
    open_records(url, create=True)
    assert optuna.get_all_study_names(open_records(url)) == []


@pytest.mark.slow
def test_eight_processes_may_make_it_at_once(url: str) -> None:
    assert crowd(url, work="open", processes=8) == [0] * 8


@pytest.mark.slow
def test_four_agents_do_each_trial_once_and_exactly_n_though_one_is_killed(
    url: str, records: Records
) -> None:
    """Two studies in one database: 12 trials of which 3 are queued, and a grid of 6 points."""
    bayes, grid = new_study(records, "bayes"), new_study(records, "grid")
    queued = [0.125, 0.25, 0.5]
    for x in queued:
        records.enqueue(bayes._study_id, {"x": x}, {})
    points = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    ended = crowd(
        url, work="run", processes=4, kill=True, studies=[["bayes", 12, None], ["grid", None, points]]
    )
    assert ended == [-9, 0, 0, 0]

    trials = optuna.load_study(study_name="bayes", storage=open_records(url)).get_trials()
    assert [trial.number for trial in trials] == list(range(13))
    states = Counter(trial.state.name for trial in trials)
    assert states == {"COMPLETE": 12, "FAIL": 1}
    failed = next(trial for trial in trials if trial.state is TrialState.FAIL)
    (again,) = [trial for trial in trials if trial.user_attrs.get("retry_of") == failed.number]
    assert again.params == failed.params
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    taken = Counter(trial.params["x"] for trial in complete)
    assert [taken[x] for x in queued] == [1, 1, 1]
    assert all(trial.intermediate_values == {1: trial.params["x"]} for trial in complete)

    found = grid.get_trials()
    assert sorted(trial.params["x"] for trial in found) == points
    assert {trial.state for trial in found} == {TrialState.COMPLETE}


def test_what_a_trial_wrote_is_what_others_read(url: str, records: Records) -> None:
    study = new_study(records)
    lease = {"host": "h", "boot": "b", "pid": 1, "started": "2", "beat": 0}
    claimed = records.claim(study._study_id, user_attrs={LEASE: lease})
    trial = Trial(study, claimed._trial_id)
    trial.suggest_float("x", 0, 1)
    trial.suggest_int("n", 1, 9, log=True)
    trial.suggest_categorical("c", ["a", None, 3.5])
    for step, value in ((1, 0.5), (2, float("nan")), (3, float("inf")), (1, 0.25)):
        records.set_trial_intermediate_value(trial._trial_id, step, value)
    records.flush(claimed._trial_id)
    records.flush(claimed._trial_id)
    assert records.renew(claimed._trial_id, {**lease, "beat": 1})
    assert records.queue.running(study._study_id) == [(claimed._trial_id, 0, {**lease, "beat": 1})]
    trial.set_user_attr("deep", {"a": [1, None]})
    trial.set_constraint("acc >= 1", 0.25)
    study.tell(trial, 0.75)

    (theirs,) = optuna.load_study(study_name="s", storage=open_records(url)).trials
    assert (theirs.state, theirs.values) == (TrialState.COMPLETE, [0.75])
    assert theirs.params == trial.params
    assert theirs.distributions == trial.distributions
    assert repr(sorted(theirs.intermediate_values.items())) == "[(1, 0.25), (2, nan), (3, inf)]"
    assert theirs.user_attrs["deep"] == {"a": [1, None]}
    assert theirs.datetime_complete is not None
    assert open_records(url).queue.counts(study._study_id)[TrialState.COMPLETE] == 1
    assert not records.renew(claimed._trial_id, lease)


def test_a_trial_given_away_is_lost_to_the_one_that_wakes_up(url: str, records: Records) -> None:
    study = new_study(records)
    claimed = records.claim(study._study_id, user_attrs={LEASE: {"pid": 1, "beat": 0}})
    x = Trial(study, claimed._trial_id).suggest_float("x", 0, 1)
    records.flush(claimed._trial_id)
    other = open_records(url)
    assert other.give_up(claimed._trial_id, {"error": "agent lost"}, retries=2) == 1
    assert other.give_up(claimed._trial_id, {}, retries=2) is None
    with pytest.raises(GivenAway):
        study.tell(claimed.number, x)
    again = other.claim(study._study_id, user_attrs={})
    assert again.system_attrs["fixed_params"] == {"x": x}
    lost = other.get_trial(claimed._trial_id)
    assert lost.user_attrs["error"] == "agent lost; run again as trial 1"
    assert other.release(again._trial_id)
    assert not other.release(again._trial_id)
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "WAITING"]


def test_an_end_that_was_written_but_not_acknowledged_may_be_written_again(records: Records) -> None:
    study = new_study(records)
    claimed = records.claim(study._study_id, user_attrs={LEASE: {"pid": 1, "beat": 0}})
    trial = Trial(study, claimed._trial_id)
    trial.suggest_float("x", 0, 1)
    mine = records._open[claimed._trial_id]
    for _ in range(2):
        assert records.queue.finish(claimed._trial_id, mine.pending, TrialState.COMPLETE, [0.5], mine.lease)
    assert not records.queue.finish(
        claimed._trial_id, mine.pending, TrialState.COMPLETE, [0.5], {"pid": 2, "beat": 0}
    )


def test_the_lock_may_be_entered_again_and_shuts_others_out(url: str, records: Records) -> None:
    study = new_study(records)
    theirs = open_records(url)
    order: list[str] = []

    def other() -> None:
        order.append("waits")
        theirs.enqueue(study._study_id, {"x": 0.5}, {})
        order.append("queued")

    with records.lock:
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.1)
        with records.lock:
            records.claim(study._study_id, user_attrs={})
        order.append("left")
    thread.join(timeout=10)
    assert order == ["waits", "left", "queued"]
    assert [trial.state.name for trial in study.get_trials()] == ["RUNNING", "WAITING"]


def test_a_study_may_be_given_another_name(url: str, records: Records) -> None:
    study = new_study(records, "old")
    claimed = records.claim(study._study_id, user_attrs={"run_folder": "runs/old/0"})
    records.rename_study(study._study_id, "old", "new")
    read = open_records(url)
    assert optuna.get_all_study_names(read) == ["new"]
    assert read.get_trial(claimed._trial_id).user_attrs["run_folder"] == "runs/new/0"


def test_a_paused_trial_keeps_what_it_reached_until_it_is_resumed_or_closed(
    records: Records, url: str
) -> None:
    study = new_study(records)
    paused = []
    for until in (2, 2, None):
        claimed = records.claim(study._study_id, user_attrs={LEASE: {"pid": 1}, UNTIL: until})
        trial = Trial(study, claimed._trial_id)
        trial.suggest_float("x", 0, 1)
        trial.report(0.25, 1)
        if until:
            trial.report(0.5, until)
            trial.set_user_attr(PAUSED, until)
            assert records.pause(claimed._trial_id)
            paused.append(claimed._trial_id)
    other = open_records(url)
    first, second, running = optuna.load_study(study_name="s", storage=other).get_trials()
    assert [trial.state for trial in (first, second, running)] == [
        TrialState.WAITING,
        TrialState.WAITING,
        TrialState.RUNNING,
    ]
    assert (first.intermediate_values, len(first.params)) == ({1: 0.25, 2: 0.5}, 1)
    assert LEASE not in first.user_attrs
    assert other.claim(study._study_id, user_attrs={}).number == 3  # a paused trial is not queued

    resumed = other.resume(paused[0], user_attrs={LEASE: {"pid": 2}})
    assert resumed is not None
    assert (resumed.number, resumed.params, resumed.intermediate_values) == (
        0,
        first.params,
        {1: 0.25, 2: 0.5},
    )
    assert not {PAUSED, UNTIL} & resumed.user_attrs.keys()  # it runs to its end
    assert records.resume(paused[0], user_attrs={}) is None  # it is another's by now

    assert other.close_paused(study._study_id, "the study ended") == [1]
    assert other.close_paused(study._study_id, "the study ended") == []
    closed = optuna.load_study(study_name="s", storage=open_records(url)).get_trials()[1]
    assert (closed.state, closed.value, closed.params) == (TrialState.PRUNED, 0.5, second.params)
    assert closed.user_attrs["pruned_because"] == "the study ended"
    assert closed.datetime_complete is not None


def test_pausing_again_after_a_lost_answer_changes_nothing(records: Records) -> None:
    study = new_study(records)
    claimed = records.claim(study._study_id, user_attrs={})
    pending = Pending(user_attrs={PAUSED: 2}, reports={1: 0.5, 2: 0.75})
    assert records.queue.pause(claimed._trial_id, pending)
    assert records.queue.pause(claimed._trial_id, pending)
    assert records.queue.resume(claimed._trial_id, user_attrs={}) is not None
    records.queue.give_up(claimed._trial_id, {})
    assert not records.queue.pause(claimed._trial_id, pending)
