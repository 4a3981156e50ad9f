"""Follows a recording while it is being made: program, line, confidence, and alarms.

Rows come from standard input, from a file that grows, or from MQTT. The delay of the sensors is estimated
again with the rows so far. When the rows end, the whole recording is read once more: only its length tells
by how many rows its lines are shifted.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any
from urllib.parse import urlsplit

from inference.layout import check_channels
from inference.live import LONGEST_ROW, RowStream, read_rows
from inference.whole import Reader
from inference.whole_output import headline
from model.library import Library
from model.matching import Query
from model.prefix_match import PrefixMatcher, Seen
from tuner.base.errors import InputError

EVERY = 4  # rows between two answers: about a second
PATIENCE = 3  # answers in a row that must be strange before an alarm
POLL = 0.2  # seconds between two looks at a file
BROKER_SECONDS = 60.0  # an MQTT broker that is away for so long is given up
LONGEST = 2.0  # times the longest known recording: later rows tell nothing new
Answer = tuple[Seen, str | None]  # what is seen, and an alarm when it begins
logger = logging.getLogger(__name__)


class Watcher:
    """The answers for the rows of one recording, as they come.

    Args:
        expected: the operation that alarms are about; None: the one found.
    """

    def __init__(self, library: Library, *, expected: str | None = None, every: int = EVERY) -> None:
        self.library = library
        self.expected = expected
        self.every = every
        self._matcher = PrefixMatcher(library)
        self._strange = 0
        self.alarmed = False
        self.stream: RowStream | None = None  # the rows so far

    def answers(self, rows: Iterable[Sequence[str]], *, source: str) -> Iterator[Answer]:
        """What is seen after every few rows (first the header), and an alarm when it begins."""
        lines = iter(rows)
        header = next(lines, None)
        if not header:
            raise InputError(f"{source}: empty; expected CSV with a header of channel names")
        stream = self.stream = RowStream(header, self.library.channels, prefixes=())
        for note in check_channels(stream.recording(), self.library.channels):
            logger.warning(note)
        longest = int(LONGEST * self.library.rows.max())
        for line in lines:
            if stream.count >= longest:
                continue
            stream.add(line)
            if stream.count % self.every:
                continue
            seen = self._matcher.seen(Query.of(stream.recording(), 0), expected=self.expected)
            if seen is not None:
                yield seen, self._alarm(seen)
        if not stream.count:
            raise InputError(f"{source}: no row below its header")

    def _alarm(self, seen: Seen) -> str | None:
        """The alarm in words, once, after `PATIENCE` strange answers."""
        wrong = self.expected is not None and seen.operation != self.expected
        self._strange = self._strange + 1 if seen.alarm else 0
        if self.alarmed or self._strange < PATIENCE:
            return None
        self.alarmed = True
        found = f"; it is more like {seen.operation}" if wrong else ""
        name = self.expected or seen.operation
        return f"fits {name} worse than any known recording did after {seen.rows} rows{found}"


def watch(
    watcher: Watcher, rows: Iterable[Sequence[str]], out: IO[str], *, source: str, form: str = "table"
) -> bool:
    """Writes answers until the rows end or Ctrl-C, then what the whole was; whether there was an alarm."""
    before: tuple[str, str] | None = None
    for seen, alarm in _until_stopped(watcher.answers(rows, source=source)):
        if form == "jsonl":
            out.write(json.dumps({**asdict(seen), "alarm": alarm}) + "\n")
        elif (seen.operation, seen.line) != before:
            out.write(f"{table_line(seen)}\n")
        if alarm is not None and form != "jsonl":
            out.write(f"ALARM in row {seen.rows}: {alarm}\n")
        before = (seen.operation, seen.line)
        out.flush()
    if watcher.stream is not None and watcher.stream.count:
        data = watcher.stream.recording()
        one = Reader(watcher.library).read_one(data, 0)
        last = {"rows": data.rows, "operation": one.operation, "like": one.like, "delay": one.delay,
                "fit": one.fit, "expected": one.expected}  # fmt: skip
        out.write(json.dumps({"end": last}) + "\n" if form == "jsonl" else f"{headline(one)}\n")
        out.flush()
    return watcher.alarmed


def _until_stopped(answers: Iterator[Answer]) -> Iterator[Answer]:
    """The answers; Ctrl-C ends them, as it is the usual end of a file that grows."""
    while True:
        try:
            yield next(answers)
        except (StopIteration, KeyboardInterrupt):
            return


def table_line(seen: Seen) -> str:
    """An answer for people."""
    where = f"line {seen.number} ({seen.low}–{seen.high})" if seen.number >= 0 else ""
    return (
        f"row {seen.rows:>5}  {seen.operation} {seen.share:.0%}  {seen.line}  {seen.probability:.0%}  "
        f"{where}  sensors {seen.delay:+d} rows"
    )


def follow(
    path: Path, *, idle: float | None, sleep: Callable[[float], None] = time.sleep
) -> Iterator[list[str]]:
    """The cells of the rows of a file that grows; ends after `idle` seconds without a new row, if given.

    A last line without its end is not given until the rest of it is there.

    Raises:
        InputError: the file cannot be read, or is no text.
    """
    try:
        file = path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    with file:
        waited, partial = 0.0, ""
        while idle is None or waited < idle:
            try:
                partial += file.readline(LONGEST_ROW)
            except UnicodeDecodeError:
                raise InputError(f"{path}: not a text file; expected rows of CSV, not compressed") from None
            if not partial.endswith("\n") and len(partial) < LONGEST_ROW:
                sleep(POLL)
                waited += POLL
                continue
            waited = 0.0
            yield next(read_rows(StringIO(partial), str(path)))
            partial = ""


def rows_of_messages(messages: Iterable[bytes], channels: Sequence[str]) -> Iterator[list[str]]:
    """Messages of JSON objects, channel → value, as rows of cells under `channels`; first the header.

    Raises:
        InputError: a message is no JSON object.
    """
    yield list(channels)
    for message in messages:
        try:
            content: Any = json.loads(message)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise InputError(f"MQTT: expected a JSON object, channel: value, got {message[:60]!r}")
        yield ["" if content.get(name) is None else str(content[name]) for name in channels]


def mqtt_messages(url: str, *, patience: float = BROKER_SECONDS) -> Iterator[bytes]:
    """The messages of a topic, `mqtt://HOST[:PORT]/TOPIC`; an empty message ends the recording.

    A connection that is lost is made again.

    Args:
        patience: seconds without a message or a connection that holds.

    Raises:
        InputError: the package is missing, the address is wrong, or the broker refuses or does not answer.
    """
    from tuner.base.extras import need

    client_module = need("mqtt", url)
    try:
        address = urlsplit(url)
        host, port, topic = address.hostname, address.port or 1883, address.path.lstrip("/")
    except ValueError:
        host = topic = ""
    if not host or not topic:
        raise InputError(f"{url}: expected mqtt://HOST[:PORT]/TOPIC")
    arrived: SimpleQueue[bytes | str] = SimpleQueue()
    up: list[float] = []  # since when the connection holds; empty: there is none

    def connected(client: Any, data: Any, flags: Any, code: Any, *_: Any) -> None:
        if code.is_failure:
            return arrived.put(f"the broker refuses ({code})")
        client.subscribe(topic)
        up[:] = [time.monotonic()]

    client = client_module.Client(client_module.CallbackAPIVersion.VERSION2)
    client.on_connect = connected
    client.on_disconnect = lambda *_: up.clear()
    client.on_message = lambda client, data, message: arrived.put(bytes(message.payload))
    try:
        client.connect(host, port)
    except (OSError, ValueError) as error:
        raise InputError(f"{url}: no answer ({error})") from None
    client.loop_start()
    since = time.monotonic()
    try:
        while True:
            try:
                payload = arrived.get(timeout=patience / 10)
            except Empty:
                now = time.monotonic()
                if any(now - begun > patience / 2 for begun in up.copy()):
                    since = now
                elif now - since > patience:
                    raise InputError(f"{url}: the broker does not answer, or drops each connection") from None
                continue
            if isinstance(payload, str):
                raise InputError(f"{url}: {payload}")
            if not payload:
                return
            since = time.monotonic()
            yield payload
    finally:
        client.loop_stop()
        client.disconnect()
