"""What this project relies on beyond Optuna's public API, checked against the release that is installed.

Run it against the oldest and the newest release that pyproject.toml allows before the bounds are changed.
"""

import contextlib
import logging
import pickle
import re
import shutil
import sqlite3
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from tuner.storage import optuna_private
from tuner.storage.optuna_private import models
from tuner.storage.outage import StorageFailed


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without studies; Optuna takes 0.2 s to make one."""
    path = tmp_path_factory.mktemp("empty") / "studies.db"
    RDBStorage(f"sqlite:///{path}").engine.dispose()
    return path


@pytest.fixture
def database(tmp_path: Path, empty: Path) -> RDBStorage:
    return RDBStorage(f"sqlite:///{shutil.copy(empty, tmp_path / 'studies.db')}")


@pytest.fixture
def study(database: RDBStorage) -> Study:
    """The second study of its storage, so that its id is not 1."""
    optuna.create_study(study_name="other", storage=database)
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.create_study(study_name="s", storage=database, sampler=sampler)


def test_every_name_is_tested_here() -> None:
    here, there = Path(__file__).read_text(), Path(optuna_private.__file__).read_text()
    names = re.findall(r"^(?:def |class )?([A-Za-z]\w*)(?:\(|:| = )", there, re.MULTILINE)
    assert {"TABLES", "DatabaseStorage", "trial_id"} <= set(names)
    assert [name for name in names if name != "if" and f"optuna_private.{name}" not in here] == []


def test_a_study_has_an_id_in_every_form(study: Study, database: RDBStorage) -> None:
    (summary,) = [s for s in optuna.get_all_study_summaries(database) if s.study_name == "s"]
    (frozen,) = [s for s in database.get_all_studies() if s.study_name == "s"]
    assert isinstance(frozen, optuna_private.FrozenStudy)
    expected = database.get_study_id_from_name("s")
    assert [optuna_private.study_id(form) for form in (study, summary, frozen)] == [expected] * 3


def test_a_study_says_which_storage_it_is_read_from(study: Study, database: RDBStorage) -> None:
    cached = optuna_private.storage_of(study)
    assert cached.get_study_id_from_name("s") == database.get_study_id_from_name("s")
    assert optuna_private.storage_of(optuna.create_study(storage=cached)) is cached


def test_a_trial_has_an_id_in_every_form(study: Study, database: RDBStorage) -> None:
    trial = study.ask()
    (frozen,) = study.trials
    expected = database.get_trial_id_from_study_id_trial_number(optuna_private.study_id(study), 0)
    assert optuna_private.trial_id(trial) == optuna_private.trial_id(frozen) == expected
    assert Trial(study, expected).number == 0
    assert trial.storage is database or trial.storage.get_trial(expected).number == 0


def test_optuna_stores_attributes_under_the_names_that_we_write(study: Study, database: RDBStorage) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["score"])
    study.enqueue_trial({"x": 0.5})
    trial = study.ask()
    trial.set_constraint("acc >= 1", 0.25)
    attributes = database.get_study_system_attrs(optuna_private.study_id(study))
    assert attributes == {optuna_private.METRIC_NAMES: ["score"]}
    attributes = database.get_trial_system_attrs(optuna_private.trial_id(trial))
    assert attributes[optuna_private.FIXED_PARAMS] == {"x": 0.5}
    assert attributes[f"{optuna_private.CONSTRAINT}acc >= 1"] == 0.25


def test_optuna_reads_constraints_from_the_attribute_that_we_set() -> None:
    trial = create_trial(value=1.0)
    trial.system_attrs = {f"{optuna_private.CONSTRAINT}acc >= 1": 0.25}
    assert trial.constraints == {"acc >= 1": 0.25}


def test_a_queued_trial_takes_its_parameters_until_they_are_dropped(study: Study) -> None:
    study.enqueue_trial({"x": 0.5, "y": 0.5})
    trial = study.ask()
    assert trial.suggest_float("x", 0, 1) == 0.5
    optuna_private.drop_fixed_params(trial)
    assert trial.suggest_float("y", 0, 1) != 0.5


def test_the_cache_of_a_database_can_be_emptied(study: Study, database: RDBStorage) -> None:
    cached = optuna_private.CachedStorage(database)
    id_ = optuna_private.study_id(study)
    study.add_trial(create_trial(value=1.0))
    assert cached.get_study_name_from_id(id_) == "s"
    assert len(cached.get_all_trials(id_)) == 1
    with optuna_private.transaction(database.scoped_session) as session:
        session.execute(sqlalchemy.update(models.StudyModel).values(study_name="new").filter_by(study_id=id_))
        session.execute(sqlalchemy.delete(models.TrialModel))
    assert cached.get_study_name_from_id(id_) == "s"
    cached.forget()
    assert cached.get_study_name_from_id(id_) == "new"
    assert cached.get_all_trials(id_) == []


@pytest.fixture
def grpc_storage(database: RDBStorage) -> Iterator[optuna_private.GrpcStorage]:
    grpc = pytest.importorskip("grpc", reason="needs grpcio: pip install 'optuna-sweeps[grpc]'")
    server = grpc.server(ThreadPoolExecutor(4))
    optuna_private.add_storage_service(server, database)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, warnings.catch_warnings():
        warnings.simplefilter("error")
        yield optuna_private.GrpcStorage(channel)
    server.stop(grace=None).wait()


def test_a_server_answers_a_client_on_our_channel(
    grpc_storage: optuna_private.GrpcStorage, database: RDBStorage
) -> None:
    study = optuna.create_study(study_name="s", storage=grpc_storage)
    study.tell(study.ask(), 0.5)
    assert [trial.value for trial in optuna.load_study(study_name="s", storage=database).trials] == [0.5]


def test_the_cache_of_a_client_can_be_emptied(
    grpc_storage: optuna_private.GrpcStorage, study: Study, database: RDBStorage
) -> None:
    study.add_trial(create_trial(value=1.0))
    id_ = optuna_private.study_id(study)
    assert len(grpc_storage.get_all_trials(id_)) == 1
    with optuna_private.transaction(database.scoped_session) as session:
        session.execute(sqlalchemy.delete(models.TrialModel))
    assert len(grpc_storage.get_all_trials(id_)) == 1
    grpc_storage.forget()
    assert grpc_storage.get_all_trials(id_) == []


def test_a_transaction_is_written_whole_or_not_at_all(study: Study, database: RDBStorage) -> None:
    def add_two(names: list[str]) -> None:
        with optuna_private.transaction(database.scoped_session) as session:
            for name in names:
                session.add(models.StudyModel(study_name=name))
                session.flush()

    add_two(["a", "b"])
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        add_two(["c", "s"])
    assert {"a", "b"} <= set(optuna.get_all_study_names(database))
    assert "c" not in optuna.get_all_study_names(database)


def test_a_transaction_may_run_on_a_connection_of_ours(study: Study, database: RDBStorage) -> None:
    from sqlalchemy.orm import Session

    with database.engine.connect() as connection:
        with optuna_private.transaction(lambda: Session(bind=connection)) as session:
            session.add(models.StudyModel(study_name="ours"))
        with (
            pytest.raises(optuna.exceptions.StorageInternalError),
            optuna_private.transaction(lambda: Session(bind=connection)) as session,
        ):
            session.execute(sqlalchemy.text("SELECT 1 FROM no_table"))
    assert "ours" in optuna.get_all_study_names(database)


def test_optuna_reads_the_rows_of_a_study_that_we_write(database: RDBStorage) -> None:
    with optuna_private.transaction(database.scoped_session) as session:
        directions = [models.StudyDirectionModel(objective=0, direction=StudyDirection.MAXIMIZE)]
        row = models.StudyModel(study_name="ours", directions=directions)
        session.add(row)
        session.flush()
        of_study = {"study_id": row.study_id, "key": "note"}
        session.add(models.StudyUserAttributeModel(**of_study, value_json="[1]"))
        session.add(models.StudySystemAttributeModel(**of_study, value_json='"ours"'))
    study = optuna.load_study(study_name="ours", storage=database)
    assert study.direction is StudyDirection.MAXIMIZE
    assert study.user_attrs == {"note": [1]}
    assert database.get_study_system_attrs(optuna_private.study_id(study)) == {"note": "ours"}


@pytest.mark.parametrize(
    ("table", "columns", "unique"),
    [
        (models.TrialParamModel, "param_value distribution_json", ("trial_id", "param_name")),
        (models.TrialUserAttributeModel, "value_json", ("trial_id", "key")),
        (models.TrialSystemAttributeModel, "value_json", ("trial_id", "key")),
        (
            models.TrialIntermediateValueModel,
            "intermediate_value intermediate_value_type",
            ("trial_id", "step"),
        ),
        (models.TrialModel, "number study_id state datetime_start datetime_complete", ()),
    ],
)
def test_tables_have_the_columns_that_we_write(table: type, columns: str, unique: tuple[str, ...]) -> None:
    there = sqlalchemy.inspect(table).local_table
    assert {*columns.split(), *unique} <= set(there.columns.keys())
    constraints = [c for c in there.constraints if isinstance(c, sqlalchemy.UniqueConstraint)]
    assert not unique or set(unique) in [set(constraint.columns.keys()) for constraint in constraints]


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf")])
def test_an_intermediate_value_is_stored_as_a_number_and_its_kind(value: float) -> None:
    table = models.TrialIntermediateValueModel
    stored, kind = table.intermediate_value_to_stored_repr(value)
    assert stored is None or isinstance(stored, float)
    assert repr(table.stored_repr_to_intermediate_value(stored, kind)) == repr(value)


def test_trials_are_added_under_the_next_number_and_read_back(study: Study, database: RDBStorage) -> None:
    study.ask()
    template = create_trial(
        state=TrialState.WAITING,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        user_attrs={"note": 1},
        system_attrs={optuna_private.FIXED_PARAMS: {"x": 0.5}},
    )
    with optuna_private.transaction(database.scoped_session) as session:
        row = optuna_private.add_trial(database, session, optuna_private.study_id(study), template)
        session.flush()
        session.expire(row)
        read = optuna_private.frozen_trial(database, row)
    assert (read.number, read.state) == (1, TrialState.WAITING)
    assert (read.params, read.user_attrs, read.system_attrs) == (
        template.params,
        template.user_attrs,
        template.system_attrs,
    )
    assert read == study.trials[1]


def test_values_and_the_end_of_a_trial_are_written_to_its_row(study: Study, database: RDBStorage) -> None:
    trial = study.ask()
    with optuna_private.transaction(database.scoped_session) as session:
        row = session.get(models.TrialModel, optuna_private.trial_id(trial))
        assert row is not None
        optuna_private.set_value(database, session, row, 0, 0.75)
        row.state = TrialState.COMPLETE
    assert (study.trials[0].state, study.trials[0].value) == (TrialState.COMPLETE, 0.75)


class FirstFive(optuna_private.TPESampler):
    """Learns from the first five trials."""

    def __init__(self) -> None:
        super().__init__(seed=0, n_startup_trials=6, multivariate=True)
        self.states: set[TrialState] = set()

    def seen(self, study: Study, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        assert study.direction is StudyDirection.MINIMIZE
        self.states |= {trial.state for trial in trials}
        return trials[:5]


@pytest.mark.parametrize("kind", [FirstFive, optuna.samplers.TPESampler])
def test_tpe_learns_from_the_trials_that_a_subclass_chooses(kind: type[optuna.samplers.TPESampler]) -> None:
    """What later trials were worth changes nothing, where it does for Optuna's TPE."""
    drawn: list[list[float]] = []
    for sign in (1.0, -1.0):
        sampler = FirstFive() if kind is FirstFive else kind(seed=0, n_startup_trials=6)
        study = optuna.create_study(sampler=sampler)
        drawn.append([])
        for number in range(20):
            trial = study.ask()
            drawn[-1].append(x := trial.suggest_float("x", 0, 1))
            trial.report(x, 1)
            if number % 2:
                study.tell(trial, x if number < 6 else 10.0 * sign * x)
            else:
                study.tell(trial, state=TrialState.PRUNED)
        if isinstance(sampler, FirstFive):
            assert {TrialState.COMPLETE, TrialState.PRUNED} <= sampler.states
    assert (drawn[0] == drawn[1]) is (kind is FirstFive)


