"""The storage behind a server (`tuner serve`): Optuna's gRPC proxy, and the queue of trials."""

from __future__ import annotations

import contextlib
import inspect
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.base import extras
from tuner.base.errors import InputError, WorkFailed
from tuner.plugins.server import token, wire
from tuner.storage.locks import LOCK_SECONDS, Reentrant
from tuner.storage.optuna_private import GrpcStorage
from tuner.storage.outage import StorageUnreachable
from tuner.storage.sql_queue import OPERATIONS, SqlQueue
from tuner.storage.trial_rows import Pending

if TYPE_CHECKING:
    import grpc

PORT = 13000  # Optuna's
CONNECT_SECONDS = 10.0
CHANNEL = [
    *wire.OPTIONS,
    (wire.RECEIVES, -1),  # a study may be large
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]


def connect(url: str) -> tuple[GrpcStorage, RemoteQueue]:
    """Optuna's storage and the queue of trials behind `grpc://HOST:PORT`.

    Raises:
        InputError: the URL is malformed, gRPC is not installed, or the server is of another kind.
        StorageUnreachable: no server answers.
    """
    import_grpc()
    import grpc

    address = address_of(url)
    channel = grpc.insecure_channel(address, options=CHANNEL)
    try:
        grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
    except grpc.FutureTimeoutError:
        channel.close()
        raise StorageUnreachable(
            f"storage grpc://{address}: nothing answers; start it where the studies are with: "
            "tuner serve (and is the tunnel up?)"
        ) from None
    secret = token.of_environment()
    if secret is not None:
        channel = token.sent_by(channel, secret)
    storage = GrpcStorage(channel)
    queue = RemoteQueue(channel, storage)
    try:
        queue.greet()
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            channel.close()
            told = "refuses the token" if secret else "asks for a token"
            raise InputError(
                f"storage grpc://{address}: the server {told}; name the file that holds it: "
                f"export {token.VARIABLE}=FILE"
            ) from None
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        channel.close()
        raise InputError(
            f"storage grpc://{address}: a plain Optuna proxy, which has no lock for agents of several hosts; "
            "serve the studies with: tuner serve"
        ) from None
    return storage, queue


def import_grpc() -> None:
    """Raises InputError where gRPC is not installed."""
    extras.need("grpc", "grpc://")


def address_of(url: str) -> str:
    """`HOST:PORT` of a `grpc://` URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORT
    except ValueError:
        parts, port = urlsplit(""), 0
    if not parts.hostname or parts.username or parts.path.strip("/") or parts.query:
        raise InputError("--storage: expected grpc://HOST:PORT, such as grpc://127.0.0.1:13000")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port}"


class RemoteLock(Reentrant):
    """The storage's lock, which the server holds for this process while a stream between them is open."""

    def __init__(self, channel: grpc.Channel, metadata: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._hold = channel.stream_stream(f"/{wire.SERVICE}/{wire.HOLD}")
        self._metadata = metadata
        self._holding_thread = 0
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        self._replies: Iterator[bytes] = iter(())

    @property
    def mine(self) -> bool:
        """Whether this thread holds the lock."""
        return self._holding_thread == threading.get_ident()

    def ask(self, request: bytes) -> bytes:
        """Sends a request that the server executes while it holds the lock for this process."""
        self._requests.put(request)
        try:
            return next(self._replies)
        except StopIteration:
            raise StorageUnreachable("the server has ended the connection that held the lock") from None

    def _acquire(self) -> None:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            self._requests = SimpleQueue()
            self._replies = self._hold(iter(self._requests.get, None), metadata=self._metadata)
            try:
                wire.result(self.ask(wire.request("take", {})))
                self._holding_thread = threading.get_ident()
                return
            except WorkFailed as error:
                self._release()
                if str(error) != wire.BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            except BaseException:
                self._release()
                raise

    def _release(self) -> None:
        """Ends the stream, and waits until the server has released the lock."""
        import grpc

        self._holding_thread = 0
        self._requests.put(None)
        with contextlib.suppress(grpc.RpcError):
            for _ in self._replies:
                pass


class RemoteQueue:
    """The queue of trials on a server; a thread that holds the lock sends requests on its stream."""

    def __init__(self, channel: grpc.Channel, storage: BaseStorage) -> None:
        self._metadata = ((wire.PROCESS, f"{os.getpid()}@{socket.gethostname()}"),)
        self._call = channel.unary_unary(f"/{wire.SERVICE}/{wire.CALL}")
        self._channel = channel
        self._storage = storage
        self.lock = RemoteLock(channel, self._metadata)

    def greet(self) -> None:
        """Raises if the server has no queue of trials."""
        self._ask("greet")

    def claim(
        self, study_id: int, *, user_attrs: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
    ) -> FrozenTrial:
        claimed = self._ask("claim", study_id=study_id, user_attrs=user_attrs, fixed=fixed)
        return self._storage.get_trial(claimed)

    def resume(self, trial_id: int, *, user_attrs: Mapping[str, Any]) -> FrozenTrial | None:
        resumed = self._ask("resume", trial_id=trial_id, user_attrs=user_attrs)
        return self._storage.get_trial(trial_id) if resumed else None

    def finish(
        self, trial_id: int, pending: Pending, state: TrialState, values: Sequence[float], lease: Mapping
    ) -> bool:
        end = {"pending": pending, "state": state, "values": values, "owner": lease}
        return bool(self._ask("finish", trial_id=trial_id, **end))  # "owner": the key of the first version

    def counts(self, study_id: int) -> dict[TrialState, int]:
        return {TrialState[name]: n for name, n in self._ask("counts", study_id=study_id).items()}

    def running(self, study_id: int) -> list[tuple[int, int, dict[str, Any] | None]]:
        return [(id_, number, lease) for id_, number, lease in self._ask("running", study_id=study_id)]

    def grid_points_taken(self, study_id: int) -> set[int]:
        return set(self._ask("grid_points_taken", study_id=study_id))

    def close(self) -> None:
        self._channel.close()

    def _ask(self, method: str, **arguments: Any) -> Any:
        request = wire.request(method, wire.sent(arguments))
        if self.lock.mine:
            return wire.result(self.lock.ask(request))
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return wire.result(self._call(request, metadata=self._metadata))
            except WorkFailed as error:
                if str(error) != wire.BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


def _asked(name: str) -> Callable[..., Any]:
    """The operation `name`, which the server executes with the same arguments."""
    signature = inspect.signature(getattr(SqlQueue, name))

    def ask(self: RemoteQueue, *arguments: Any, **options: Any) -> Any:
        call = signature.bind(self, *arguments, **options)
        call.apply_defaults()
        _, *given = call.arguments.items()  # without `self`
        return self._ask(name, **dict(given))

    return ask


for _name in OPERATIONS - vars(RemoteQueue).keys():
    setattr(RemoteQueue, _name, _asked(_name))
