"""A trained bundle from recordings to lines, metrics, calibration, and errors that people can read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import inference
from ensemble.build import Options, build
from ensemble.bundle import Bundle
from ensemble.library import store
from inference.__main__ import main
from inference.evaluate import evaluate
from inference.live import RowStream, decode_rows, decode_stream
from inference.pipeline import Decoder
from inference.workbench import Workbench
from model.importing import import_recordings
from model.recordings import Recordings
from model.trainer import train
from tuner.base.errors import InputError

CONFIG = {"d_model": 16, "heads": 2, "encoder_layers": 1, "window": 16, "stride": 16, "batch_size": 32}
WHOLE = {
    "row_acc", "program_error_rate", "recording_operation_acc", "line_recall", "line_invented",
    "row_calibration_error", "uncertain_rate",
}  # fmt: skip
METRICS = {
    "type_acc", "command_acc", "param_type_acc", "param_value_acc", "overall_acc", "composite", "exact_acc",
    "operation_acc", "value_mae", "value_within_tol", "unknown_token_rate",
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, tiny_recordings: Recordings) -> Path:
    """A bundle of two short runs, copied to where there is neither data nor a study."""
    root = tmp_path_factory.mktemp("results")
    for seed in range(2):
        config = {**CONFIG, "epochs": 2, "seed": seed, "normalization": "global", "registration": False}
        run = root / "runs" / "tiny" / str(seed)
        train(config, lambda epoch, metrics: None, data=tiny_recordings.folder, run_folder=run)
    built = build(root, Options(k=2, rule="uniform", name="tiny"), created="now")
    store(built.folder, tiny_recordings)
    shutil.rmtree(root / "runs")
    return shutil.copytree(built.folder, tmp_path_factory.mktemp("elsewhere") / "tiny")


@pytest.fixture(scope="module")
def decoder(bundle: Path) -> Decoder:
    return inference.load(bundle)


@pytest.fixture
def file(tiny_csv: Path) -> Path:
    return sorted(tiny_csv.glob("*.csv.gz"))[0]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `tuner inference …`; returns status, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["inference", *map(str, arguments)])
        status = main()
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


def test_a_file_and_its_data_frame_decode_alike(decoder: Decoder, file: Path) -> None:
    one = decoder.decode(file).windows
    frame = pl.read_csv(gzip.decompress(file.read_bytes()), infer_schema_length=None)
    other = decoder.decode(frame).windows
    assert [w.line for w in one] == [w.line for w in other]
    for window in one:
        assert 0 < window.probability <= 1
        assert decoder.grammar.accepts([*decoder.vocabulary.encode(window.line), 2])
        assert [p for _, p in window.alternatives] == sorted(
            (p for _, p in window.alternatives), reverse=True
        )


def test_every_metric_has_its_name(decoder: Decoder, tiny_recordings: Recordings) -> None:
    alone = evaluate(decoder, tiny_recordings, which=[0, 5])
    joint = evaluate(decoder, tiny_recordings, which=[0, 5], joint=True)
    assert set(alone.metrics) >= METRICS
    assert alone.metrics["exact_acc"] == alone.right.mean()
    assert joint.metrics["exact_acc_window"] == alone.metrics["exact_acc"]
    assert joint.metrics["exact_acc"] == alone.metrics["exact_acc_joint"]
    assert set(alone.metrics) >= WHOLE
    assert alone.intervals["row_acc"].low is None, "two recordings have no interval"
    assert sum(alone.confusion.values()) == len(alone.right)
    assert sum(count for *_, count, _ in alone.errors) == (~alone.right).sum()


def test_evaluate_keeps_what_reports_show_beside_the_bundle(
    bundle: Path, tiny_recordings: Recordings, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    mine = shutil.copytree(bundle, tmp_path / "mine")
    arguments = ("evaluate", tiny_recordings.folder, "--bundle", mine, "--part", "test", "--json")
    status, out, _ = run(*arguments)
    assert status == 0
    (path,) = (mine / "evaluations").glob("*.json")
    kept = json.loads(path.read_text())
    metrics = kept["metrics"]
    assert json.loads(out)["exact_acc"] == metrics["exact_acc"]
    for head in ("command", "param_value"):  # of known tokens: what is unknown is never right
        pairs = kept["heads"][head]
        right = sum(n for true, guess, n in pairs if true == guess)
        assert right / sum(n for *_, n in pairs) >= metrics[f"{head}_acc"]
    wrong = (1 - metrics["exact_acc"]) * metrics["windows"]
    assert sum(error["windows"] for error in kept["errors"]) <= wrong + 0.5
    assert kept["ms_per_window"]["networks"] > 0
    assert kept["paths"] and all(len(p["points"]) == len(p["sure"]) for p in kept["paths"].values())
    path.unlink()
    assert run(*arguments, "--method", "beam", "--beam", 2)[0] == 0
    assert not list((mine / "evaluations").glob("*.json")), "another decoder than the bundle's own"


@pytest.mark.slow
def test_calibrate_keeps_the_reliability_curves(
    bundle: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    mine = shutil.copytree(bundle, tmp_path / "mine")
    assert run("calibrate", "--bundle", mine)[0] == 0
    curves = json.loads((mine / "reliability.json").read_text())
    before, after = (curves["test"]["type"][name] for name in ("before", "after"))
    assert before["accuracy"] and sum(before["size"]) == sum(after["size"])
    assert before["confidence"] == sorted(before["confidence"])


def test_rows_from_a_stream_decode_as_the_file_does(decoder: Decoder, file: Path) -> None:
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    streamed = list(decode_rows(decoder, csv.reader(lines)))
    whole = decoder.decode(file).windows
    assert [w.start for w in streamed] == [w.start for w in whole]
    assert [w.line for w in streamed] == [w.line for w in whole]


def test_a_stream_answers_before_it_ends_and_keeps_few_rows(decoder: Decoder, file: Path) -> None:
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    config = decoder.predictor.config
    read = 0

    def rows():
        nonlocal read
        for cells in csv.reader(lines):
            read += 1
            yield cells

    next(decode_rows(decoder, rows()))
    assert read == 1 + config.window + config.context_after < len(lines)


def test_a_bad_cell_in_a_stream_is_named(decoder: Decoder) -> None:
    channel = decoder.predictor.channels[0]
    with pytest.raises(InputError, match=f"row 2, column '{channel}'.*'oops'"):
        rows = io.StringIO("\n".join([",".join(decoder.predictor.channels), "1" + "," * 50, "oops"]))
        decode_stream(decoder, rows, io.StringIO(), format="table")


@pytest.mark.parametrize("cell", ["inf", "nan", "1e39", "3.4028235677973366e+38", "-1e300"])
def test_a_value_that_no_network_can_read_takes_the_last_one_before(cell: str) -> None:
    stream = RowStream(["a", "b"], ("a", "b"), prefixes=())
    for row in (["1.5", "2"], [cell, "3"], ["", "4"]):
        stream.add(row)
    assert stream.recording().signals.tolist() == [[1.5, 2], [1.5, 3], [1.5, 4]]
    assert np.isfinite(stream.moments(None).signals).all()


def test_another_machine_is_refused_and_missing_boards_are_named(decoder: Decoder, file: Path) -> None:
    frame = pl.read_csv(gzip.decompress(file.read_bytes()), infer_schema_length=None)
    with pytest.raises(InputError, match="none of the"):
        decoder.decode(frame.select(pl.col("gcode_string"), pl.lit(1.0).alias("other.Ax")))
    board = frame.drop([c for c in frame.columns if c.startswith("frame_r2.")])
    decoded = decoder.decode(board)
    assert "frame_r2" in decoded.notes[0]
    with pytest.raises(InputError, match="refuse"):
        decoder.decode(board, allow_missing=False)
    few = frame.select([c for c in frame.columns if c.startswith("frame_r2.A")])
    with pytest.raises(InputError, match="another machine"):
        decoder.decode(few)


def test_formats_of_windows(run, bundle: Path, file: Path) -> None:
    status, out, _ = run("decode", file, "--bundle", bundle, "--windows", "--format", "jsonl")
    windows = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert {"recording", "line", "probability", "tokens", "alternatives"} <= set(windows[0])
    status, program, _ = run("decode", file, "--bundle", bundle, "--windows", "--format", "gcode")
    merged = [w["line"] for k, w in enumerate(windows) if k == 0 or w["line"] != windows[k - 1]["line"]]
    assert program.splitlines() == merged
    status, table, _ = run("decode", file, "--bundle", bundle, "--windows")
    assert status == 0
    assert "probability" in table
    status, summary, _ = run("decode", file, "--bundle", bundle, "--windows", "--format", "summary")
    right = sum(w["line"] == w["truth"] for w in windows)
    assert (status, summary.count("\n")) == (0, 1)
    assert f" · {right} of {len(windows)} windows right" in summary


def test_evaluate_writes_one_object(run, bundle: Path, tiny_recordings: Recordings) -> None:
    status, out, _ = run("evaluate", tiny_recordings.folder, "--part", "test", "--bundle", bundle, "--json")
    assert status == 0
    assert set(json.loads(out)) >= METRICS


@pytest.mark.slow
def test_calibration_is_stored_and_lowers_the_likelihood(run, bundle: Path) -> None:
    status, out, _ = run("calibrate", "--bundle", bundle, "--json")
    found = json.loads(out)
    assert status == 0
    assert Bundle.load(bundle).temperatures == pytest.approx(found["temperatures"])
    assert all(margin >= -1e-6 for margin in found["margin"].values())
    assert (bundle / "reliability.png").is_file()


def test_a_part_is_one_of_the_data_set_that_the_networks_were_trained_on(
    run, bundle: Path, tiny_recordings: Recordings, tiny_csv: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(bundle, tmp_path / "tiny"))
    import_recordings(sorted(tiny_csv.glob("*.csv.gz"))[:4], tmp_path / "other")
    status, _, error = run("evaluate", tmp_path / "other", "--bundle", bundle, "--part", "test")
    assert status == 2 and "other: is not the data set that the networks were trained on" in error
    assert not [*(bundle / "evaluations").glob("other*")]
    assert run("evaluate", tmp_path / "other", "--bundle", bundle, "--beam", "1")[0] == 0


def test_nothing_is_chosen_on_recordings_that_networks_were_refitted_on(
    bundle: Path, tiny_recordings: Recordings, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(bundle, tmp_path / "tiny"))
    for path in bundle.rglob("config.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "fit_on": "all_but_test"}))
    Workbench(bundle, data=tiny_recordings.folder, part="test")
    with pytest.raises(InputError, match="were trained on `calibrate`, too"):
        Workbench(bundle, data=tiny_recordings.folder)


def test_a_workbench_asks_the_networks_once(bundle: Path, tiny_recordings: Recordings) -> None:
    from inference.options import DecodingOptions

    bench = Workbench(bundle, data=tiny_recordings.folder)
    assert bench.gain(DecodingOptions(method="beam", beam=1), DecodingOptions()).mean == 0
    tried = (DecodingOptions(method="beam", beam=5), DecodingOptions(method="sample+mbr"))
    first = [bench.lines(options) for options in tried]
    misses = bench.steps.misses
    bench._lines.clear()
    assert [bench.lines(options) for options in tried] == first
    assert bench.steps.misses == misses > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("decode", "nothing.csv"), "nothing.csv"),
        (("evaluate", "nothing"), "nothing"),
        (("decode", "nothing.csv", "--beam", "0"), "beam: expected a whole number from 1"),
    ],
)
def test_errors_are_one_line(run, bundle: Path, arguments: tuple[str, ...], message: str) -> None:
    status, _, error = run(*arguments, "--bundle", bundle)
    assert status == 2
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_bundle_that_is_not_there_is_named(run, tmp_path: Path) -> None:
    status, _, error = run("decode", "x.csv", "--bundle", "nobody", "--results", tmp_path)
    assert (status, "nobody" in error) == (2, True)
