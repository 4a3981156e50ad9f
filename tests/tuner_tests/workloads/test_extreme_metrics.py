"""Numbers that nothing can hold, and values nested without end, cost a line and no trial."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tuner.base.command_line import settings
from tuner.base.errors import InputError, TrainingFailed
from tuner.workloads.function import as_metrics


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


# -- functions

DEEP: Any = 1
for _ in range(3000):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    ("returned", "metrics"),
    [
        ({"acc": 10**400}, {"acc": math.inf}),
        ({"acc": 1, "low": -(10**5000)}, {"acc": 1, "low": -math.inf}),
        ({"acc": 1, "count": 10**30}, {"acc": 1, "count": 1e30}),
        ({"acc": 1, "deep": DEEP, "thing": object(), "none": None, "list": [1]}, {"acc": 1}),
        ({"acc": 1, "a": {"b": 2, "c": {"d": "x"}}}, {"acc": 1, "a.b": 2, "a.c.d": "x"}),
        (10**400, {"acc": math.inf}),
    ],
)
def test_what_a_function_returns_is_made_plain(returned: Any, metrics: dict[str, Any]) -> None:
    assert as_metrics(returned, "acc") == metrics


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({"acc": "high"}, "metric 'acc': expected a number, got 'high'"),
        ({"acc": None}, "metric 'acc': expected a number, got NoneType"),
        ({"acc": [10**5000]}, "metric 'acc': expected a number, got list"),
        ({"acc": DEEP}, "metric 'acc': expected a number, got dict"),
        ([1, 2], "expected a dictionary of metrics or a number, got list"),
    ],
)
def test_a_metric_that_is_no_number_is_one_line(returned: Any, said: str) -> None:
    with pytest.raises(InputError) as raised:
        as_metrics(returned, "acc")

    assert str(raised.value) == said


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000, "[" * 5000 + "]" * 5000])
def test_a_setting_that_cannot_be_read_is_one_line(value: str) -> None:
    try:
        assert settings([f"x={value}"]) == {"x": value}  # a text
    except InputError as error:
        assert str(error) == "--set x: that value is too long or nested too deeply"
