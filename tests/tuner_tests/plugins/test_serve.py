"""`tuner serve` as its users meet it: where it listens, what it refuses, how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from tuner.__main__ import main
from tuner.base.errors import InputError, WorkFailed
from tuner.plugins.server import token, wire
from tuner.plugins.server.remote import address_of
from tuner.plugins.server.serve import _ClientLock, make_server
from tuner.storage.access import default_url, open_database, open_records
from tuner.storage.optuna_private import GrpcStorage
from tuner.storage.outage import StorageFailed, is_unreachable, storage_errors

pytest.importorskip("grpc", reason="needs grpcio: pip install 'optuna-sweeps[grpc]'")
ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "studies.example"])
def test_it_listens_on_this_machine_alone(
    host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--host", host, "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "no authentication" in error and "--token-file" in error
    assert "ssh -N -L 13000:127.0.0.1:13000" in error
    assert error.count("\n") == 1


def test_a_taken_port_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["serve", "--port", port, "--results", str(tmp_path)]) == 2
    assert f"--port {port}: it is taken" in capsys.readouterr().err


def test_a_server_is_not_served_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--storage", "grpc://127.0.0.1:1", "--results", str(tmp_path)]) == 2
    assert "a server already" in capsys.readouterr().err


@pytest.mark.hostile("clients of serve")
@pytest.mark.parametrize("url", ["grpc://", "grpc://host:port", "grpc://me:secret@host", "grpc://host/db"])
def test_a_malformed_address_is_said_without_what_it_holds(url: str) -> None:
    with pytest.raises(InputError, match="expected grpc://HOST:PORT") as error:
        address_of(url)
    assert "secret" not in str(error.value)


def test_addresses() -> None:
    assert address_of("grpc://db.example") == "db.example:13000"
    assert address_of("grpc://[::1]:14000") == "[::1]:14000"


def test_nothing_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.plugins.server.remote.CONNECT_SECONDS", 0.2)
    with pytest.raises(StorageFailed, match="nothing answers; start it where the studies are"):
        open_records(f"grpc://127.0.0.1:{free_port()}")


def test_optunas_plain_proxy_has_no_lock_and_is_turned_down(tmp_path: Path) -> None:
    from optuna.storages._grpc.server import make_server as plain

    storage, _ = open_database(default_url(tmp_path), create=True)
    port = free_port()
    server = plain(storage, "127.0.0.1", port)
    server.start()
    with pytest.raises(InputError, match="a plain Optuna proxy"):
        open_records(f"grpc://127.0.0.1:{port}")
    server.stop(grace=None).wait()


def test_a_client_without_the_server_waits_and_goes_on_with_the_next_one(tmp_path: Path) -> None:
    url = default_url(tmp_path)
    port = free_port()

    def start():  # type: ignore[no-untyped-def]
        server = make_server(*open_database(url, create=True))
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        return server

    server = start()
    records = open_records(f"grpc://127.0.0.1:{port}")
    study = optuna.create_study(study_name="s", storage=records)
    server.stop(grace=None).wait()
    with pytest.raises(Exception) as error:
        records.claim(study._study_id, user_attrs={})
    assert is_unreachable(error.value)
    with pytest.raises(StorageFailed), storage_errors("there"):
        records.queue.counts(study._study_id)
    server = start()
    claimed = records.patience.insist(lambda: records.claim(study._study_id, user_attrs={}))
    assert claimed.number == 0
    server.stop(grace=None).wait()


def test_the_client_whose_turn_it_is_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.plugins.server.serve.LOCK_SECONDS", 0.05)
    client_lock = _ClientLock()
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with client_lock.held_by("process 7 on far"):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(10)
    with pytest.raises(WorkFailed, match="process 7 on far has held the storage"), client_lock.held_by("me"):
        pass
    leave.set()
    thread.join()


def test_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "serve", "--port", str(port)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TUNER_STORAGE": "", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    assert f"grpc://127.0.0.1:{port}" in lines[0]
    assert re.search(r"ssh -N -L (\d+):127.0.0.1:\1 THIS_MACHINE", lines[2])
    assert optuna.get_all_study_names(open_records(f"grpc://127.0.0.1:{port}")) == []
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in output


# -- the token


TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def guarded(tmp_path: Path, token_file: Path) -> Iterator[str]:
    """The URL of a server that asks for the token."""
    port = free_port()
    server = make_server(*open_database(default_url(tmp_path), create=True), token.read(token_file))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(grace=None).wait()


def test_a_client_with_the_token_works(
    guarded: str, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(token.VARIABLE, str(token_file))
    records = open_records(guarded)
    study = optuna.create_study(study_name="s", storage=records)
    with records.lock:
        assert records.claim(study._study_id, user_attrs={}).number == 0


@pytest.mark.hostile("clients of serve")
@pytest.mark.parametrize(("sent", "said"), [(None, "asks for a token"), ("f" * 32, "refuses the token")])
def test_a_client_without_the_token_is_refused_whatever_it_calls(
    guarded: str, token_file: Path, monkeypatch: pytest.MonkeyPatch, sent: str | None, said: str
) -> None:
    import grpc

    if sent is not None:
        token_file.write_text(sent)
        monkeypatch.setenv(token.VARIABLE, str(token_file))
    with pytest.raises(InputError, match=said) as raised:
        open_records(guarded)
    assert TOKEN not in str(raised.value)

    channel = grpc.insecure_channel(guarded.removeprefix("grpc://"))
    with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
        GrpcStorage(channel).get_all_studies()
    with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
        next(channel.stream_stream(f"/{wire.SERVICE}/{wire.HOLD}")(iter([wire.request("take", {})])))
    channel.close()


@pytest.mark.hostile("clients of serve")
def test_clients_that_say_nothing_or_garbage_hold_up_no_other(
    guarded: str, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = ("127.0.0.1", int(guarded.rpartition(":")[2]))
    strangers = [socket.create_connection(address, timeout=30) for _ in range(60)]
    for stranger in strangers[::2]:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)) * 400)
    monkeypatch.setenv(token.VARIABLE, str(token_file))
    records = open_records(guarded)
    study = optuna.create_study(study_name="s", storage=records)
    large = "x" * 20_000_000
    assert records.claim(study._study_id, user_attrs={"large": large}).number == 0
    assert study.trials[0].user_attrs["large"] == large
    for stranger in strangers:
        stranger.close()


@pytest.mark.hostile("clients of serve")
def test_a_message_of_100_megabytes_is_refused_in_one_line(
    guarded: str, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(token.VARIABLE, str(token_file))
    records = open_records(guarded)
    study = optuna.create_study(study_name="s", storage=records)
    for ask in (
        lambda attrs: records.claim(study._study_id, user_attrs=attrs),
        lambda attrs: study.set_user_attr("large", attrs["large"]),
    ):
        with pytest.raises(StorageFailed) as raised, storage_errors(guarded):
            ask({"large": "x" * 100_000_000})
        assert "larger than max" in str(raised.value) and "\n" not in str(raised.value)
    assert records.claim(study._study_id, user_attrs={}).number == 0


@pytest.mark.hostile("clients of serve")
@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (TOKEN, 0o644, "chmod 600"),
        ("x" * 10**6, 0o600, "expected at most 64"),
        ("short", 0o600, "16 characters or more"),
        (None, 0, "No such file"),
    ],
)
def test_a_token_that_is_no_secret_is_refused(tmp_path: Path, text: str | None, mode: int, said: str) -> None:
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)

    with pytest.raises(InputError, match=said) as raised:
        token.read(path)
    assert TOKEN not in str(raised.value)
