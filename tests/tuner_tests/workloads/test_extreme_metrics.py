"""Numbers that nothing can hold, and values nested without end, cost a line and no trial."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from tuner.base import run_folder
from tuner.base.command_line import settings
from tuner.base.errors import InputError, TrainingFailed
from tuner.base.files import read_json
from tuner.base.words import printable
from tuner.workloads.function import as_metrics
from tuner.workloads.masking import Mask


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
    assert "'acc' was logged as inf, which is not used" in sandbox.result["notes"]


def test_json_nested_too_deeply_to_be_read_is_said(sandbox: Any) -> None:
    sandbox.script("""
        print('{"a":' * 100_000 + "1" + "}" * 100_000)
        print('{"acc": ' + "9" * 5000 + "}")
        print('{"acc": 1}')
    """)

    assert sandbox.run() == {"acc": 1}
    assert "a line of metrics was nested too deeply and was not read" in sandbox.result["notes"]


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


@pytest.mark.slow
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


# -- output


HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J\x1b]8;;http://evil.example\x07link\x1b]8;;\x07\x07\u202e end"
)


def test_what_a_terminal_would_act_on_is_taken_out() -> None:
    assert printable(f"one\t{HOSTILE}\ntwo\r\x9b2Jthree\x1b") == "one\tred link end\ntwothree"
    assert printable("x" * 3_000_000, longest=10) == "xxxxxxxxxx… (3,000,000 characters)"


def test_a_script_s_last_words_reach_no_terminal_as_commands(sandbox: Any) -> None:
    sandbox.script(f"import sys\nsys.exit({HOSTILE!r} + 'y' * 3000)")

    with pytest.raises(TrainingFailed) as raised:
        sandbox.run()

    assert "red link end" in str(raised.value)
    assert "\x1b" not in str(raised.value) and "\x1b" not in sandbox.result["error"]


def test_lines_of_megabytes_take_no_time() -> None:
    """With an address somewhere in them: the mask looks for its password."""
    line = b"y" * 5_000_000 + b" postgres://me:secret@db " + b"&y" * 1_000_000

    assert b"postgres://me:***@db" in Mask({}).data(line)


def test_metrics_without_end_are_thinned_out(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "METRICS_LIMIT", 2000)
    with run_folder.RunFolder(tmp_path / "7") as folder:
        for epoch in range(1000):
            folder.log(epoch, {"acc": epoch})
        folder.finish({"state": "complete"})

    rows = run_folder.read_metrics(tmp_path / "7" / "metrics.jsonl")
    steps = {after["epoch"] - before["epoch"] for before, after in pairwise(rows)}
    assert (tmp_path / "7" / "metrics.jsonl").stat().st_size <= 2000
    assert len(rows) > 20 and len(steps) == 1
    assert f"one line of {steps.pop()}" in read_json(tmp_path / "7" / "result.json")["notes"][0]
