"""Numbers that nothing can hold, and values nested without end, cost a line and no trial."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tuner.base.errors import TrainingFailed


@pytest.mark.parametrize("way", ["print(json.dumps({data}))", "run.log({data})"])
def test_extreme_values_are_skipped_and_said(sandbox: Any, way: str) -> None:
    data = ["{'acc': 10**400}", "{'acc': 1, 'count': 10**30}", "{'acc': float('-inf')}", "{'deep': deep}"]
    sandbox.script(
        "import json, wandb\n"
        "deep = 1\n"
        "for _ in range(300):\n"
        "    deep = {'a': deep}\n"
        + ("run = wandb.init(mode='disabled')\n" if "run" in way else "")
        + "\n".join(way.replace("{data}", part) for part in data)
    )

    metrics = sandbox.run()

    assert metrics == {"acc": 1, "count": 1e30}
    assert [values["acc"] for _, values in sandbox.reported] == [1]
    assert sandbox.rows[0]["acc"] == math.inf
    assert "'acc' was logged as inf, which does not count" in sandbox.result["notes"]


def test_json_nested_too_deeply_to_be_read_is_said(sandbox: Any) -> None:
    sandbox.script("""
        print('{"a":' * 100_000 + "1" + "}" * 100_000)
        print('{"acc": ' + "9" * 5000 + "}")
        print('{"acc": 1}')
    """)

    assert sandbox.run() == {"acc": 1}
    assert "a line of metrics was nested too deeply to be read" in sandbox.result["notes"]


def test_a_metric_that_is_only_ever_infinite_is_one_line(sandbox: Any) -> None:
    sandbox.script("""print('{"acc": ' + "9" * 400 + "}")""")

    with pytest.raises(TrainingFailed, match="'acc' only as inf: no finite value"):
        sandbox.run()


def test_real_wandb_takes_what_the_script_logs_and_so_do_we(sandbox: Any) -> None:
    sandbox.script("""
        import wandb
        with wandb.init() as run:
            run.log({"acc": 1, "big": 10**400, "deep": {"a": {"b": {"c": 2}}}})
    """)

    assert sandbox.run() == {"acc": 1, "big": math.inf, "deep.a.b.c": 2}


def test_endless_output_is_cut_and_its_end_kept(sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.script("""
        for number in range(300):
            print("x" * 1_000_000)
        print('{"acc": 1}')
        raise SystemExit("the reason")
    """)

    with pytest.raises(TrainingFailed, match="the reason"):
        sandbox.run()

    assert (sandbox.run_folder / "output.log").stat().st_size < 270_000_000
    assert sandbox.result["metrics"] == {"acc": 1}