def test_tpe_without_a_subclass_is_optunas() -> None:
    drawn = []
    for kind in (optuna.samplers.TPESampler, optuna_private.TPESampler):
        study = optuna.create_study(sampler=kind(seed=0, n_startup_trials=5))
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=12)
        drawn.append([trial.params["x"] for trial in study.trials])
    assert drawn[0] == drawn[1]


def test_the_tables_are_those_of_a_new_database(database: RDBStorage) -> None:
    found = sqlalchemy.inspect(database.engine).get_table_names()

    assert set(found) == optuna_private.TABLES


def test_a_schema_is_told_from_older_and_newer_ones(database: RDBStorage) -> None:
    def made_by(revision: str) -> str | None:
        with database.engine.begin() as connection:
            connection.execute(sqlalchemy.text(f"UPDATE alembic_version SET version_num = '{revision}'"))
        return optuna_private.other_schema(database)

    assert optuna_private.other_schema(database) is None
    assert made_by("v3.0.0.a") == "older"
    assert made_by("v99.0.0.a") == "newer"


def test_a_database_that_we_make_is_one_that_optuna_makes(tmp_path: Path) -> None:
    paths = [tmp_path / "optunas.db", tmp_path / "ours.db"]
    theirs = RDBStorage(f"sqlite:///{paths[0]}")
    ours = optuna_private.DatabaseStorage(f"sqlite:///{paths[1]}", create=True)

    def content(path: Path) -> list[str]:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return sorted(line for line in connection.iterdump() if line.strip())

    assert content(paths[0]) == content(paths[1])
    unset = {name for name in vars(theirs) if name not in vars(ours)}
    assert unset == {"_version_manager"}  # it is made when it is needed
    assert ours.get_current_version() == theirs.get_head_version()
    optuna.create_study(study_name="s", storage=ours)
    assert pickle.loads(pickle.dumps(ours)).get_study_id_from_name("s") == 1


