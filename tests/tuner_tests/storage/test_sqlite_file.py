"""An SQLite file that was emptied, half made, removed, damaged or made by another Optuna."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.study import StudyDirection

from tuner.__main__ import main
from tuner.base.errors import InputError
from tuner.storage import sqlite_file
from tuner.storage.access import default_url, find_records, open_records
from tuner.storage.attributes import FILE
from tuner.storage.databases import WalConnection
from tuner.storage.outage import StorageFailed, storage_errors
from tuner.storage.repair import repair

STUDY = """
    name: s
    method: random
    run_cap: 6
    metric: {name: score, goal: maximize}
    parameters:
      x: {min: 0.0, max: 1.0}
      kind: {values: [a, b]}
    tuner: {objective: "objective.py:train", max_epochs: 3}
"""
OBJECTIVE = """
    def train(config, report):
        for epoch in range(3):
            report(epoch, {"score": config["x"] * (epoch + 1) / 3})
        return {"score": config["x"]}
"""
PAGE = 4096


def tuner(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tuner", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def run_study(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return tuner(folder, "study", "s.yaml", "--wandb", "off", "--agents", "1", *more)


def trials_of(folder: Path) -> list[tuple[Any, ...]]:
    """What must survive: number, state, values, parameters, reports and attributes of every trial."""
    storage = RDBStorage(default_url(folder / "results"))
    trials = optuna.load_study(study_name="s", storage=storage).get_trials(deepcopy=False)
    storage.engine.dispose()
    return [
        (
            *(trial.number, trial.state.name, trial.values, trial.params, trial.intermediate_values),
            {name: value for name, value in trial.user_attrs.items() if name != "lease"},
        )
        for trial in trials
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of six trials."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "s.yaml").write_text(textwrap.dedent(STUDY))
    (folder / "objective.py").write_text(textwrap.dedent(OBJECTIVE))
    done = run_study(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "study"))


@pytest.fixture
def database(folder: Path) -> Path:
    return folder / "results" / "studies.db"


def remove(database: Path) -> None:
    for path in database.parent.glob("studies.db*"):
        path.unlink()


# -- no tables


def without_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE one (x)")
        connection.execute("DROP TABLE one")
        connection.commit()


def some_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name VARCHAR(512))")
        connection.commit()


@pytest.mark.parametrize("make", [Path.touch, without_tables, some_tables])
def test_a_database_without_tables_is_made_anew(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path, said = tmp_path / "studies.db", list[str]()
    make(path)

    assert find_records(f"sqlite:///{path}") is None
    records = open_records(f"sqlite:///{path}", create=True, say=said.append)

    assert records.get_all_studies() == []
    assert [line.partition(": ")[2].partition(" (")[0] for line in said] == ["had no tables"]
    assert not list(tmp_path.glob(".*"))


def test_a_path_may_hold_braces(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/{{x}}/studies.db"
    open_records(url, create=True).create_new_study([StudyDirection.MINIMIZE], "s")

    assert open_records(url).get_study_id_from_name("s") == 1


def test_another_program_s_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "studies.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()

    assert sqlite_file.has_studies(path)


@pytest.mark.slow
def test_a_kill_while_the_database_is_made_blocks_nothing(tmp_path: Path) -> None:
    """At any moment of the first start the file is absent or has all of its tables."""
    code = "import sys; from tuner.storage.access import open_records; print('go', flush=True); "
    code += "open_records(sys.argv[1], create=True)"
    url = default_url(tmp_path / "results")
    for step in range(6):
        process = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.015 * step)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        path = tmp_path / "results" / "studies.db"
        assert not path.exists() or sqlite_file.has_studies(path)
        remove(path)
        path.parent.mkdir(exist_ok=True)
    assert open_records(url, create=True).get_all_studies() == []


# -- a file that goes away


def test_a_connection_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        WalConnection(str(tmp_path / "studies.db"))

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_is_taken_away_is_not_written_to_unseen(folder: Path, database: Path, how: str) -> None:
    records = open_records(default_url(folder / "results"))
    study = optuna.load_study(study_name="s", storage=records)
    records.enqueue(study._study_id, {"x": 0.5, "kind": "a"}, {})
    copy = shutil.copy(database, folder / "copy.db")
    database.unlink()
    if how == "replaced":
        shutil.move(copy, database)

    with pytest.raises(StorageFailed, match=f"studies.db was {how} while this process ran.*doctor --repair"):
        records.enqueue(study._study_id, {"x": 0.6, "kind": "a"}, {})


# -- what is said


def test_that_nothing_is_lost_is_said_only_where_it_was_checked(database: Path) -> None:
    def said(where: str) -> str:
        with pytest.raises(StorageFailed) as raised, storage_errors(where):
            raise sqlite3.OperationalError("database is locked")
        return str(raised.value)

    assert "nothing finished is lost (the file was checked)" in said(f"sqlite:///{database}")
    assert "is lost" not in said("postgresql://me@host/studies")
    assert "is lost" not in said("sqlite:////nowhere/studies.db")
    damage(database)
    assert "is lost" not in said(f"sqlite:///{database}")


@pytest.mark.parametrize(
    ("revision", "said"), [("v3.0.0.a", "an older Optuna made its tables"), ("v9.9", "a newer Optuna")]
)
def test_another_schema_is_one_line(folder: Path, database: Path, revision: str, said: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()

    for create in (False, True):
        with pytest.raises(InputError, match=said):
            open_records(f"sqlite:///{database}", create=create)


# -- repair


def damage(database: Path, *, first: int = 8, last: int = 24) -> None:
    """Writes noise over some pages, as a bad sector or a wrong copy does."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    content = bytearray(database.read_bytes())
    content[first * PAGE : last * PAGE] = b"\x17" * ((last - first) * PAGE)
    database.write_bytes(content)


