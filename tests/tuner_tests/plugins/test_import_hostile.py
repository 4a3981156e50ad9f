"""What `import` reads is never changed, and what it cannot read is one line, never a traceback."""

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner.base.errors import InputError
from tuner.base.sqlite_url import sqlite_path, sqlite_url
from tuner.definition.study_file import StudyFile
from tuner.plugins.imports import sources

pytestmark = pytest.mark.hostile("sources of import")

MakeStudy = Callable[..., StudyFile]


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of change of every file below a folder."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def strangers_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.execute("INSERT INTO customers VALUES ('Ada')")
    connection.close()


def study_of_optuna(path: Path) -> None:
    study = optuna.create_study(storage=sqlite_url(path), study_name="theirs", direction="maximize")
    study.add_trial(
        optuna.trial.create_trial(
            params={"x": 0.5}, distributions={"x": optuna.distributions.FloatDistribution(0, 1)}, value=0.7
        )
    )
    study._storage.remove_session()


def older(path: Path) -> None:
    """A database of an older Optuna: the version of its tables is one that needs an upgrade."""
    study_of_optuna(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
        connection.execute("ALTER TABLE version_info ADD COLUMN unused TEXT")
    connection.close()


@pytest.mark.parametrize("form", ["path", "url"])
def test_a_database_of_others_keeps_its_bytes_and_its_time(
    make_study: MakeStudy, tmp_path: Path, form: str
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    strangers_database(folder / "shop.db")
    before = state_of(folder)
    source = str(folder / "shop.db") if form == "path" else sqlite_url(folder / "shop.db")
    with pytest.raises(InputError, match="has no tables of Optuna"):
        sources.read(source, make_study())
    assert state_of(folder) == before


@pytest.mark.parametrize("form", ["path", "url"])
def test_a_path_that_is_not_there_is_not_created(make_study: MakeStudy, tmp_path: Path, form: str) -> None:
    missing = tmp_path / "absent.db"
    with pytest.raises(InputError, match="nothing there; expected"):
        sources.read(str(missing) if form == "path" else sqlite_url(missing), make_study())
    assert not missing.exists()


def test_a_study_of_optuna_is_read_and_keeps_its_bytes(make_study: MakeStudy, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    study_of_optuna(folder / "optuna.db")
    before = state_of(folder)
    (row,) = sources.read(str(folder / "optuna.db"), make_study())
    assert row.config == {"x": 0.5} and list(row.values) == [0.7]
    assert state_of(folder) == before


def test_a_database_of_another_version_is_brought_up_in_a_copy_or_refused(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    older(folder / "old.db")
    before = state_of(folder)
    try:
        rows = sources.read(str(folder / "old.db"), make_study())
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert len(rows) == 1
    assert state_of(folder) == before


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://localhost:6379/0", "cannot read 'redis://'"),
        ("mysql://user:secret@localhost/x", "needs a driver"),
        ("ftp://host/x", "cannot read 'ftp://'"),
    ],
)
def test_a_url_that_cannot_be_read_is_one_line_without_its_password(
    make_study: MakeStudy, url: str, said: str
) -> None:
    with pytest.raises(InputError, match=said) as error:
        sources.read(url, make_study())
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


HOSTILE: dict[str, tuple[str, bytes]] = {
    "cell of brackets": ("runs.csv", b"x,score\n" + b"[" * 100_000 + b",1\n"),
    "cell of 400 digits": ("runs.csv", b"x,score\n" + b"9" * 400 + b",1\n"),
    "cell of 5,000 digits": ("runs.csv", b"x,score\n" + b"9" * 5000 + b",1\n"),
    "deep JSON": ("runs.json", b"[" * 100_000),
    "deep JSON in a line": ("runs.jsonl", b'{"config": {"x": 1}}\n' + b"[" * 100_000),
    "JSON that is not UTF-8": ("runs.json", b'{"config": "\xff\xfe"}'),
    "JSON with 5,000 digits": ("runs.json", b'[{"config": {"x": ' + b"9" * 5000 + b"}}]"),
    "empty parquet": ("runs.parquet", b""),
    "broken parquet": ("runs.parquet", b"PAR1" + b"\x00" * 64 + b"PAR1"),
    "torn SQLite file": ("runs.db", b"SQLite format 3\0" + b"\x07" * 5000),
    "CSV with NUL bytes": ("runs.csv", b"x,score\n\0\0,1\n"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_read_or_refused_in_one_line(
    make_study: MakeStudy, tmp_path: Path, name: str
) -> None:
    file, content = HOSTILE[name]
    (tmp_path / file).write_bytes(content)
    before = state_of(tmp_path)
    try:
        rows = sources.read(str(tmp_path / file), make_study())
    except InputError as error:
        assert "\n" not in str(error) and file in str(error) and len(str(error)) < 2000
    else:
        assert len(rows) == 1
    after = state_of(tmp_path)
    assert {path: after[path] for path in before} == before


def test_a_torn_last_report_of_ray_is_left_out_and_other_damage_is_said(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    whole = json.dumps({"score": 0.5, "trial_id": "a"})
    for name, text in {
        "torn": f"{whole}\n{whole[:9]}", "broken": f"{whole[:9]}\n{whole}", "strange": "[1, 2]\n7\n",
    }.items():  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "params.json").write_text('{"x": 0.5}')
        (tmp_path / name / "result.json").write_text(text)
    rows = {row.source: row for row in sources.read(str(tmp_path), make_study())}
    assert rows["torn"].metrics["score"] == 0.5 and not rows["torn"].problem
    assert rows["broken"].problem.startswith("its files are damaged")
    assert rows["strange"].problem.startswith("its files are damaged")


@pytest.mark.parametrize("file", ["params.json", "result.json", "run.wandb", "meta.yaml", "x.db"])
def test_a_pipe_in_a_folder_of_runs_is_not_waited_for(
    make_study: MakeStudy, tmp_path: Path, file: str
) -> None:
    for name in ("params.json", "result.json"):
        (tmp_path / name).write_text('{"x": 0.5, "score": 1}')
    (tmp_path / file).unlink(missing_ok=True)
    os.mkfifo(tmp_path / file)
    try:
        (row,) = sources.read(str(tmp_path), make_study())
    except InputError as error:
        assert "it is a device or a pipe" in str(error)
    else:
        assert "it is a device or a pipe" in row.problem or file == "x.db"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400), ending=st.sampled_from([".csv", ".json", ".jsonl", ".db"]))
def test_any_bytes_are_read_or_refused(
    make_study: MakeStudy, tmp_path: Path, content: bytes, ending: str
) -> None:
    path = tmp_path / f"runs{ending}"
    path.write_bytes(content)
    try:
        sources.read(str(path), make_study())
    except InputError as error:
        assert "\n" not in str(error)


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20
).filter(lambda name: name.strip(". ") == name and len(name.encode()) < 100)


@given(NAMES)
def test_the_url_of_a_file_leads_back_to_it(name: str) -> None:
    from sqlalchemy.engine import make_url

    path = Path("/data") / name / "studies.db"
    assert sqlite_path(sqlite_url(path)) == path
    assert make_url(sqlite_url(path)).database == str(path)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
@pytest.mark.parametrize("given_name", ["a?b", "50%41", "#1", "a b", "ä'\"ö"])
def test_a_results_folder_of_any_name_gets_its_studies_and_nothing_else_appears(
    tmp_path: Path, given_name: str, name: str
) -> None:
    from tuner.storage.access import default_url, open_records

    for each in (given_name, name):
        folder = tmp_path / each / "results"
        open_records(default_url(folder), create=True).queue.close()
        assert (folder / "studies.db").is_file()
        assert [path.name for path in (tmp_path / each).iterdir()] == ["results"]


def test_a_table_with_two_columns_of_a_name_is_refused(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("x,score,x\n1,2,3\n")
    with pytest.raises(InputError, match=r"runs\.csv:1: two columns are named 'x'"):
        sources.read(str(tmp_path / "runs.csv"), make_study())


def test_an_empty_path_is_not_the_current_folder(make_study: MakeStudy) -> None:
    with pytest.raises(InputError, match="an empty path"):
        sources.read("", make_study())
