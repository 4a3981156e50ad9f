"""What goes between client and server arrives as it was, and an error as one that the client knows."""

import json

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from tuner.base.errors import InputError, WorkFailed
from tuner.plugins.server import wire
from tuner.storage.outage import StorageFailed, StorageUnreachable
from tuner.storage.trial_rows import Amendment, Pending, Told

PARAMS = {
    "lr": (0.1, FloatDistribution(0.001, 1.0, log=True)),
    "layers": (3.0, IntDistribution(1, 8)),
    "kind": (1.0, CategoricalDistribution(("a", None, True))),
}


def test_unwritten_values_arrive_as_they_were() -> None:
    pending = Pending(dict(PARAMS), {"a": [1, "b"]}, {"fixed_params": {"lr": 0.1}}, {1: 0.5, 20: -1.0})
    assert wire.unpack(Pending, json.loads(json.dumps(wire.pack(pending)))) == pending


@pytest.mark.parametrize("params", [dict(PARAMS), {}, None])
def test_an_amendment_arrives_as_it_was(params: dict[str, tuple[float, BaseDistribution]] | None) -> None:
    amendment = Amendment(7, params, {"outside": None}, {"x": 1}, withdrawn=True)
    assert wire.unpack(Amendment, json.loads(json.dumps(wire.pack(amendment)))) == amendment


def test_a_result_arrives_as_it_was() -> None:
    told = Told((0.25,), dict(PARAMS), {"a": [1]}, {"b": 2}, {1: 0.5})
    back = wire.unpack(Told, json.loads(json.dumps(wire.pack(told))))
    assert back == Told([0.25], dict(PARAMS), {"a": [1]}, {"b": 2}, {1: 0.5})


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (InputError("no such study"), InputError, "^no such study$"),
        (WorkFailed("it failed"), WorkFailed, "^it failed$"),
        (KeyError("trial 3"), KeyError, "trial 3"),
        (ZeroDivisionError("by zero"), StorageFailed, "on the server: ZeroDivisionError: by zero"),
        (StorageInternalError("disk full"), StorageFailed, "on the server: .*disk full"),
        (
            OperationalError("SELECT 1", {}, OSError("refused"), connection_invalidated=True),
            StorageUnreachable,
            "the server's database: refused",
        ),
    ],
)
def test_an_error_of_the_server_is_raised_by_the_client(
    error: Exception, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as raised:
        wire.result(wire.failure(error))
    assert "SELECT" not in str(raised.value)


def test_an_error_that_only_a_newer_server_knows() -> None:
    with pytest.raises(StorageFailed, match="new"):
        wire.result(wire.encode({"error": "FutureError", "message": "new"}))
