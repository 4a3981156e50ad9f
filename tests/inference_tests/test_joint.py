"""Whole recordings: programs of train as the prior, windows as evidence, back-off to what windows say."""

from __future__ import annotations

import numpy as np
import pytest

from inference.joint import Evidence, JointOptions, Programs, smooth
from model.tokens import Vocabulary

WINDOW, STRIDE = 64, 16
PROGRAMS = {"face": ["G1 X1", "G1 X2"] * 6, "pocket": ["Y1", "Y2", "Y3", "Y4"] * 4}
ROWS = 24  # that each line lasts


def content(programs: dict[str, list[str]], *, copies: int = 2) -> dict:
    """A bundle's programs.json: each program `copies` times, the copies a little longer."""
    lines = sorted({line for program in programs.values() for line in program})
    return {
        "format": 1,
        "window": WINDOW,
        "lines": lines,
        "programs": [
            {
                "name": f"{operation}_{k}",
                "operation": operation,
                "runs": [[lines.index(line), ROWS] for line in program],
            }
            for operation, program in programs.items()
            for k in range(copies)
        ],
    }


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.build(
        dict.fromkeys([*PROGRAMS["face"], *PROGRAMS["pocket"], "Z1", "Z2", "Z3"], 1), digits=4
    )


@pytest.fixture
def programs(vocabulary: Vocabulary) -> Programs:
    return Programs.from_json(content(PROGRAMS), vocabulary)


def recording(program: list[str], wrong: dict[int, str] | None = None, *, sure: float = 0.8) -> tuple:
    """Evidence of a recording of `program`, and its true lines; windows in `wrong` say another line."""
    labels = np.repeat(program, ROWS)
    start = np.arange(0, len(labels), STRIDE)
    truth = [str(labels[s]) for s in start]
    said = [{(wrong or {}).get(k, line): sure} for k, line in enumerate(truth)]
    return Evidence(start=start, rows=len(labels) - 1 + WINDOW, lines=said), truth


def decoded(evidence: Evidence, programs: Programs, options: JointOptions | None = None) -> list[str]:
    return [next(iter(lines)) for lines in smooth(evidence, programs, options or JointOptions()).lines]


def test_the_program_corrects_windows_that_are_wrong(programs: Programs) -> None:
    evidence, truth = recording(PROGRAMS["face"], {3: "Y1", 4: "Y2", 9: "Y4"})
    assert decoded(evidence, programs) == truth


def test_the_operation_is_found_and_not_told(programs: Programs) -> None:
    for operation, program in PROGRAMS.items():
        evidence, _ = recording(program, {2: "Z1"})
        found = smooth(evidence, programs, JointOptions()).operations
        assert next(iter(found)) == operation
        assert sum(found.values()) == pytest.approx(1)


def test_probabilities_are_a_distribution(programs: Programs) -> None:
    evidence, _ = recording(PROGRAMS["pocket"], {1: "G1 X1"}, sure=1.0)
    for lines in smooth(evidence, programs, JointOptions()).lines:
        assert sum(lines.values()) == pytest.approx(1, abs=1e-3)
        assert list(lines.values()) == sorted(lines.values(), reverse=True)


def test_an_operation_left_out_of_training_decodes_as_its_windows_do(programs: Programs) -> None:
    unseen = ["Z1", "Z2", "Z3", "Z2", "Z1"] * 3  # lines and length that no train program has
    evidence, truth = recording(unseen, {2: "Z3"})
    own = [next(iter(lines)) for lines in evidence.lines]
    answer = smooth(evidence, programs, JointOptions())
    assert [next(iter(lines)) for lines in answer.lines] == own != truth
    assert answer.followed.max() < 0.5


def test_without_drops_an_operation(programs: Programs) -> None:
    left = programs.without("pocket")
    assert set(left.operation) == {"face"}
    assert left.length.sum() == len(left.line) < len(programs.line)
    evidence, truth = recording(PROGRAMS["pocket"])
    assert np.mean([a == b for a, b in zip(decoded(evidence, left), truth, strict=True)]) > 0.9


def test_a_recording_that_begins_late_and_ends_early_is_placed(programs: Programs) -> None:
    evidence, truth = recording(PROGRAMS["face"][3:9], {2: "Y1"})
    assert np.mean([a == b for a, b in zip(decoded(evidence, programs), truth, strict=True)]) > 0.8


def test_one_window_is_enough(programs: Programs) -> None:
    evidence = Evidence(start=np.array([0]), rows=WINDOW, lines=[{"Y1": 0.9}])
    assert decoded(evidence, programs) == ["Y1"]


def test_lines_that_share_a_coarse_bucket_are_told_apart_by_their_place() -> None:
    lines = ["X1.11", "X1.14", "X1.17"] * 4
    coarse = Vocabulary.build(dict.fromkeys(lines, 1), digits=2)
    programs = Programs.from_json(content({"a": lines}), coarse)
    labels = np.repeat(lines, ROWS)
    start = np.arange(0, len(labels), STRIDE)
    one = coarse.to_line(coarse.encode("X1.11"))
    evidence = Evidence(start=start, rows=len(labels) - 1 + WINDOW, lines=[{one: 0.9}] * len(start))
    assert decoded(evidence, programs) == [labels[s] for s in start]
