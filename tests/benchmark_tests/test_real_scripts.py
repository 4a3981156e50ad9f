"""benchmarks/bench_real_scripts.py: scripts are named in full, the page follows from stored results."""

from __future__ import annotations

import json
import re
import struct

import bench_real_scripts as bench
import figures
import pytest
from real_scripts.compare import records
from real_scripts.stand_ins import HERE, HOOKS

SCRIPTS = bench.entries()


@pytest.mark.parametrize("entry", SCRIPTS, ids=lambda entry: entry["name"])
def test_a_script_is_named_with_all_that_its_run_needs(entry: bench.Entry) -> None:
    allowed = {"name", "uses", "repository", "commit", "license", "wheel", "folder", "copy", "files"}
    assert set(entry) <= allowed | {"stand_in", "make", "hook", "env", "command", "expect", "compare"}
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry["repository"])
    assert re.fullmatch(r"[0-9a-f]{40}", entry["commit"])
    assert entry["command"].split()[0] in ("study", "run")
    assert len(entry["expect"].keys() & {"trials", "says"}) == 1
    if entry.get("make") or "hook" in entry:
        assert entry["stand_in"]
    for wanted in entry.get("make", ()):
        assert (wanted if isinstance(wanted, str) else next(iter(wanted))) in HERE
    assert entry.get("hook", "keras") in HOOKS
    way = entry.get("compare", "wandb")
    assert (way if isinstance(way, str) else next(iter(way))) in bench.WAYS


def test_every_script_has_a_result_and_the_page_shows_it() -> None:
    results = json.loads(bench.RESULTS.read_text(encoding="utf-8"))
    assert list(results) == [entry["name"] for entry in SCRIPTS]
    assert len(results) >= 30
    shown = figures.load()
    for key, value in bench.tables(SCRIPTS, results).items():
        assert (shown[key].get("value") or shown[key]["lines"]) == value, (
            "bench_real_scripts.py --tables --write"
        )


def test_records_of_a_wandb_file_are_read_across_blocks() -> None:
    long = bytes(range(256)) * 200  # 51,200 bytes: the rest of a block, and a part of the next
    first, rest = long[: 32768 - 7 - 7], long[32768 - 7 - 7 :]
    parts = [(first, 2), (rest, 4), (b"short", 1)]
    data = b"head..." + b"".join(struct.pack("<IHB", 0, len(part), kind) + part for part, kind in parts)
    assert list(records(data)) == [long, b"short"]


def test_a_result_that_is_not_as_expected_is_said_to_be_so() -> None:
    entry = SCRIPTS[0]
    missed = {"ok": False, "seconds": 1, "trials": 0, "line": "error: a | b"}
    assert bench.outcome(entry, missed) == "**not as expected**: `error: a \\| b`"
    assert bench.tables([entry], {entry["name"]: missed})["real_scripts.as_expected"] == "0"
