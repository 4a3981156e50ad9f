"""A recording that is being made: what is said, when, and which alarms are raised."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.__main__ import main
from inference.live import read_rows
from inference.watch import Watcher, follow, mqtt_messages, rows_of_messages, watch
from model.clock import Clock
from model.library import Library
from model.library_fit import build
from model.matching import Query
from model.prefix_match import LEAST, PrefixMatcher
from model.recordings import Recordings
from tuner.base.errors import InputError


@pytest.fixture(scope="module")
def library(tiny_recordings: Recordings) -> Library:
    return build(tiny_recordings)


def cells(folder: Path, name: str) -> list[list[str]]:
    text = gzip.decompress((folder / f"{name}_aligned.csv.gz").read_bytes()).decode()
    return list(csv.reader(text.splitlines()))


def test_a_recording_replayed_names_its_program_and_line_as_it_goes(
    library: Library, tiny_csv: Path, tiny_recordings: Recordings
) -> None:
    rows = cells(tiny_csv, "face_002")
    seen = [one for one, _ in Watcher(library).answers(rows, source="replay")]
    assert seen[0].rows == LEAST
    assert [one.rows for one in seen] == list(range(LEAST, len(rows), 4))
    assert {one.operation for one in seen[2:]} == {"face"}
    assert all(one.low <= one.number <= one.high for one in seen)
    assert all(0 < one.probability <= 1 for one in seen)


def test_an_answer_needs_no_rows_after_it(library: Library, tiny_csv: Path) -> None:
    rows = cells(tiny_csv, "face_002")
    whole = next(one for one, _ in Watcher(library).answers(rows, source="replay") if one.rows == 80)
    short = [one for one, _ in Watcher(library).answers(rows[:81], source="replay")][-1]
    assert short == whole


def test_a_late_board_is_found_out_by_its_delay(library: Library) -> None:
    k = library.named("face_001")
    assert k is not None
    late = Query(library.shapes[library.known[k].span][5:120], library.levels[k], Clock.plain(115))
    seen = PrefixMatcher(library).seen(late)
    assert seen is not None
    assert (seen.like, seen.delay) == ("face_001", -5)


def test_another_program_than_expected_raises_one_alarm(library: Library, tiny_csv: Path) -> None:
    out = io.StringIO()
    alarmed = watch(Watcher(library, expected="pocket"), cells(tiny_csv, "face_002"), out, source="replay")
    assert alarmed
    assert out.getvalue().count("ALARM") == 1
    assert "more like face" in out.getvalue()


def test_the_expected_program_raises_none(library: Library, tiny_csv: Path) -> None:
    out = io.StringIO()
    assert not watch(Watcher(library, expected="face"), cells(tiny_csv, "face_002"), out, source="replay")
    assert "ALARM" not in out.getvalue()
    assert "face" in out.getvalue().splitlines()[-1], "read once more as a whole"


def test_ctrl_c_ends_a_recording_as_its_end_does(library: Library, tiny_csv: Path) -> None:
    def stopped(*rows: list[str]) -> Iterator[list[str]]:
        yield from rows
        raise KeyboardInterrupt

    out, rows = io.StringIO(), cells(tiny_csv, "face_002")
    assert watch(Watcher(library, expected="pocket"), stopped(*rows), out, source="replay"), "an alarm"
    assert "face" in out.getvalue().splitlines()[-1], "read once more as a whole"
    out = io.StringIO()
    assert not watch(Watcher(library), stopped(), out, source="replay") and not out.getvalue()


def test_what_a_header_lacks_is_said_and_rows_are_needed(
    library: Library, tiny_csv: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = cells(tiny_csv, "face_002")
    with pytest.raises(InputError, match="replay: no row below its header"):
        list(Watcher(library).answers(rows[:1], source="replay"))
    few = [row[:-6] for row in rows]
    assert list(Watcher(library).answers(few, source="replay"))
    assert "channels are missing" in caplog.text


def test_a_file_that_grows_is_followed_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "live.csv"
    path.write_text("a,b\n1,2\n3")
    grown = iter([",4\n5,6\n"])

    def sleep(seconds: float) -> None:
        if text := next(grown, ""):
            with path.open("a") as file:
                file.write(text)

    assert list(follow(path, idle=1.0, sleep=sleep)) == [["a", "b"], ["1", "2"], ["3", "4"], ["5", "6"]]


@pytest.mark.hostile("watch and MQTT")
def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(InputError, match="expected rows of CSV, not compressed"):
        list(follow(tmp_path / "a.csv.gz", idle=0.1))


def test_messages_become_rows() -> None:
    messages = [b'{"b": 2, "a": 1.5}', b'{"a": null, "c": 9}']
    assert list(rows_of_messages(messages, ["a", "b"])) == [["a", "b"], ["1.5", "2"], ["", ""]]
    with pytest.raises(InputError, match="expected a JSON object"):
        list(rows_of_messages([b"1,2"], ["a"]))


def test_a_missing_mqtt_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("paho", "paho.mqtt", "paho.mqtt.client"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"optuna-sweeps\[mqtt\]"):
        next(mqtt_messages("mqtt://localhost/topic"))


def test_mqtt_messages_are_those_of_the_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType, SimpleNamespace

    class Client:
        """A client whose broker sends two messages, then an empty one."""

        def __init__(self, version: int) -> None:
            self.topics: list[str] = []

        def subscribe(self, topic: str) -> None:
            self.topics.append(topic)

        def connect(self, host: str, port: int) -> None:
            assert (host, port) == ("mill", 1884)

        def loop_start(self) -> None:
            self.on_connect(self, None, None, SimpleNamespace(is_failure=False), None)
            assert self.topics == ["lab/sensors"]
            for payload in (b"{}", b"[]", b""):
                self.on_message(self, None, SimpleNamespace(payload=payload))

        def loop_stop(self) -> None: ...

        def disconnect(self) -> None: ...

    module = ModuleType("paho.mqtt.client")
    module.Client, module.CallbackAPIVersion = Client, SimpleNamespace(VERSION2=2)
    for name in ("paho", "paho.mqtt"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", module)
    assert list(mqtt_messages("mqtt://mill:1884/lab/sensors")) == [b"{}", b"[]"]


BROKERS = {  # what a broker answers, packet for packet, before it closes the connection
    "refuses": ([b"\x20\x02\x00\x05"], "the broker refuses"),
    "drops": ([b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x00"], "does not answer, or drops each"),
    "is none": ([b"HTTP/1.1 200 OK\r\n\r\n"], "does not answer, or drops each"),
}


@pytest.mark.hostile("watch and MQTT")
@pytest.mark.parametrize("name", BROKERS)
def test_a_broker_that_never_serves_is_given_up_in_one_line(name: str) -> None:
    pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt: pip install 'optuna-sweeps[mqtt]'")
    packets, says = BROKERS[name]

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            for packet in packets:
                connection.recv(1000)
                connection.sendall(packet)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                answer(listening.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        url = f"mqtt://127.0.0.1:{listening.getsockname()[1]}/sensors"
        with pytest.raises(InputError, match=says):
            next(mqtt_messages(url, patience=2.0))


@pytest.mark.hostile("watch and MQTT")
def test_an_address_that_is_none_is_said() -> None:
    pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt: pip install 'optuna-sweeps[mqtt]'")
    for url in ("mqtt://mill:99999/t", "mqtt:///t", f"mqtt://{'a' * 300}/t"):
        with pytest.raises(InputError, match=r"mqtt:// ?HOST|no answer"):
            next(mqtt_messages(url))


ENDLESS = "1" * 300_000


@pytest.mark.hostile("watch and MQTT")
@pytest.mark.parametrize(
    ("content", "says"), [(f"a,b\n{ENDLESS},2\n", "not rows of CSV"), (ENDLESS * 4, "longer than 1 MiB")]
)
def test_rows_without_an_end_are_refused(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "live.csv").write_text(content)
    with pytest.raises(InputError, match=says):
        list(follow(tmp_path / "live.csv", idle=0.1))
    with pytest.raises(InputError, match=says):
        list(read_rows(io.StringIO(content), "standard input"))


@pytest.mark.hostile("watch and MQTT")
def test_a_message_that_is_nested_deeply_is_refused() -> None:
    with pytest.raises(InputError, match="expected a JSON object"):
        list(rows_of_messages([b'{"a":' * 100_000], ["a"]))


def test_the_command_follows_a_file(
    capsys: pytest.CaptureFixture[str], tiny_recordings: Recordings, tiny_csv: Path, tmp_path: Path
) -> None:
    path = tmp_path / "live.csv"
    path.write_bytes(gzip.decompress((tiny_csv / "face_002_aligned.csv.gz").read_bytes()))
    known = ["--known", str(tiny_recordings.folder), "--format", "jsonl", "--idle", "0.1", "--every", "20"]
    assert main(["watch", str(path), *known]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answers[-1]["end"]["operation"] == "face"
    assert {answer["operation"] for answer in answers[1:-1]} == {"face"}


@pytest.mark.hostile("watch and MQTT")
def test_an_empty_stream_is_one_clear_line(library: Library) -> None:
    with pytest.raises(InputError, match="empty; expected CSV with a header"):
        list(Watcher(library).answers([], source="standard input"))
