"""What a report says of ensembles and decoders: from files alone, and in a sentence where they are absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import synthetic_campaign
from synthetic_runs import make_run

from ensemble import report as ensembles
from ensemble.report import Bundle
from inference import report as decoding
from model.tokens import Vocabulary
from model.workload import confusion, mistakes, samples
from tuner.show.report.blocks import Block, Table, Text
from tuner.show.report.charts import Chart, Matrix


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A made-up bundle with all that was measured of it."""
    found = tmp_path / "ensembles" / "made"
    synthetic_campaign.make_bundle(found)
    return found


def shown(folder: Path) -> list[Block]:
    content = json.loads((folder / "bundle.json").read_text())
    bundle = Bundle("made", content)
    return [*ensembles.blocks(bundle), *decoding.blocks(bundle, folder)]


def sentences(blocks: list[Block]) -> str:
    return " ".join(p for block in blocks if isinstance(block, Text) for p in block.paragraphs)


def test_everything_measured_of_a_bundle_is_shown(folder: Path) -> None:
    found = shown(folder)
    titles = {block.title for block in found if isinstance(block, Chart)}
    assert titles >= {"Weights a head", "Contributions", "Optimism of the members", "Calibration"}
    assert titles >= {"Reliability", "Gain of decoding", "Confusion"}
    tables = {block.headings[0] for block in found if isinstance(block, Table)}
    assert tables >= {"member", "inert parameter", "recordings", "true line"}
    assert "python -m" not in sentences(found)


@pytest.mark.parametrize(
    ("gone", "command"),
    [
        ("reliability.json", "tuner inference calibrate"),
        ("evaluations/made_up-test-joint.json", "tuner inference evaluate"),
    ],
)
def test_what_was_not_measured_names_the_command_that_does(folder: Path, gone: str, command: str) -> None:
    (folder / gone).unlink()
    assert command in sentences(shown(folder))


@pytest.mark.parametrize("content", ["{", "{}", '{"test": {"type": 3}}'])
def test_torn_files_are_a_sentence_and_no_trace(folder: Path, content: str) -> None:
    (folder / "reliability.json").write_text(content)
    (folder / "evaluations" / "made_up-test-joint.json").write_text(content)
    (folder.parent / "compare.json").write_text(content)
    assert "tuner inference calibrate" in sentences(shown(folder))
    assert "tuner ensemble compare" in sentences(ensembles.sizes(folder.parents[1]))


def test_sizes_show_accuracy_and_time(folder: Path) -> None:
    table, chart = ensembles.sizes(folder.parents[1])
    assert isinstance(table, Table) and [row[0] for row in table.rows] == [
        "1",
        "5",
        "5",
        "10",
        "10",
        "20",
        "20",
    ]
    assert isinstance(chart, Chart) and [plot.x for plot in chart.plots] == [  # type: ignore[union-attr]
        "members (K)", "members (K)", "ms a window",
    ]  # fmt: skip


def test_a_large_confusion_keeps_what_is_mistaken_and_every_count(folder: Path) -> None:
    names = [f"X{i}" for i in range(40)]
    pairs = [(name, name, 100) for name in names] + [("X7", "X31", 9), ("X8", "X9", 5)]
    matrix = confusion.confusion(pairs)
    assert isinstance(matrix, Matrix)
    assert {"X7", "X31", "X8", "X9"} <= set(matrix.rows) and list(matrix.rows) == sorted(
        matrix.rows, key=lambda name: int(name[1:])
    )
    assert sum(map(sum, matrix.counts)) == sum(n for true, _, n in pairs if true in matrix.rows)


def test_an_answer_outside_of_the_matrix_is_other() -> None:
    many = [(f"X{i}", f"X{i + 1}", 20 - i) for i in range(14)]
    matrix = confusion.confusion([*many, ("X0", "X99", 1)])
    assert matrix.columns[-1] == confusion.OTHER
    assert matrix.counts[0][-1] == 1


@pytest.mark.parametrize(
    ("true", "decoded", "said"),
    [
        ("G1 X1 Y2", "G1 X1.1 Y2", "X1 → X1.1"),
        ("X1 Y2", "G0 X1 Y2", "+ G0"),
        ("G1 X1 F10", "G1 X1", "− F10"),
    ],
)
def test_lines_say_where_they_differ(true: str, decoded: str, said: str) -> None:
    assert samples.differences(true, decoded) == said


def test_a_runs_answers_are_counted_where_each_head_applies(tmp_path: Path) -> None:
    run = make_run(tmp_path / "study" / "0", skill=20.0)  # a run that is always right
    heads = mistakes.answers(run, "test")
    assert set(heads) == {"commands", "parameter letters", "values"}
    assert all(pairs and all(true == guess for true, guess in pairs) for pairs in heads.values())
    assert {true for true, _ in heads["commands"]} == {"G0", "G1", "G2"}


def test_a_value_is_named_by_its_letter_and_number() -> None:
    vocabulary = Vocabulary.build({"G1 X1.575 Y2": 1}, digits=4)
    assert sorted(mistakes.value_words(vocabulary)) == ["X1.575", "Y2"]
