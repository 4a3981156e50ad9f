"""benchmarks/bench_real_scripts.py: scripts are named in full, the page follows from stored results."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from pathlib import Path

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


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bench.Entry:
    """An entry of a repository with two commits, the first of which is asked for; git takes a bare one of
    this machine for GitHub."""
    for name, value in {"AUTHOR": "a", "COMMITTER": "a"}.items():
        monkeypatch.setenv(f"GIT_{name}_NAME", value)
        monkeypatch.setenv(f"GIT_{name}_EMAIL", f"{value}@b.c")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    bare = tmp_path / "served" / "owner" / "name"
    (tmp_path / "gitconfig").write_text(
        f'[url "file://{tmp_path}/served/"]\n insteadOf = https://github.com/\n'
    )

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(tmp_path / "theirs"), *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    (tmp_path / "theirs").mkdir()
    git("init", "-q")
    (tmp_path / "theirs" / "LICENSE").write_text(
        "MIT License\n\nPermission is hereby granted, free of charge\n"
    )
    commits = []
    for text in ("first", "second"):
        (tmp_path / "theirs" / "train.py").write_text(text)
        git("add", ".")
        git("commit", "-q", "-m", text)
        commits.append(git("rev-parse", "HEAD"))
    git("clone", "-q", "--bare", ".", str(bare))
    return {"name": "x", "repository": "owner/name", "commit": commits[0], "license": "MIT"}


def test_a_repository_is_fetched_at_its_commit_once(published: bench.Entry, tmp_path: Path) -> None:
    folder = bench.repository(published, tmp_path / "clones")
    assert folder == tmp_path / "clones" / "owner+name"
    assert (folder / "train.py").read_text() == "first"
    (tmp_path / "served").rename(tmp_path / "away")
    assert bench.repository(published, tmp_path / "clones") == folder


def test_a_fetch_that_was_cut_off_is_made_again(published: bench.Entry, tmp_path: Path) -> None:
    folder = bench.repository(published, tmp_path / "clones")
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/none\n")
    (folder / "train.py").write_text("half")
    assert (bench.repository(published, tmp_path / "clones") / "train.py").read_text() == "first"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("commit", "0" * 40, "git fetch of https://github.com/owner/name at 0000000000: "),
        ("repository", "owner/gone", "git fetch of https://github.com/owner/gone at "),
        ("license", "Apache-2.0", "owner/name: license MIT, in scripts.yaml Apache-2.0"),
        ("wheel", "no_such_package", "the package no_such_package is not installed"),
    ],
)
def test_what_cannot_be_fetched_is_said(
    published: bench.Entry, tmp_path: Path, key: str, value: str, told: str
) -> None:
    with pytest.raises(RuntimeError, match=re.escape(told)):
        bench.repository(published | {key: value}, tmp_path / "clones")


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
