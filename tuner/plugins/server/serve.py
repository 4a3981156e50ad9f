"""Serves a storage to agents on other hosts: Optuna's gRPC proxy, and the queue of trials with its lock.

Whoever reaches the server may do everything, unless it is given a token that clients must send (`token`). It
has no encryption, so without a token it listens on this machine only. Other hosts use an ssh tunnel.
"""

from __future__ import annotations

import ipaddress
import json
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tuner.base.errors import InputError, WorkFailed
from tuner.plugins.server import token, wire
from tuner.plugins.server.remote import import_grpc
from tuner.storage.access import open_database
from tuner.storage.locks import LOCK_SECONDS
from tuner.storage.optuna_private import CachedStorage, add_storage_service, trial_id
from tuner.storage.outage import StorageFailed, cause_of, hide_password, is_storage_error, is_unreachable
from tuner.storage.sql_queue import OPERATIONS, SqlQueue

if TYPE_CHECKING:
    import grpc

ENDING = (signal.SIGINT, signal.SIGTERM)
THREADS = 256  # started when needed: one for each call, and one for each client that waits for the lock
MAX_WAITING = 160  # leaves threads for the client that holds the lock


def serve(url: str, *, host: str, port: int, console: Console, token_file: Path | None = None) -> None:
    """Serves the storage at `url` until Ctrl-C or SIGTERM.

    Args:
        token_file: has the token that clients must send.

    Raises:
        InputError: `host` is not this machine and there is no token, the port is taken, the URL is that of a
            server, or the file has no token.
        StorageFailed: the storage cannot be opened.
    """
    import_grpc()
    if url.startswith("grpc://"):
        raise InputError(
            f"--storage {url}: that is a server already; serve a sqlite:/// or postgresql:// URL"
        )
    secret = None if token_file is None else token.read(token_file)
    if secret is None and not is_loopback(host):
        raise InputError(
            f"--host {host}: the server has no authentication, so it listens only on this machine "
            f"(127.0.0.1). Give it a token (--token-file FILE), or from elsewhere: {_tunnel(port)}"
        )
    server = make_server(*open_database(url, create=True), secret)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        raise InputError(f"--port {port}: it is taken on {host}; choose another") from None
    # both: a program that a shell starts with & ignores Ctrl-C
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDING}
    try:
        server.start()
        say = console.print
        say(
            f"{hide_password(url)} is served on grpc://{address} (Ctrl-C ends it)",
            markup=False,
            soft_wrap=True,
        )
        for line in _who_may_call(host, port, secret, token_file):
            say(line, markup=False, soft_wrap=True)
        server.wait_for_termination()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        server.stop(grace=1.0).wait()  # agents keep their reports until a server answers again


def _who_may_call(host: str, port: int, secret: str | None, token_file: Path | None) -> list[str]:
    lines = ["it has no authentication: anyone who can reach it can change and delete studies (--token-file)"]
    if secret is not None:
        lines = [f"clients need its token: export {token.VARIABLE}={token_file}"]
    if is_loopback(host):
        return [*lines, f"it listens only on this machine. From elsewhere: {_tunnel(port)}"]
    return [*lines, "it has no encryption: anyone who can listen on the network can read the token"]


def _tunnel(port: int) -> str:
    return f"ssh -N -L {port}:127.0.0.1:{port} THIS_MACHINE, then --storage grpc://127.0.0.1:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_server(storage: CachedStorage, queue: SqlQueue, secret: str | None = None) -> grpc.Server:
    """A server for a storage, bound to no port yet. `secret`: the token that clients must send."""
    import grpc

    class Unavailable(grpc.ServerInterceptor):
        """Sends database errors to Optuna's clients: UNAVAILABLE if they should wait, INTERNAL otherwise."""

        def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
            handler = continuation(details)
            if handler is None or handler.unary_unary is None:
                return handler

            def answer(request: Any, context: grpc.ServicerContext) -> Any:
                try:
                    return handler.unary_unary(request, context)
                except Exception as error:
                    if is_unreachable(error):
                        context.abort(
                            grpc.StatusCode.UNAVAILABLE, f"the server's database: {cause_of(error)}"
                        )
                    if is_storage_error(error):
                        context.abort(grpc.StatusCode.INTERNAL, f"the server's database: {cause_of(error)}")
                    raise

            return grpc.unary_unary_rpc_method_handler(
                answer, handler.request_deserializer, handler.response_serializer
            )

    pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="serve")
    # without so_reuseport=0 a second server could listen on the same port and get half of the calls
    options = [*wire.OPTIONS, (wire.RECEIVES, wire.LARGEST), ("grpc.so_reuseport", 0)]
    asks = [] if secret is None else [token.asked_of_clients(secret)]
    server = grpc.server(pool, options=options, interceptors=[*asks, Unavailable()])
    add_storage_service(server, storage)
    service = QueueService(queue, storage)
    handlers = {
        wire.CALL: grpc.unary_unary_rpc_method_handler(service.call),
        wire.HOLD: grpc.stream_stream_rpc_method_handler(service.hold),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(wire.SERVICE, handlers),))
    return server


class QueueService:
    """Answers `Call` and `Hold` with the queue of a database."""

    def __init__(self, queue: SqlQueue, storage: CachedStorage) -> None:
        self._queue = queue
        self._storage = storage
        self._client_lock = _ClientLock()

    def call(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            with self._client_lock.held_by(_process(context)):
                return self._answer(request)
        except Exception as error:
            return wire.failure(error)

    def hold(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Holds the lock and answers requests until the client ends the stream or dies."""
        try:
            with self._client_lock.held_by(_process(context)), self._queue.lock:
                for request in requests:
                    yield self._answer(request)
        except Exception as error:
            if context.is_active():
                yield wire.failure(error)

    def _answer(self, request: bytes) -> bytes:
        content = json.loads(request)
        try:
            return wire.encode({"result": self._do(content["method"], content["arguments"])})
        except Exception as error:
            return wire.failure(error)

    def _do(self, method: str, arguments: dict[str, Any]) -> Any:
        if method in ("greet", "take"):
            return None
        if method not in OPERATIONS:
            raise StorageFailed(f"the server does not know '{method}': it is of another version")
        found = wire.received(arguments)
        if method == "finish":
            found["lease"] = found.pop("owner")  # the key of the first version
        result = getattr(self._queue, method)(**found)
        match method:
            case "claim":
                return trial_id(result)
            case "resume":
                return result is not None
            case "counts":
                return {state.name: count for state, count in result.items()}
            case "grid_points_taken":
                return sorted(result)
            case "rename_study" | "amend":
                self._storage.forget()
        return result


class _ClientLock:
    """The lock between the clients of this server; it knows the name of the client that holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = threading.Semaphore(MAX_WAITING)
        self._holder = ""

    @contextmanager
    def held_by(self, client: str) -> Iterator[None]:
        if not self._waiting.acquire(blocking=False):
            raise WorkFailed(wire.BUSY)
        try:
            if not self._lock.acquire(timeout=LOCK_SECONDS):
                raise WorkFailed(
                    f"{self._holder} has held the storage for {LOCK_SECONDS:.0f} s; "
                    "end it if it hangs or is stopped, then start again"
                )
            try:
                self._holder = client
                yield
            finally:
                self._lock.release()
        finally:
            self._waiting.release()


def _process(context: grpc.ServicerContext) -> str:
    told = dict(context.invocation_metadata()).get(wire.PROCESS, "?")
    process, _, machine = str(told).partition("@")
    return f"process {process} on {machine}"
