"""`wandb.sweep` and `wandb.agent` in a script, without a server.

`tuner run train.py` runs a script

- once as it is. `wandb.sweep` and `wandb.agent` ask the tuner through a socket ($TUNER_SWEEPS): the sweep
  becomes a study, and the agent runs it;
- once a trial. The script runs until it comes to the agent of the trial's own sweep ($TUNER_SWEEP). There the
  function is called once, with the trial's values in `wandb.config`, and the script ends.

Only the standard library, and no syntax newer than Python 3.7: the script may run in another Python.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import socket
import sys
import threading

TYPE_CHECKING = False  # importing typing would cost every process of the script
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

SOCKET = os.environ.get("TUNER_SWEEPS", "")  # where the script that makes the sweeps asks
OWN = os.environ.get("TUNER_SWEEP", "")  # in a trial: the id of its sweep
CALL = os.environ.get("TUNER_SWEEP_CALL", "")  # in a trial: which call of `wandb.sweep` made it, from 1


class Driver:
    """In the script that makes the sweeps: each call is the tuner's to answer."""

    def __init__(self, ask: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.ask = ask

    def sweep(self, sweep: Any, entity: Any = None, project: Any = None, prior_runs: Any = None) -> str:
        config = sweep() if callable(sweep) else sweep
        answer = self.ask({"do": "sweep", "config": config, "entity": entity, "project": project})
        if "error" in answer:
            raise ValueError(answer["error"])
        sys.stdout.write(f"Create sweep with ID: {answer['id']}\n")
        return str(answer["id"])

    def agent(
        self,
        sweep_id: str,
        function: Callable[..., Any] | None = None,
        entity: Any = None,
        project: Any = None,
        count: int | None = None,
        **_: Any,
    ) -> None:
        sys.stdout.flush()
        answer = self.ask(
            {"do": "agent", "id": own_id(sweep_id), "count": count, "calls": function is not None}
        )
        if "error" in answer:
            raise ValueError(answer["error"])
        if answer.get("interrupted"):
            raise KeyboardInterrupt


class SweptTrial:
    """In a trial: its own sweep's agent calls its function once, others do nothing.

    Args:
        own: the id of the trial's sweep. call: which call of `wandb.sweep` makes it, from 1; 0: none does.
        tell: told what the function returned.
    """

    def __init__(self, own: str, call: int, tell: Callable[[Any], None]) -> None:
        self.own, self.call, self.tell = own, call, tell
        self.calls = 0

    def sweep(self, sweep: Any, entity: Any = None, project: Any = None, prior_runs: Any = None) -> str:
        self.calls += 1
        return self.own if self.calls == self.call else f"another-sweep-{self.calls}"

    def agent(self, sweep_id: str, function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> None:
        if own_id(sweep_id) != self.own or function is None:
            return
        returned = function(parameters()) if needs_config(function) else function()
        self.tell(returned)
        client = sys.modules.get("wandb")
        if client is not None:
            client.finish()
        raise SystemExit(0)  # what follows in the script is for after the sweep


def own_id(sweep_id: Any) -> str:
    """The id alone of `entity/project/id`."""
    return str(sweep_id).rpartition("/")[2]


def needs_config(function: Callable[..., Any]) -> bool:
    """Whether the function has a parameter without a default. W&B calls it with none."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in found)


def parameters() -> dict[str, Any]:
    """The trial's configuration."""
    path = os.path.join(os.environ["TUNER_RUN_FOLDER"], "config.json")  # noqa: PTH118
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        found: dict[str, Any] = json.load(file)
    return found


def over_socket(request: dict[str, Any]) -> dict[str, Any]:
    """Asks the tuner and waits for its answer. Ctrl-C meanwhile is for the tuner, which stops the study."""
    with socket.socket(socket.AF_UNIX) as connection, without_interrupts():
        connection.connect(SOCKET)
        connection.sendall(json.dumps(request, default=as_plain).encode() + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    if not line:
        raise KeyboardInterrupt  # the tuner has gone
    found: dict[str, Any] = json.loads(line)
    return found


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def as_plain(value: Any) -> Any:
    """A value of a sweep's configuration for JSON: arrays, ranges and sets are lists."""
    if callable(getattr(value, "tolist", None)):
        return value.tolist()
    try:
        return list(value)
    except TypeError:
        raise ValueError(f"wandb.sweep: expected plain values, got {value!r}") from None


class Stranger:
    """In a trial of a study file: a script that makes a sweep of its own would make one a trial."""

    def sweep(self, *_: Any, **__: Any) -> NoReturn:
        raise SystemExit(
            f"this script makes its own sweep (wandb.sweep): run it with: tuner run {sys.argv[0]}"
        )

    agent = sweep


_found: list[Driver | SweptTrial | Stranger] = []  # one for both functions


def patch(module: Any, events: Any) -> None:
    """Puts ours in the place of W&B's `sweep` or `agent`, where the script makes sweeps for the tuner."""
    from tuner_hook_events import guarded, plain  # type: ignore[import-not-found]  # it lies beside this file

    if not _found and OWN:
        tell = guarded(events, lambda value: events.write("returned", data=plain(value)))
        _found.append(SweptTrial(OWN, int(CALL or 0), tell))
    elif not _found and SOCKET:
        _found.append(Driver(over_socket))
    elif not _found and os.environ.get("TUNER_RUN_FOLDER"):
        _found.append(Stranger())
    for name in ("sweep", "agent"):
        if _found and hasattr(module, name):
            setattr(module, name, getattr(_found[0], name))


def in_this_process(ask: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """From here on `wandb.sweep` and `wandb.agent` of this process ask `ask`, and W&B needs no login."""
    os.environ.setdefault("WANDB_MODE", "offline")
    import wandb

    driver = Driver(ask)
    wandb.sweep, wandb.agent = driver.sweep, driver.agent  # type: ignore[assignment]
    wandb.login = lambda *_, **__: True
