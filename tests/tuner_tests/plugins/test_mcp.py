"""`tuner mcp`: a client of the official package starts it and calls its tools."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.base.errors import InputError
from tuner.plugins.mcp.tools import Tools
from tuner.storage.access import default_url

mcp = pytest.importorskip("mcp", reason="needs the package mcp: pip install 'optuna-sweeps[mcp]'")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study `small` of three trials."""
    folder = tmp_path_factory.mktemp("mcp")
    (folder / "objective.py").write_text("def train(config, report): return {'score': config['x']}\n")
    (folder / "small.yaml").write_text(
        "name: small\nmethod: random\nrun_cap: 3\nmetric: {name: score, goal: maximize}\n"
        "parameters: {x: {min: 0.0, max: 1.0}}\ntuner: {objective: 'objective.py:train', matters: 0.01}\n"
    )
    subprocess.run(
        [sys.executable, "-m", "tuner", "study", str(folder / "small.yaml"), "--agents", "1",
         "--wandb", "off", "--results", str(folder / "results")],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return folder


def talk(folder: Path, conversation: Callable[[Any], Awaitable[Any]]) -> Any:
    """Starts the server as an agent's program does, over stdio, and talks to it."""
    server = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "tuner", "mcp", "--results", str(folder / "results")],
        cwd=str(ROOT),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )

    async def meet() -> Any:
        async with mcp.Client(server) as client:
            return await conversation(client)

    return asyncio.run(meet())


def texts(result: Any) -> list[Any]:
    return [json.loads(block.text) for block in result.content]


def test_an_agent_lists_the_tools_and_asks_the_referee(folder: Path) -> None:
    async def conversation(client: Any) -> Any:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        best = await client.call_tool("best", {"study": "small", "top": 2})
        verdict = await client.call_tool("verdict", {"what": "small"})
        report = await client.call_tool("report", {})
        return tools, texts(best), texts(verdict), texts(report)

    tools, best, (verdict,), (report,) = talk(folder, conversation)
    assert tools == {"list", "status", "best", "verdict", "enqueue", "report",
                     "judge", "next_run", "leaderboard"}  # fmt: skip
    assert len(best) == 2 and best[0]["score"] >= best[1]["score"]
    assert verdict["verdict"] == "too few runs" and verdict["next_run"].startswith("tuner verify small")
    assert "small" in report["studies"]


@pytest.mark.slow
def test_an_agent_queues_a_trial_and_is_told_what_is_wrong(folder: Path) -> None:
    async def conversation(client: Any) -> Any:
        queued = await client.call_tool("enqueue", {"study": "small", "values": {"x": 0.25}})
        wrong = await client.call_tool("enqueue", {"study": "small", "values": {"y": 1}})
        status = await client.call_tool("status", {"study": "small"})
        return texts(queued), wrong, texts(status)

    (queued,), wrong, (status,) = talk(folder, conversation)
    assert queued["number"] == 3
    assert wrong.is_error and "no parameter 'y'" in wrong.content[0].text
    assert status["waiting"] == 1


def test_tools_return_what_json_can_hold(folder: Path) -> None:
    tools = Tools(default_url(folder / "results"), folder / "results")
    json.dumps([tools.studies(), tools.status(), tools.report(), tools.verdict("small")], allow_nan=False)


def test_a_loop_asks_whether_its_change_is_noise(tmp_path: Path) -> None:
    rows = [f"base,{loss}" for loss in (0.5, 0.52, 0.49, 0.51)] + ["worse,0.9", "maybe,0.47"]
    (tmp_path / "results.csv").write_text("\n".join(["commit,val_loss", *rows]))
    tools, source = Tools(default_url(tmp_path), tmp_path), str(tmp_path / "results.csv")
    assert tools.judge("worse", source)["word"] == "discard"
    assert tools.judge(source=str(tmp_path))["arm"] == "maybe"
    assert [len(group) for group in tools.leaderboard(source)["groups"]] == [2, 1]
    assert tools.next_run(source) == {"arm": "maybe", "seed": 1}
    with pytest.raises(InputError, match="expected minimize or maximize"):
        tools.judge("worse", source, goal="less")


HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("best", {"study": "x" * 2_000_000}, "no study named 'xxx"),
    ("best", {"study": "small", "top": 0}, "top: expected a whole number from 1, got 0"),
    ("best", {"study": "small", "top": "many"}, "valid integer"),
    ("verdict", {"what": "small/²"}, "expected STUDY or STUDY/NUMBER"),
    ("enqueue", {"study": "small", "values": {"x": 10**400}}, "expected 0 to 1, got 1000"),
    ("enqueue", {"study": "small", "values": {"x": "NaN"}}, "expected a number"),
]


@pytest.mark.slow
@pytest.mark.hostile("calls of the MCP server by its client")
def test_hostile_arguments_are_told_in_a_short_line(folder: Path) -> None:
    async def conversation(client: Any) -> Any:
        return [await client.call_tool(tool, arguments) for tool, arguments, _ in HOSTILE]

    for (tool, _, says), wrong in zip(HOSTILE, talk(folder, conversation), strict=True):
        assert wrong.is_error and says in wrong.content[0].text, tool
        assert len(wrong.content[0].text) < 700
