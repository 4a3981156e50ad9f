"""Small studies for the tuner's tests: a Python function as objective, a storage in a temporary folder."""

import itertools
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import synthetic_campaign
import temporary_postgres

from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.storage import study_store
from tuner.storage.access import default_url, open_records
from tuner.storage.records import Records

ROOT = Path(__file__).resolve().parents[2]

OBJECTIVE = '''
import os, signal, time

def train(config, report):
    """A curve that rises to x; `pause` seconds an epoch; `mode` does something else."""
    x = config["x"]
    mode = config.get("mode")
    if mode == "error":
        raise ValueError(f"no good: {x}")
    for epoch in range(config.get("epochs", 4)):
        time.sleep(config.get("pause", 0))
        report(epoch, {"score": x * (epoch + 1) / 4, "extra": 1.0})
    if mode == "nan":
        return {"score": float("nan")}
    if mode == "no metric":
        return {"scores": x}
    return {"score": x, "extra": 2.0}
'''

STUDY = """
name: small
method: bayes
run_cap: 6
metric: {name: score, goal: maximize}
parameters:
  x: {min: 0.0, max: 1.0}
  y: {values: [a, b, c]}
tuner:
  objective: "objective.py:train"
  max_epochs: 4
"""

MakeStudy = Callable[..., StudyFile]


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    """`make_study(text="", **replacements)`: a study file with its objective beside it."""

    def make(text: str = STUDY, name: str = "small.yaml", **replacements: str) -> StudyFile:
        (tmp_path / "objective.py").write_text(OBJECTIVE)
        for old, new in replacements.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return load_study_file(path)

    return make


@pytest.fixture
def url(tmp_path: Path) -> str:
    return default_url(tmp_path / "results")


@pytest.fixture
def records(url: str) -> Records:
    """A fresh storage."""
    return open_records(url, create=True)


@pytest.fixture
def origin() -> study_store.Origin:
    """Nothing that a study rests on."""
    return study_store.Origin(base={})


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server of the tests' own (benchmarks/temporary_postgres.py); skips where there is none."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'optuna-sweeps[postgresql]'")
    if temporary_postgres.binaries() is None:
        pytest.skip("needs PostgreSQL's programs (apt install postgresql)")
    with temporary_postgres.TemporaryPostgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: Any) -> Callable[[], str]:
    """`postgres_url()`: the URL of an empty database, another each time."""
    numbers = itertools.count()
    return lambda: str(postgres.url(f"study_{next(numbers)}"))


@pytest.fixture(scope="session")
def campaign() -> ModuleType:
    """benchmarks/synthetic_campaign.py."""
    return synthetic_campaign
