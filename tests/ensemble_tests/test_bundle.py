"""bundle.json: what it must hold, updates, and files that are no bundle."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ensemble.bundle import WEIGHTED, Bundle, Member, find_bundle
from tuner.base.errors import InputError


@pytest.fixture
def bundle() -> Bundle:
    member = Member("members/0", "loss", 3, "runs/loss/3", {"name": "val/x", "value": 0.5}, True, 10, None, 1)
    return Bundle(
        name="b",
        track="recordings",
        data_hash="d",
        split_hash="s",
        vocabulary_digits=4,
        members=(member, replace(member, path="members/1", number=4)),
        weights=dict.fromkeys(WEIGHTED, (0.25, 0.75)),
    )


def test_a_bundle_survives_the_disk(bundle: Bundle, tmp_path: Path) -> None:
    bundle.save(tmp_path)
    assert Bundle.load(tmp_path).to_json() == bundle.to_json()
    assert Bundle.load(tmp_path).members == bundle.members


def test_a_bundle_of_before_there_was_a_library_is_read(bundle: Bundle) -> None:
    assert Bundle.from_json({**bundle.to_json(), "line_order": "programs.json"}) == bundle


def test_updates_keep_what_they_do_not_name(bundle: Bundle) -> None:
    changed = bundle.with_temperatures({"type": 1.5}, chosen_by={"part": "calibrate"}).with_decoding(
        {"method": "beam", "beam": 5}, chosen_by={"gain": 0.01}
    )
    assert changed.temperatures == {"type": 1.5, "command": 1.0, "param_type": 1.0, "param_value": 1.0}
    assert changed.decoding["beam"] == 5 and changed.decoding["temperatures"]["type"] == 1.0
    assert set(changed.chosen_by) == {"temperatures", "decoding"}
    assert changed.with_decoding({"beam": 3}, chosen_by={}).decoding["method"] == "beam"
    assert bundle.temperatures["type"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": ()}, "at least one member"),
        ({"weights": dict.fromkeys(WEIGHTED, (1.0,))}, "expected 2 weights for type, got 1"),
        ({"weights": dict.fromkeys(WEIGHTED, (0.7, 0.7))}, "not a distribution"),
        ({"pooling": "mean"}, "mixture, log_linear"),
        ({"temperatures": {"type": 0.0}}, "temperature above 0 for type"),
        ({"decoding": {"method": "magic"}}, "greedy, beam, sample"),
    ],
)
def test_a_wrong_bundle_says_what_is_wrong(bundle: Bundle, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(bundle, **change)  # type: ignore[arg-type]


def test_a_file_that_is_no_bundle_is_an_error(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such bundle"):
        Bundle.load(tmp_path / "absent")
    (tmp_path / "bundle.json").write_text("[]")
    with pytest.raises(InputError, match="format 1"):
        Bundle.load(tmp_path)
    (tmp_path / "bundle.json").write_text('{"format": 1, "members": [], "weights": {}}')
    with pytest.raises(InputError, match="not a bundle"):
        Bundle.load(tmp_path)


def test_the_newest_bundle_is_found_without_a_name(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="build one"):
        find_bundle(tmp_path)
    for name in ("old", "new", ".half.partial-1"):
        folder = tmp_path / "ensembles" / name
        folder.mkdir(parents=True)
        bundle.save(folder)
    os.utime(tmp_path / "ensembles" / "old" / "bundle.json", (4e9, 4e9))
    assert find_bundle(tmp_path).name == "old"
    assert find_bundle(tmp_path, "new").name == "new"
    assert find_bundle(tmp_path, str(tmp_path / "ensembles" / "new")).name == "new"
    with pytest.raises(InputError, match="did you mean 'new'"):
        find_bundle(tmp_path, "nwe")