def test_rows_that_cannot_be_read_are_storage_errors(tmp_path: Path) -> None:
    storage = optuna_private.DatabaseStorage(f"sqlite:///{tmp_path / 'studies.db'}", create=True)
    study = optuna.create_study(study_name="s", storage=storage)
    study.set_user_attr("a", 1)
    study.add_trial(create_trial(value=1.0, params={"x": 1.0}, distributions={"x": FloatDistribution(0, 2)}))
    identity = optuna_private.study_id(study)
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE study_user_attributes SET value_json = '{'"))
        connection.execute(sqlalchemy.text("UPDATE trial_params SET distribution_json = '{'"))

    reads = {
        "_get_trials": lambda: storage._get_trials(identity, None, set(), -1),
        "get_all_studies": storage.get_all_studies,
        "get_all_trials": lambda: storage.get_all_trials(identity),
        "get_study_user_attrs": lambda: storage.get_study_user_attrs(identity),
        "get_trial": lambda: storage.get_trial(1),
    }
    for read in reads.values():
        with pytest.raises(StorageFailed, match="a row of the database cannot be read"):
            read()
    assert {*reads} <= {*optuna_private.READS}
    with pytest.raises(KeyError):
        storage.get_trial(99)


def test_a_connection_that_is_lost_while_trials_are_read_prints_no_sql(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = optuna_private.DatabaseStorage(f"sqlite:///{tmp_path / 'studies.db'}", create=True)
    identity = optuna_private.study_id(optuna.create_study(study_name="s", storage=storage))
    monkeypatch.setattr(logging.getLogger("optuna"), "propagate", True)

    def lost(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "FROM trials" not in statement:
            return
        cause = sqlite3.OperationalError("the connection was lost")
        raise sqlalchemy.exc.OperationalError("SELECT * FROM trials", {}, cause)

    sqlalchemy.event.listen(storage.engine, "before_cursor_execute", lost)
    caplog.clear()
    with pytest.raises(optuna.exceptions.StorageInternalError):
        storage._get_trials(identity, None, {1, 2}, -1)
    assert caplog.text == ""