@pytest.mark.parametrize(
    ("first", "last"), [(0, 1), (1, 6), (8, 24), (3, 400)], ids=["header", "schema", "middle", "most"]
)
def test_a_damaged_database_gets_its_finished_trials_back(
    folder: Path, database: Path, first: int, last: int
) -> None:
    before = trials_of(folder)
    last = min(last, database.stat().st_size // PAGE)
    damage(database, first=first, last=last)
    damaged = database.read_bytes()

    done = repair(f"sqlite:///{database}", folder / "results")

    assert trials_of(folder) == before
    assert done.copy is not None
    assert done.copy.read_bytes() == damaged
    assert not any((done.lost, done.problems))


@pytest.mark.slow
def test_a_repaired_study_goes_on(folder: Path, database: Path) -> None:
    damage(database)

    refused = run_study(folder)
    repaired = tuner(folder, "doctor", "--repair")
    again = run_study(folder, "--trials", "7")

    assert refused.returncode == 1
    assert "doctor --repair" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert "finished trials were in the database" in repaired.stdout
    assert again.returncode == 0, again.stderr
    assert len({values[3]["x"] for values in trials_of(folder)}) == 7  # none was drawn twice


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE study_user_attributes SET value_json = '{broken' WHERE key = 'study_file'",
        "UPDATE trial_user_attributes SET value_json = '{broken' WHERE key = 'metrics'",
        "UPDATE trial_params SET distribution_json = '{broken'",
        """UPDATE trial_params SET distribution_json = '{"name": "Nope", "attributes": {}}'""",
        "UPDATE trials SET state = 'ODD' WHERE number = 1",
    ],
)
def test_rows_that_nothing_can_read_are_one_line_and_repaired(
    folder: Path, database: Path, statement: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trials_of(folder)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(statement)
        connection.commit()

    assert main(["best", "s", "--results", str(folder / "results")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "a row of the database cannot be read" in line and "doctor --repair" in line
    repair(f"sqlite:///{database}", folder / "results")

    assert trials_of(folder) == before
    assert main(["best", "s", "--results", str(folder / "results")]) == 0


def test_a_removed_database_is_rebuilt_from_run_folders(folder: Path, database: Path) -> None:
    before = trials_of(folder)
    remove(database)

    done = repair(f"sqlite:///{database}", folder / "results")

    assert done.lines() == ["study s: 0 finished trials were in the database, 6 came from run folders"]
    assert trials_of(folder) == before


def test_what_has_no_run_folder_is_said_to_be_lost(folder: Path, database: Path) -> None:
    before = trials_of(folder)
    remove(database)
    shutil.rmtree(folder / "results" / "runs" / "s" / "2")

    done = repair(f"sqlite:///{database}", folder / "results")

    assert done.lost == {"s": 1}
    after = trials_of(folder)
    assert [*after[:2], *after[3:]] == [*before[:2], *before[3:]]
    assert after[2][1] == "FAIL"


def test_a_sound_database_is_left_as_it_is(folder: Path, database: Path) -> None:
    before = database.read_bytes()

    assert repair(f"sqlite:///{database}", folder / "results").copy is None

    assert database.read_bytes() == before
    assert not list(database.parent.glob("*before-repair*"))


@pytest.mark.slow
def test_run_folders_that_the_storage_does_not_know_are_kept(folder: Path, database: Path) -> None:
    """The database was removed, and the study begun again: its new trials must not take their places."""
    remove(database)

    said = run_study(folder)
    repaired = repair(f"sqlite:///{database}", folder / "results")

    assert "held 6 trials that the storage does not know" in said.stderr
    (kept,) = repaired.rebuilt
    assert kept.startswith("s@")
    assert repaired.rebuilt[kept] == repaired.read["s"] == 6
    assert len(list((folder / "results" / "runs" / kept).glob("*/result.json"))) == 6


def test_postgresql_is_not_repaired(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="for SQLite files"):
        repair("postgresql://me@host/studies", tmp_path)


def test_the_records_of_a_run_folder_hold_no_lease(folder: Path) -> None:
    text = (folder / "results" / "runs" / "s" / "0" / "trial.json").read_text()
    assert '"lease"' not in text and os.uname().nodename not in text
    assert FILE in (folder / "results" / "runs" / "s" / "study.json").read_text()
