"""Orders from another machine: what an agent needs there, and what it says when that is missing."""

import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model.recordings import MANIFEST
from model.workload import Training
from tuner.base.errors import InputError
from tuner.base.files import write_json
from tuner.definition.study_file import StudyFile
from tuner.run.agent import arrival
from tuner.run.agent.order import Order, Work
from tuner.run.executors.choice import ExecutorChoice
from tuner.storage.access import default_url
from tuner.tracking.tracker import Tracker
from tuner.workloads.workload import Inputs

HERE = socket.gethostname()


@pytest.fixture
def order(make_study: Callable[..., StudyFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """An order whose paths are relative to a folder, and that was sent from there."""
    file = make_study()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return arrival.addressed(
        Order(
            Work(replace(file, path=Path("small.yaml")), default_url(Path("results")), Path("results")),
            total=6,
            tracker=Tracker("W&B off"),
            pruner=file.pruner,
            base={},
            overrides={},
            inputs=Inputs("mill", "5" * 64, Path("data/mill"), binding=True, travels=True),
        )
    )


def test_an_order_means_the_same_in_any_folder(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert order.work.url == default_url(tmp_path / "results")
    assert (order.work.results, order.inputs.folder) == (tmp_path / "results", tmp_path / "data/mill")
    assert order.work.study_file.path == tmp_path / "small.yaml"
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "studies.db").touch()
    monkeypatch.chdir("/")
    arrival.settle(pickle.loads(pickle.dumps(order)))
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize("elsewhere", [True, False])
def test_sqlite_is_refused_where_the_file_is_another_hosts_or_not_there(
    order: Order, tmp_path: Path, elsewhere: bool
) -> None:
    assert order.sender is not None
    if elsewhere:
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "studies.db").touch()
        order = replace(order, sender=replace(order.sender, host="desk"))
    with pytest.raises(arrival.Unsuited, match=rf"{HERE}: .*studies.db is a file of .*postgresql://"):
        arrival.settle(order)


def test_a_server_serves_every_host_and_the_results_folder_is_made(order: Order, tmp_path: Path) -> None:
    assert order.sender is not None
    sender = replace(order.sender, host="desk", folder=Path("/no/such/folder"))
    arrival.settle(
        replace(order, work=replace(order.work, url="postgresql://tuner@db/studies"), sender=sender)
    )
    assert (tmp_path / "results").is_dir()


def test_a_missing_data_set_is_named_with_its_host(order: Order, tmp_path: Path) -> None:
    workload = Training(order.work.study_file)
    with pytest.raises(arrival.Unsuited, match=rf"worker on {HERE}: {tmp_path}/data/mill: this host has no"):
        arrival.inputs_folder(order, workload)
    (tmp_path / "data/mill").mkdir(parents=True)
    write_json(tmp_path / "data/mill" / MANIFEST, {"content_hash": order.inputs.digest})
    assert arrival.inputs_folder(order, workload) == tmp_path / "data/mill"
    assert arrival.inputs_folder(replace(order, inputs=Inputs()), workload) is None


def test_a_worker_without_the_package_says_so() -> None:
    cloudpickle = pytest.importorskip("cloudpickle", reason="neither Dask nor Ray is installed")
    from tuner.plugins.pools import shim

    cloudpickle.register_pickle_by_value(shim)
    code = (
        "import pickle, sys\n"
        "sys.modules['tuner'] = None  # as if it were not installed\n"
        "found = pickle.load(sys.stdin.buffer)(b'', 0, 1, '.')\n"
        "print([(m['event'], m.get('reason')) for m in found.poll(1)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=cloudpickle.dumps(shim.RayAgent), capture_output=True, check=True
    )
    said = done.stdout.decode()
    assert "'refused'" in said
    assert f"worker on {HERE}: {sys.executable} does not have this package" in said


@pytest.mark.parametrize(
    ("kind", "address", "said"),
    [("dask", None, "--address is missing"), ("local", "tcp://h:1", "only for --executor dask or ray")],
)
def test_an_address_belongs_to_a_cluster(kind: str, address: str | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ExecutorChoice(kind, address)  # type: ignore[arg-type]
