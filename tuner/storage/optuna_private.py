"""All uses of Optuna's private names. No other file of `tuner` may have any.

Optuna has no public API for several writes in one transaction, trials that pass from one agent to another, a
gRPC channel with keepalive, and a TPE that ranks pruned trials by their progress.
Private names may change in any minor release. pyproject.toml therefore allows the minor releases with which
tests/tuner_tests/storage/test_optuna_private.py has passed: 5.0.
"""

from __future__ import annotations

import functools
import logging
import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session, _logger, _VersionManager
from optuna.study import Study, StudySummary
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, Trial
from sqlalchemy.orm import scoped_session, sessionmaker

from tuner.storage.outage import StorageFailed

if TYPE_CHECKING:
    import grpc
    from sqlalchemy.orm import Session

# Attributes under which Optuna itself stores something
METRIC_NAMES = "study:metric_names"  # of a study: the names of its objectives
FIXED_PARAMS = "fixed_params"  # of a trial: the parameters that a queued trial must take
CONSTRAINT = "constraints:"  # of a trial, followed by a name: by how much it misses the constraint


_REVISION = sqlalchemy.Table(
    "alembic_version",
    sqlalchemy.MetaData(),
    sqlalchemy.Column("version_num", sqlalchemy.String(32), nullable=False),
    sqlalchemy.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

# Names of the tables of a database
TABLES = frozenset({*models.BaseModel.metadata.tables, _REVISION.name})


# -- studies and trials


def study_id(study: Study | StudySummary | FrozenStudy) -> int:
    """The study's id in its storage."""
    return study._study_id


def storage_of(study: Study) -> BaseStorage:
    """The storage that the study is read from."""
    return study._storage


def trial_id(trial: Trial | FrozenTrial) -> int:
    """The trial's id in its storage; unlike its number it is unique among all studies."""
    return trial._trial_id


def drop_fixed_params(trial: Trial) -> None:
    """Lets the sampler draw the parameters that a queued trial had to take."""
    trial._fixed_params = {}


# -- storages; gRPC is imported in functions because it may not be installed


READS = (
    "_get_trials",
    "_build_frozen_trial_from_trial_model",
    "get_all_studies",
    "get_all_trials",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
)


class DatabaseStorage(RDBStorage):
    """Optuna's storage in a database; a row that is no JSON or of no known kind is an error in one line.

    Optuna opens a database with Alembic. To import it and run the scripts of all revisions takes 0.25 s of
    processor time, in every process. Here Alembic is imported only if `_version_manager` is used.

    Args:
        url: SQLAlchemy's URL of it.
        engine_kwargs: arguments of SQLAlchemy's engine.
        create: makes the tables that are missing. Two processes must not do this at once.
    """

    def __init__(
        self, url: str, engine_kwargs: dict[str, Any] | None = None, *, create: bool = False
    ) -> None:
        _logger.setLevel(logging.ERROR)  # a lost connection is a line of ours, not a warning with SQL
        self.url = url
        self.engine_kwargs = engine_kwargs or {}
        self.skip_compatibility_check = True  # `other_schema` does it
        self.heartbeat_interval = self.grace_period = None
        self.heartbeat_stale_trial_callback = self.failed_trial_callback = None
        self.engine = sqlalchemy.create_engine(url, **self.engine_kwargs)
        self.scoped_session = scoped_session(sessionmaker(bind=self.engine))
        if create:
            self._create_tables()

    @functools.cached_property
    def _version_manager(self) -> _VersionManager:  # type: ignore[override]
        return _VersionManager(self.url, self.engine, self.scoped_session)

    def __getstate__(self) -> dict[Any, Any]:
        made_anew = ("engine", "scoped_session", "_version_manager")
        return {name: value for name, value in vars(self).items() if name not in made_anew}

    def _create_tables(self) -> None:
        of_this_optuna = {"schema_version": models.SCHEMA_VERSION, "library_version": optuna.__version__}
        rows: list[tuple[Any, dict[str, Any]]] = [
            (models.VersionInfoModel.__table__, of_this_optuna),
            (_REVISION, {"version_num": _revisions()[-1]}),
        ]
        with self.engine.begin() as connection:
            models.BaseModel.metadata.create_all(connection)
            _REVISION.create(connection, checkfirst=True)
            for table, row in rows:
                if connection.execute(sqlalchemy.select(table)).first() is None:
                    connection.execute(sqlalchemy.insert(table).values(row))


@functools.cache
def _revisions() -> list[str]:
    """The names of the revisions of the tables, the oldest first."""
    after: dict[str | None, str] = {}
    for script in (Path(models.__file__).parent / "alembic" / "versions").glob("*.py"):
        names = dict(re.findall(r'^(revision|down_revision) = "(.+)"', script.read_text(), re.MULTILINE))
        after[names.get("down_revision")] = names["revision"]
    chain = [after[None]]
    while chain[-1] in after:
        chain.append(after[chain[-1]])
    return chain


def _checked(name: str) -> Callable[..., Any]:
    read = getattr(RDBStorage, name)

    @functools.wraps(read)
    def checked(self: RDBStorage, *arguments: Any, **options: Any) -> Any:
        try:
            return read(self, *arguments, **options)
        except KeyError:  # no such study or trial
            raise
        except (ValueError, LookupError) as error:
            raise StorageFailed(
                f"a row of the database cannot be read ({error}); something else has written to it: "
                "tuner doctor --repair keeps a copy and saves the others"
            ) from error

    return checked


for _name in READS:
    setattr(DatabaseStorage, _name, _checked(_name))


class CachedStorage(_CachedStorage):
    """Optuna's cache of the trials in a database."""

    def forget(self) -> None:
        """Empties the cache. Called when studies were changed behind Optuna's back."""
        with self._lock:
            self._studies.clear()
            self._trial_id_to_study_id_and_number.clear()
            self._study_id_and_number_to_trial_id.clear()


class GrpcStorage(GrpcStorageProxy):
    """Optuna's gRPC client, with its own cache, on a channel that the caller made."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._given_channel = channel
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__()

    def _setup(self) -> None:
        from optuna.storages._grpc.auto_generated import api_pb2_grpc
        from optuna.storages._grpc.client import GrpcClientCache

        self._channel = self._given_channel
        self._stub = api_pb2_grpc.StorageServiceStub(self._channel)
        self._cache = GrpcClientCache(self._stub)

    def forget(self) -> None:
        """Empties the cache."""
        with self._cache.lock:
            self._cache.studies.clear()


def other_schema(storage: RDBStorage) -> str | None:
    """Which Optuna made the tables, if they are not those of this Optuna: "older" or "newer"."""
    with storage.engine.connect() as connection:
        found = connection.execute(sqlalchemy.select(_REVISION.c.version_num)).scalar()
    if found in (None, _revisions()[-1]):
        return None
    return "older" if found in _revisions() else "newer"


def add_storage_service(server: grpc.Server, storage: BaseStorage) -> None:
    """Lets `server` answer the calls of `GrpcStorage` from `storage`."""
    from optuna.storages._grpc.auto_generated import api_pb2_grpc
    from optuna.storages._grpc.servicer import OptunaStorageProxyService

    api_pb2_grpc.add_StorageServiceServicer_to_server(OptunaStorageProxyService(storage), server)


# -- statements of a transaction


def transaction(make_session: Callable[[], Session]) -> AbstractContextManager[Session]:
    """A session that is committed at the end; its errors are raised as Optuna raises them."""
    return _create_scoped_session(cast(Any, make_session))


def add_trial(storage: RDBStorage, session: Session, study_id: int, trial: FrozenTrial) -> models.TrialModel:
    """Adds `trial` to the study under the next number."""
    return storage._get_prepared_new_trial(study_id, trial, session)


def frozen_trial(storage: RDBStorage, row: models.TrialModel) -> FrozenTrial:
    """The trial of a row of the table of trials."""
    return storage._build_frozen_trial_from_trial_model(row)


def set_value(
    storage: RDBStorage, session: Session, row: models.TrialModel, objective: int, value: float
) -> None:
    """Sets the value of a trial's objective, counted from 0."""
    storage._set_trial_value_without_commit(session, row, objective, value)


# -- TPE


class TPESampler(optuna.samplers.TPESampler):
    """Optuna's TPE; a subclass may say how it sees the trials."""

    def seen(self, study: Study, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """The trials that TPE divides into better and other ones: `trials`, or others in their place."""
        return trials

    def _sample(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super()._sample(cast(Study, _Seen(study, self.seen)), trial, search_space)


class _Seen:
    """A study whose trials are seen in another way."""

    def __init__(self, study: Study, seen: Callable[[Study, list[FrozenTrial]], list[FrozenTrial]]) -> None:
        self._study, self._seen = study, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, **options: Any) -> list[FrozenTrial]:
        return self._seen(self._study, self._study._get_trials(**options))
