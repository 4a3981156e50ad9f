"""The messages between `remote` (client) and `serve` (server), in addition to Optuna's own.

One gRPC service with two methods; requests and answers are JSON. `Call` executes one method of `SqlQueue`.
`Hold` takes the storage's lock and keeps it while its stream is open; requests on the stream are executed
under the lock. If the client dies or the connection drops, the stream ends and the lock is released.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import TrialState

from tuner.base.errors import InputError, WorkFailed
from tuner.storage.outage import StorageFailed, StorageUnreachable, cause_of, is_storage_error, is_unreachable
from tuner.storage.trial_rows import Amendment, Pending, Told

T = TypeVar("T")
SERVICE = "gcode_tuner.Ledger"  # the first name of the queue; running servers answer to it
CALL, HOLD = "Call", "Hold"
PROCESS = "tuner-process"  # metadata: PID@HOST of the client
BUSY = "busy"  # the error when too many clients wait for the lock: ask again

LARGEST = 1 << 26  # bytes of a message to the server
RECEIVES = "grpc.max_receive_message_length"
OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 15_000),  # a lost connection is noticed within half a minute
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),  # pings reach a server that was stopped or overloaded all at once
]  # of client and server

ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (InputError, WorkFailed, StorageFailed, StorageUnreachable, KeyError)
}


def encode(content: Any) -> bytes:
    return json.dumps(content).encode()


def request(method: str, arguments: Mapping[str, Any]) -> bytes:
    return encode({"method": method, "arguments": arguments})


def failure(error: Exception) -> bytes:
    """The answer for an error. The client raises one of ERRORS: StorageFailed for all other types."""
    if is_unreachable(error):
        return encode({"error": "StorageUnreachable", "message": f"the server's database: {cause_of(error)}"})
    if type(error).__name__ in ERRORS:
        return encode({"error": type(error).__name__, "message": str(error)})
    told = cause_of(error) if is_storage_error(error) else f"{type(error).__name__}: {error}"
    return encode({"error": "StorageFailed", "message": f"on the server: {told}"})


def result(reply: bytes) -> Any:
    """The result in an answer; raises the error that the server sent."""
    content = json.loads(reply)
    if "error" in content:
        raise ERRORS.get(content["error"], StorageFailed)(content["message"])
    return content["result"]


def pack(change: Pending | Amendment | Told) -> dict[str, Any]:
    content = dict(vars(change))
    if content["params"] is not None:
        content["params"] = [
            [name, value, distribution_to_json(d)] for name, (value, d) in content["params"].items()
        ]
    if "reports" in content:
        content["reports"] = list(content["reports"].items())
    return content


def unpack(kind: Callable[..., T], content: Mapping[str, Any]) -> T:
    found = dict(content)
    if found["params"] is not None:
        found["params"] = {name: (value, json_to_distribution(text)) for name, value, text in found["params"]}
    if "reports" in found:
        found["reports"] = {int(step): float(value) for step, value in found["reports"]}
    return kind(**found)


def sent(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an operation of the queue, to be sent."""
    return {name: SENT[name](value) if name in SENT else value for name, value in arguments.items()}


def received(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that `sent` was given."""
    return {name: RECEIVED[name](value) if name in RECEIVED else value for name, value in arguments.items()}


SENT: dict[str, Callable[[Any], Any]] = {  # by the argument's name
    "pending": pack,
    "amendments": lambda found: [pack(amendment) for amendment in found],
    "trials": lambda found: [pack(told) for told in found],
    "state": lambda state: state.name,
    "values": list,
}
RECEIVED: dict[str, Callable[[Any], Any]] = {
    "pending": lambda content: unpack(Pending, content),
    "amendments": lambda found: [unpack(Amendment, content) for content in found],
    "trials": lambda found: [unpack(Told, content) for content in found],
    "state": lambda name: TrialState[name],
}
