"""What a worker of a cluster runs first: an agent, or one line that says what the worker lacks."""

import asyncio
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tuner.plugins.pools import shim

ORDER = pickle.dumps({"study": "small"})
OTHER_VERSION = b"ctuner.run.agent.order\nno_longer_there\n."  # a pickle that names what this version lacks


class Module(ModuleType):
    def __init__(self, name: str, **content: Any) -> None:
        super().__init__(name)
        self.__dict__.update(content)


def test_a_dask_worker_serves_the_order_and_passes_words_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    served: list[Any] = []
    monkeypatch.setattr(
        "tuner.plugins.pools.hosted.serve_dask", lambda *order, **where: served.append((order, where))
    )
    monkeypatch.setattr("tuner.plugins.pools.hosted.tell_dask", lambda *word: served.append(word))
    shim.host_on_dask(ORDER, 1, "key", "topic")
    asyncio.run(shim.tell_on_dask("key", "stop"))
    assert served == [(({"study": "small"}, 1), {"key": "key", "topic": "topic"}), ("key", "stop")]


def test_a_dask_worker_of_another_version_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    said: list[Any] = []
    worker = Module("worker", log_event=lambda topic, event: said.append((topic, event)))
    monkeypatch.setattr(distributed, "get_worker", lambda: worker)
    shim.host_on_dask(OTHER_VERSION, 1, "key", "topic")
    messages = [pickle.loads(event["message"]) for _, event in said]
    assert [message["event"] for message in messages] == ["refused", "ended"]
    assert sys.executable in messages[0]["reason"]
    assert "no_longer_there" in messages[0]["reason"]


def test_a_ray_actor_passes_on_what_its_agent_says_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    class Hosted:
        def __init__(self, order: Any, index: int, *, threads: int) -> None:
            told.append((order, index, threads))

        def poll(self, seconds: float) -> list[dict[str, Any]]:
            return [{"event": "ready"}]

        def tell(self, word: str) -> None:
            told.append(word)

    monkeypatch.setattr("tuner.plugins.pools.hosted.Hosted", Hosted)
    actor = shim.RayAgent(ORDER, 2, 3, str(tmp_path))
    assert actor.poll(0.1) == [{"event": "ready"}]
    actor.tell("stop")
    assert told == [({"study": "small"}, 2, 3), "stop"]


def test_a_ray_actor_of_another_version_says_so(tmp_path: Path) -> None:
    actor = shim.RayAgent(OTHER_VERSION, 0, 1, str(tmp_path))
    actor.tell("stop")
    assert [message["event"] for message in actor.poll(0.0)] == ["refused", "ended"]


def test_the_users_folder_does_not_hide_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = str(Path(shim.__file__).parents[3])
    monkeypatch.setattr(sys, "path", [str(tmp_path), checkout])
    shim.RayAgent(OTHER_VERSION, 0, 1, checkout)
    shim.RayAgent(OTHER_VERSION, 0, 1, str(tmp_path))
    assert sys.path == [checkout]
