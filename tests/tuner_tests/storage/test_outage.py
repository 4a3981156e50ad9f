"""A storage that cannot be reached for a while costs no trial; one that stays away ends it in one line."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.trial import Trial

from tuner.base.errors import WorkFailed
from tuner.definition.study_file import StudyFile
from tuner.storage.access import open_records
from tuner.storage.locks import AdvisoryLock
from tuner.storage.outage import (
    UNREACHABLE,
    Patience,
    StorageFailed,
    StorageUnreachable,
    cause_of,
    hide_password,
    is_unreachable,
    storage_errors,
)
from tuner.storage.records import Records

pytestmark = pytest.mark.slow

MakeStudy = Callable[..., StudyFile]
ROOT = Path(__file__).resolve().parents[3]


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def away() -> None:
    raise StorageUnreachable("connection refused")


def test_an_attempt_fails_quietly_and_is_not_repeated_at_once() -> None:
    clock = Clock()
    patience = Patience("db", limit=60, clock=clock, sleep=clock.sleep)
    tries: list[float] = []

    def work() -> None:
        tries.append(clock.now)
        away()

    for _ in range(10):
        assert patience.attempt(work) is UNREACHABLE
        clock.now += 0.5
    assert tries == [0.0, 2.0, 4.0]


def test_insisting_waits_until_the_storage_answers() -> None:
    clock = Clock()
    patience = Patience("db", limit=60, clock=clock, sleep=clock.sleep)
    assert patience.insist(lambda: away() if clock.now < 30 else "done") == "done"
    assert 30 <= clock.now < 33
    assert patience.back_at() == clock.now  # silence of others before now proves nothing


def test_patience_ends_with_what_to_do() -> None:
    clock = Clock()
    patience = Patience("db", limit=60, clock=clock, sleep=clock.sleep)
    with pytest.raises(StorageFailed, match=r"db has not answered for 6\d s \(connection refused\).*again"):
        patience.insist(away)


def test_whoever_is_asked_to_stop_does_not_wait() -> None:
    patience = Patience("db")
    patience.stopping = lambda: True
    with pytest.raises(StorageFailed, match="cannot be reached"):
        patience.insist(away)


def test_an_error_that_waiting_does_not_mend_is_raised_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        Patience("db").attempt(lambda: 1 / 0)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@host/db",
        "postgresql+psycopg://me:s3cr@t/s3cret@host:5432/db?sslmode=require",
        "postgresql://host/db?user=me&password=s3cret",
        "cannot open postgresql://me:s3cret@host/db, it said",
    ],
)
def test_no_password_is_shown(url: str) -> None:
    shown = hide_password(url)
    assert "s3cr" not in shown
    assert "host" in shown


# -- with a server that goes away and comes back


def test_what_a_trial_reports_while_the_database_is_away_is_written_later(
    postgres: Any, postgres_url: Callable[[], str]
) -> None:
    url = postgres_url()
    records = open_records(url, create=True)
    study = optuna.create_study(study_name="s", storage=records, direction="maximize")
    other = open_records(url)
    claimed = records.claim(study._study_id, user_attrs={})
    trial = Trial(study, claimed._trial_id)
    x = trial.suggest_float("x", 0, 1)
    records.flush(claimed._trial_id)
    assert len(study.get_trials(deepcopy=False)) == 1

    postgres.stop()
    try:
        trial.report(0.5, 1)
        records.flush(claimed._trial_id)
        assert records.renew(claimed._trial_id, {"beat": 1})
        records.refresh()
        assert study.get_trials(deepcopy=False)[0].intermediate_values == {1: 0.5}  # a pruner goes on
        with pytest.raises(StorageFailed, match="Connection refused"), storage_errors(url):
            other.queue.counts(study._study_id)
    finally:
        postgres.start()
    trial.report(0.75, 2)
    study.tell(trial, x)
    (found,) = optuna.load_study(study_name="s", storage=other).get_trials()
    assert found.intermediate_values == {1: 0.5, 2: 0.75}
    assert found.values == [x]


def test_a_lock_lost_with_its_connection_lets_nothing_be_written(
    postgres: Any, postgres_url: Callable[[], str]
) -> None:
    url = postgres_url()
    records = open_records(url, create=True)
    study = optuna.create_study(study_name="s", storage=records)
    ended = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    with pytest.raises(optuna.exceptions.StorageInternalError) as error, records.lock:
        postgres.execute(ended)
        records.queue.claim(study._study_id, user_attrs={})
    assert is_unreachable(error.value)
    with pytest.raises(StorageUnreachable), records.lock:
        postgres.execute(ended)
        for _ in range(2):  # the second must not go through a connection made anew
            try:
                records.queue.claim(study._study_id, user_attrs={})
            except optuna.exceptions.StorageInternalError:
                continue
    assert study.get_trials() == []
    assert records.claim(study._study_id, user_attrs={}).number == 0


def test_the_holder_of_a_databases_lock_is_named(postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    holder, waiting = open_records(url, create=True), open_records(url)
    assert isinstance(waiting.lock, AdvisoryLock)
    waiting.lock._timeout = 0.1
    named = rf"process {os.getpid()} on \S+ \(PostgreSQL backend \d+, connected from 127.0.0.1\) has held"
    with holder.lock, pytest.raises(WorkFailed, match=named) as error, waiting.lock:
        pass
    assert "s3cret" not in str(error.value)
    with waiting.lock:
        pass


def command(folder: Path, url: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tuner", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "TUNER_STORAGE": url,
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def states(records: Records) -> list[str]:
    return [t.state.name for t in optuna.load_study(study_name="small", storage=records).get_trials()]


def test_a_study_lives_through_a_restart_of_the_database_and_shows_no_password(
    make_study: MakeStudy, postgres: Any, postgres_url: Callable[[], str], tmp_path: Path
) -> None:
    make_study()
    url = postgres_url()
    records = open_records(url, create=True)
    process = command(
        tmp_path, url, "study", "small.yaml", "--agents", "1", "--set", "pause=0.1", "--wandb", "offline"
    )
    deadline = time.monotonic() + 300
    while not list((tmp_path / "results").glob("runs/small/1/metrics.jsonl")) and not _begun(records):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    postgres.stop()
    time.sleep(2)
    postgres.start()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert states(records) == ["COMPLETE"] * 6
    assert all(len(t.intermediate_values) == 4 for t in _trials(records))
    assert "the storage does not answer" in output
    assert "s3cret-pw" in url
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert "s3cret" not in output
    assert [path for path in written if b"s3cret" in path.read_bytes()] == []
    assert any("wandb" in str(path) for path in written)


def test_an_agent_that_starts_while_the_database_is_away_waits_for_it(
    make_study: MakeStudy, postgres: Any, postgres_url: Callable[[], str], tmp_path: Path
) -> None:
    make_study()
    url = postgres_url()
    records = open_records(url, create=True)
    process = command(
        tmp_path, url, "study", "small.yaml", "--agents", "1", "--set", "pause=0.3", "--wandb", "off"
    )
    _wait_until_begun(process, records)
    study_id = records.get_study_id_from_name("small")
    ((_, _, lease),) = records.queue.running(study_id)
    assert lease is not None
    postgres.stop()
    try:
        os.kill(lease["pid"], signal.SIGKILL)
        time.sleep(5)  # the next agent has started by now, or has failed to
        assert process.poll() is None, process.communicate()
    finally:
        postgres.start()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert sorted(states(records)) == ["COMPLETE"] * 6 + ["FAIL"]


def test_a_database_that_stays_away_ends_the_study_in_a_line_and_a_resume_finishes_it(
    make_study: MakeStudy, postgres: Any, postgres_url: Callable[[], str], tmp_path: Path
) -> None:
    make_study()
    url = postgres_url()
    records = open_records(url, create=True)
    arguments = ("study", "small.yaml", "--agents", "1", "--set", "pause=0.1", "--wandb", "off")
    process = command(tmp_path, url, *arguments, TUNER_STORAGE_PATIENCE="1")
    _wait_until_begun(process, records)
    postgres.stop()
    try:
        output, _ = process.communicate(timeout=300)
    finally:
        postgres.start()
    assert process.returncode == 1
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: ") and "s3cret" not in output and "Traceback" not in output
    output, _ = command(tmp_path, url, *arguments).communicate(timeout=300)
    found = states(records)
    assert found.count("COMPLETE") == 6, output
    assert set(found) <= {"COMPLETE", "FAIL"}


@pytest.mark.parametrize("after", [0.0, 1.5, 3.0])
def test_two_parents_that_start_while_the_database_comes_and_goes_finish_the_study(
    make_study: MakeStudy, postgres: Any, postgres_url: Callable[[], str], tmp_path: Path, after: float
) -> None:
    make_study()
    url = postgres_url()
    postgres.stop()
    arguments = ("study", "small.yaml", "--agents", "1", "--set", "pause=0.1", "--wandb", "off")
    parents = [command(tmp_path, url, *arguments) for _ in range(2)]
    try:
        for parent in parents:
            assert parent.stdout is not None
            assert any("does not answer" in line for line in parent.stdout), parent.communicate()
        for _ in range(2):
            postgres.start()
            time.sleep(after)
            postgres.stop()
            time.sleep(1.0)
    finally:
        postgres.start()
    outputs = [parent.communicate(timeout=300)[0] for parent in parents]
    assert [parent.returncode for parent in parents] == [0, 0], outputs
    assert [line for output in outputs for line in output.splitlines() if "SELECT" in line] == []
    assert states(open_records(url)).count("COMPLETE") == 6


LEAVING = """
import os, sqlite3, time
from multiprocessing import Pipe, connection
from types import SimpleNamespace
from tuner.run.agent import agent
from tuner.storage.outage import storage_errors
from tuner.storage.outage import StorageUnreachable

