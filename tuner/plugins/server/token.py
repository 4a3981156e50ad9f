"""The secret that a server of a storage may ask of its clients: read from a file, sent with every call.

It is compared on the server and never printed. The connection is not encrypted, so over a network that others
use it belongs into an ssh tunnel.
"""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.base.errors import InputError
from tuner.base.files import check_file

if TYPE_CHECKING:
    import grpc

VARIABLE = "TUNER_TOKEN_FILE"
KEY = "authorization"  # metadata of a call
SHORTEST, LARGEST = 16, 1 << 16  # characters


def read(path: str | Path) -> str:
    """The token in a file.

    Raises:
        InputError: the file is missing, others may read it, or the token is too short to be a secret.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        text = check_file(path, LARGEST).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: no token can be read there ({getattr(error, 'strerror', 'no text')})"
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(f"{path}: others can read the token; run: chmod 600 {path}")
    if len(text) < SHORTEST or not text.isprintable():
        raise InputError(f"{path}: expected {SHORTEST} characters or more; make one: openssl rand -hex 32")
    return text


def of_environment() -> str | None:
    """The client's token, in the file that $TUNER_TOKEN_FILE names."""
    path = os.environ.get(VARIABLE)
    return read(path) if path else None


def asked_of_clients(token: str) -> grpc.ServerInterceptor:
    """Refuses calls without the token."""
    import grpc

    wanted = f"Bearer {token}".encode()

    def refuse(_: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "the server asks for a token")

    class Asks(grpc.ServerInterceptor):
        def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
            given = dict(details.invocation_metadata).get(KEY, "")
            handler = continuation(details)
            if handler is None or hmac.compare_digest(str(given).encode(), wanted):
                return handler
            if handler.request_streaming:
                return grpc.stream_stream_rpc_method_handler(refuse)
            return grpc.unary_unary_rpc_method_handler(refuse)

    return Asks()


def sent_by(channel: grpc.Channel, token: str) -> grpc.Channel:
    """`channel`, which sends the token with every call."""
    import grpc

    class Sends(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            return continuation(_with(details, token), request)

        def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
            return continuation(_with(details, token), requests)

    return grpc.intercept_channel(channel, Sends())


def _with(details: Any, token: str) -> Any:
    metadata = [*(details.metadata or ()), (KEY, f"Bearer {token}")]
    return details._replace(metadata=metadata)
