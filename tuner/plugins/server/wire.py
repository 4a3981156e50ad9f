"""The messages between `remote` (client) and `serve` (server), in addition to Optuna's own.

One gRPC service with two methods; requests and answers are JSON. `Call` executes one method of `TrialQueue`.
`Hold` takes the storage's lock and keeps it while its stream is open; requests on the stream are executed
under the lock. If the client dies or the connection drops, the stream ends and the lock is released.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution

from tuner.base.errors import InputError, WorkFailed
from tuner.storage.outage import StorageFailed, StorageUnreachable, cause_of, is_storage_error, is_unreachable
from tuner.storage.queue import Amendment, Pending, Told

SERVICE = "gcode_tuner.Ledger"  # the first name of `TrialQueue`; running servers answer to it
CALL, HOLD = "Call", "Hold"
PROCESS = "tuner-process"  # metadata: PID@HOST of the client
BUSY = "busy"  # the error when too many clients wait for the lock: ask again

OPTIONS = [
    ("grpc.max_receive_message_length", -1),
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


def pack(pending: Pending) -> dict[str, Any]:
    return {
        "params": [[name, value, distribution_to_json(d)] for name, (value, d) in pending.params.items()],
        "user_attrs": pending.user_attrs,
        "system_attrs": pending.system_attrs,
        "reports": list(pending.reports.items()),
    }


def pack_amendment(amendment: Amendment) -> dict[str, Any]:
    return {**vars(amendment), "params": _packed(amendment.params)}


def unpack_amendment(content: Mapping[str, Any]) -> Amendment:
    return Amendment(**{**content, "params": _unpacked(content["params"])})


def pack_told(told: Told) -> dict[str, Any]:
    return {
        **vars(told),
        "values": list(told.values),
        "params": _packed(told.params),
        "reports": list(told.reports.items()),
    }


def unpack_told(content: Mapping[str, Any]) -> Told:
    reports = {int(step): float(value) for step, value in content["reports"]}
    return Told(**{**content, "params": _unpacked(content["params"]) or {}, "reports": reports})


def _packed(params: Mapping[str, tuple[float, BaseDistribution]] | None) -> list[list[Any]] | None:
    if params is None:
        return None
    return [[name, value, distribution_to_json(d)] for name, (value, d) in params.items()]


def _unpacked(content: list[list[Any]] | None) -> dict[str, tuple[float, BaseDistribution]] | None:
    if content is None:
        return None
    return {name: (value, json_to_distribution(text)) for name, value, text in content}


def unpack(content: Mapping[str, Any]) -> Pending:
    return Pending(
        {name: (value, json_to_distribution(text)) for name, value, text in content["params"]},
        dict(content["user_attrs"]),
        dict(content["system_attrs"]),
        {int(step): float(value) for step, value in content["reports"]},
    )