class Reading:
    def __init__(self, order, link):
        pass

    def run(self):
        with storage_errors("postgresql://host/db"), storage_errors("small"):
            raise {error}

class Late(connection.Connection):  # the agent leaves while its listener begins to read
    def _recv_bytes(self, maxsize=None):
        time.sleep(0.1)
        return super()._recv_bytes(maxsize)

def exit_late(code, now=os._exit):
    time.sleep(0.3)
    now(code)

os._exit = exit_late
agent.Agent, agent.arrival.settle = Reading, lambda order: None
ours, its = Pipe()
agent.main(SimpleNamespace(log=None), Late(os.dup(its.fileno())))
"""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            "StorageUnreachable('refused')",
            1,
            "the storage does not answer (refused)\n",
        ),  # another starts, and waits
        ("sqlite3.OperationalError('database or disk is full')", 0, ""),  # it ends the study
    ],
)
def test_an_agent_that_reads_while_the_storage_is_away_leaves_its_place_to_another(
    error: str, code: int, said: str
) -> None:
    script = [sys.executable, "-c", LEAVING.format(error=error)]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, said, "")


def _trials(records: Records) -> list[optuna.trial.FrozenTrial]:
    records.refresh()
    if "small" not in optuna.get_all_study_names(records):
        return []
    return optuna.load_study(study_name="small", storage=records).get_trials()


def _begun(records: Records) -> bool:
    """Whether a trial has finished and another runs."""
    running = {trial.state.name for trial in _trials(records)}
    return {"COMPLETE", "RUNNING"} <= running


def _wait_until_begun(process: subprocess.Popen[str], records: Records) -> None:
    deadline = time.monotonic() + 300
    while not _begun(records):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)


def test_a_connection_that_was_lost_earlier_in_its_transaction_is_waited_for() -> None:
    error = sqlalchemy.exc.PendingRollbackError("Can't reconnect until invalid transaction is rolled back.")
    assert is_unreachable(error)
    assert cause_of(error) == "the connection was lost"
