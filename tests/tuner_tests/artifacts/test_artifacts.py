"""The artefact store, in a folder and in a bucket: run folders and data sets, whole, checked, or absent."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import Trial

from model.recordings import Recordings
from model.workload import Training
from tuner.__main__ import main
from tuner.artifacts import shipping
from tuner.artifacts.artifact_store import ArtifactStore, StoreFailed, checked_url
from tuner.artifacts.run_store import Mirror, RunStore, StoreLocation, location_for
from tuner.base.errors import InputError
from tuner.definition.loading import from_plain
from tuner.definition.study_file import StudyFile
from tuner.run.agent.agent import Agent, Link
from tuner.run.agent.order import Order, Work
from tuner.run.launch import run
from tuner.run.request import Request
from tuner.storage import study_store
from tuner.storage.records import Records
from tuner.tracking.tracker import open_tracker

MakeStudy = Callable[..., StudyFile]
BUCKET = "tuner-tests"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a made-up S3 on the loopback interface, with one bucket."""
    pytest.importorskip("boto3", reason="needs boto3")
    server_module = pytest.importorskip("moto.server", reason="needs moto")
    import boto3

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


@pytest.fixture(params=["file", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh store of each kind."""
    if request.param == "file":
        return f"file://{tmp_path}/store"
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


def make_run(folder: Path, *, value: float = 0.5) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"x": value}))
    (folder / "result.json").write_text(json.dumps({"state": "complete", "metrics": {"score": value}}))
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def told(records: Records, study_file: StudyFile, values: list[float]) -> optuna.Study:
    """A study with a complete trial of each value."""
    study = study_store.open_study(records, study_file, study_store.Origin({}))
    for x in values:
        records.enqueue(study._study_id, {"x": x, "y": "a"}, {})
        trial = Trial(study, records.claim(study._study_id, user_attrs={})._trial_id)
        study_file.space.suggest(trial)
        study.tell(trial, x)
    return study


# -- one run


def test_a_run_goes_there_and_comes_back(store_url: str, tmp_path: Path) -> None:
    run, runs = make_run(tmp_path / "runs" / "3"), RunStore(StoreLocation(store_url, "runs/small-1"))
    runs.upload(run, 3)
    assert runs.numbers() == {3}
    runs.fetch(3, tmp_path / "elsewhere" / "3")
    assert content(tmp_path / "elsewhere" / "3") == content(run)
    runs.remove(3)
    assert runs.objects() == {}


def test_an_interrupted_upload_is_absent_and_is_tried_again(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, pauses = make_run(tmp_path / "runs" / "3"), []
    runs = RunStore(StoreLocation(store_url, "runs/small-1"), sleep=pauses.append)
    with monkeypatch.context() as patch:

        def lost(key: str, content: Any) -> None:
            raise StoreFailed("the connection was lost")

        patch.setattr(runs.store, "write_json", lost)
        with pytest.raises(StoreFailed, match="lost"):
            runs.upload(run, 3)
    assert pauses == [1.0, 2.0]
    assert runs.numbers() == set()
    with pytest.raises(StoreFailed, match="no such object"):
        runs.fetch(3, tmp_path / "elsewhere")
    runs.upload(run, 3)
    assert runs.numbers() == {3}


def test_a_corrupted_object_is_refused_in_one_line(store_url: str, tmp_path: Path) -> None:
    runs = RunStore(StoreLocation(store_url, "runs/small-1"))
    runs.upload(make_run(tmp_path / "runs" / "3"), 3)
    (archive,) = [key for key in runs.objects() if key.endswith(".tar")]
    runs.store.write(archive, b"something else")
    with pytest.raises(StoreFailed, match="is damaged") as raised:
        runs.fetch(3, tmp_path / "elsewhere")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "manifest",
    [
        [],
        {"format": 1},
        {"format": 1, "archive": "../../etc/passwd", "sha256": "0", "bytes": 1},
        {"format": 1, "archive": "data/x.tar", "sha256": "0", "bytes": 1},
        {"format": 9, "archive": "runs/small-1/3-0.tar", "sha256": "0", "bytes": 1},
    ],
)
def test_a_manifest_of_another_kind_is_refused(file_url: str, tmp_path: Path, manifest: Any) -> None:
    runs = RunStore(StoreLocation(file_url, "runs/small-1"))
    runs.store.write_json("runs/small-1/3.json", manifest)
    with pytest.raises(StoreFailed, match="not a valid manifest"):
        runs.fetch(3, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    "url", ["http://host/x", "file://", "s3://", "s3://bucket/../x", "s3://user:secret@bucket/x", "/tmp/x"]
)
def test_a_url_that_names_no_store_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError, match="expected file:///DIR or s3://BUCKET/PREFIX"):
        checked_url(url)


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a//b", "a/../b", "a b", "", "."])
def test_a_key_never_leaves_the_store(file_url: str, key: str) -> None:
    with pytest.raises(StoreFailed, match="not a valid key"):
        ArtifactStore(file_url).write(key, b"x")


def test_a_bucket_that_is_not_there_is_said_at_the_start(
    s3: str, monkeypatch: pytest.MonkeyPatch, records: Records, make_study: MakeStudy
) -> None:
    for name, value in (
        ("AWS_ENDPOINT_URL", s3), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    study = told(records, make_study(), [0.1])
    with pytest.raises(StoreFailed, match="no such bucket; create it first"):
        location_for(study, "s3://not-there/x")
    assert StoreLocation.of(study) is None


# -- a study's runs


def test_the_store_keeps_what_the_rule_for_weights_keeps(
    records: Records, make_study: MakeStudy, tmp_path: Path, file_url: str
) -> None:
    study_file = make_study()
    study = told(records, study_file, [0.1, 0.9, 0.5])
    results = tmp_path / "results"
    for number in range(3):
        make_run(results / "runs" / "small" / str(number))
    location = location_for(study, file_url)
    assert location is not None
    RunStore(location).upload(results / "runs" / "small" / "0", 0)  # of a time when it was among the best
    said: list[str] = []
    mirror = Mirror(location, study, study_file, results=results, keep=2, say=said.append)
    mirror.after(1)
    assert RunStore(location).numbers() == {1}  # 0 is beaten; 2 belongs to another agent
    mirror.finish()
    assert RunStore(location).numbers() == {1, 2}
    assert said == []


def test_a_store_that_fails_fails_no_trial_and_gets_the_run_later(
    records: Records, make_study: MakeStudy, tmp_path: Path, file_url: str
) -> None:
    study_file = make_study()
    study, results = told(records, study_file, [0.1]), tmp_path / "results"
    make_run(results / "runs" / "small" / "0")
    location = location_for(study, file_url)
    assert location is not None
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    (tmp_path / "store").write_text("a file where the folder was")
    said: list[str] = []
    mirror = Mirror(
        location, study, study_file, results=results, keep=2, say=said.append, sleep=lambda _: None
    )
    mirror.after(0)
    assert len(said) == 1 and "store" in said[0]
    (tmp_path / "store").unlink()
    mirror.after(0)
    assert RunStore(location).numbers() == {0}


def test_a_study_begun_afresh_has_a_folder_of_its_own(
    records: Records, make_study: MakeStudy, tmp_path: Path, file_url: str
) -> None:
    old = location_for(told(records, make_study(), [0.1]), file_url)
    kept = study_store.set_aside(records, "small", tmp_path / "results")
    assert kept is not None
    new = location_for(told(records, make_study(), [0.2]), file_url)
    assert old is not None and new is not None and old.folder != new.folder
    assert StoreLocation.of(optuna.load_study(study_name=kept, storage=records)) == old


def test_an_agent_stores_its_runs_and_the_command_brings_them_back(
    records: Records,
    make_study: MakeStudy,
    url: str,
    tmp_path: Path,
    file_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study_file, results = make_study(run_cap="run_cap"), tmp_path / "results"
    study = study_store.open_study(records, study_file, study_store.Origin({}), trials=2)
    total = study.total
    order = Order(
        Work(study_file, url, results),
        total=total,
        tracker=open_tracker("off", study_name="small", results=results),
        pruner=study_file.pruner,
        base={},
        overrides={},
        artifacts=location_for(study, file_url),
    )
    ours, theirs = multiprocessing.Pipe()
    Agent(order, Link(theirs)).run()
    ours.close()
    before = content(results / "runs")
    shutil.rmtree(results / "runs")

    assert main(["export", "small", "--results", str(results)]) == 0
    assert [p.parent.name for p in (results / "runs").rglob("config.json")] == [str(study.best_trial.number)]
    assert "fetched 1 run folder (" in capsys.readouterr().err
    assert main(["fetch", "--results", str(results)]) == 0
    assert content(results / "runs") == before


def test_what_cannot_be_fetched_is_said_and_stops_no_report(
    records: Records,
    make_study: MakeStudy,
    tmp_path: Path,
    file_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = told(records, make_study(), [0.1, 0.4])
    location = location_for(study, file_url)
    assert location is not None
    RunStore(location).upload(make_run(tmp_path / "runs" / "1"), 1)
    next((tmp_path / "store").rglob("*.tar")).write_bytes(b"tampered")
    results = ["--results", str(tmp_path / "results")]
    assert main(["report", *results]) == 0
    assert "not fetched: artefact store" in capsys.readouterr().err
    assert main(["fetch", *results]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_study_that_cannot_reach_its_store_does_not_begin(
    make_study: MakeStudy, url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    request = Request(
        make_study(), url, tmp_path / "results", artifacts=f"file://{tmp_path}/file/store", wandb="off"
    )
    with pytest.raises(StoreFailed, match="Not a directory"):
        run(request, _Silent())


class _Silent:
    def say(self, line: str) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("the study began")


# -- data sets

DATA = Training(
    from_plain({"method": "random", "parameters": {"seed": {"values": [1]}}}, name="s", path=Path())
)


def test_a_data_set_is_uploaded_once_and_fetched_by_its_content(
    store_url: str, tiny_recordings: Recordings, tmp_path: Path
) -> None:
    assert tiny_recordings.folder is not None
    digest = tiny_recordings.content_hash
    assert shipping.ship(tiny_recordings.folder, digest, store_url)
    assert not shipping.ship(tiny_recordings.folder, digest, store_url)
    absent = tmp_path / "not here"
    found = shipping.resolve(
        absent, digest=digest, url=store_url, digest_of=DATA.digest_of, cache=tmp_path / "cache"
    )
    assert found == tmp_path / "cache" / digest
    assert Recordings.load(found).recomputed_hash() == digest
    again = shipping.resolve(
        absent, digest=digest, url=None, digest_of=DATA.digest_of, cache=tmp_path / "cache"
    )
    assert again == found


def test_a_host_that_has_the_data_set_uses_its_own(tiny_recordings: Recordings, tmp_path: Path) -> None:
    folder, digest = tiny_recordings.folder, tiny_recordings.content_hash
    assert folder is not None
    found = shipping.resolve(folder, digest=digest, url=None, digest_of=DATA.digest_of, cache=tmp_path)
    assert found == folder


def test_without_a_store_a_missing_data_set_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="copy the data set there, or start the study with --artifacts"):
        shipping.resolve(
            tmp_path / "mill", digest="a" * 64, url=None, digest_of=DATA.digest_of, cache=tmp_path
        )


def test_other_data_under_its_name_is_refused(
    file_url: str, tiny_recordings: Recordings, tmp_path: Path
) -> None:
    assert tiny_recordings.folder is not None
    changed = shutil.copytree(tiny_recordings.folder, tmp_path / "changed")
    lines = json.loads((changed / "lines.json").read_text())
    (changed / "lines.json").write_text(json.dumps(["G0 X666", *lines[1:]]))
    shipping.ship(changed, tiny_recordings.content_hash, file_url)
    with pytest.raises(StoreFailed, match="has the wrong content"):
        shipping.resolve(
            tmp_path / "absent",
            digest=tiny_recordings.content_hash,
            url=file_url,
            digest_of=DATA.digest_of,
            cache=tmp_path / "cache",
        )
    assert [p.name for p in (tmp_path / "cache").iterdir() if p.suffix != ".lock"] == []


def _resolve(barrier: Any, log: Path, arguments: dict[str, Any]) -> None:
    fetch = shipping._fetch

    def counted(*given: Any) -> None:
        with log.open("a") as file:
            file.write("fetched\n")
        fetch(*given)

    shipping._fetch = counted  # type: ignore[assignment]  # in a process of its own
    barrier.wait()
    found = shipping.resolve(**arguments, digest_of=DATA.digest_of)
    assert found is not None and (found / "manifest.json").is_file()


def test_of_two_agents_at_once_one_fetches(
    file_url: str, tiny_recordings: Recordings, tmp_path: Path
) -> None:
    assert tiny_recordings.folder is not None
    shipping.ship(tiny_recordings.folder, tiny_recordings.content_hash, file_url)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    arguments = {
        "folder": tmp_path / "absent",
        "digest": tiny_recordings.content_hash,
        "url": file_url,
        "cache": tmp_path / "cache",
    }
    both = [context.Process(target=_resolve, args=(barrier, tmp_path / "log", arguments)) for _ in "ab"]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "fetched\n"
