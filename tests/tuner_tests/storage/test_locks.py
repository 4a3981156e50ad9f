"""The storage's lock: one holder at a time, dropped when its holder dies, honest when it cannot be had."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tuner.base.errors import InputError, WorkFailed
from tuner.storage.databases import database_for
from tuner.storage.locks import FileLock

HOLD = """
import sys, time
from pathlib import Path
from tuner.storage.locks import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_threads_and_locks_of_one_file_exclude_each_other(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        lock = FileLock(tmp_path / "lock")
        for _ in range(10):
            with lock:
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_thread_may_enter_again(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with lock, lock:
        pass
    with FileLock(tmp_path / "lock", timeout=1):
        pass


def test_the_holder_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    with (
        pytest.raises(WorkFailed, match=f"process {holder.pid} has held the storage"),
        FileLock(path, timeout=0.1),
    ):
        pass
    holder.kill()
    holder.communicate()
    with FileLock(path, timeout=5):
        pass


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(WorkFailed, match="cannot be written: No such file"),
        FileLock(tmp_path / "no" / "lock"),
    ):
        pass


def test_a_database_of_another_kind_is_refused_without_its_password() -> None:
    with pytest.raises(InputError, match="got a 'mysql' URL, which is not supported") as error:
        database_for("mysql://me:secret@host/db")
    assert "secret" not in str(error.value)
