"""`tuner model`: what a user types, what comes back, and with which exit status."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from model.__main__ import main
from model.data_commands import chosen_data
from model.recordings import Recordings
from model.train_command import new_folder
from tuner.base.run_folder import RESULT


def test_import_writes_a_data_set_and_says_what_it_found(tiny_csv, tmp_path, capsys):
    assert main(["import", str(tiny_csv), "--to", str(tmp_path / "mill")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("12 recordings of 3 operations")
    assert "next: tuner study loss_weighting --data" in out
    assert len(Recordings.load(tmp_path / "mill").recordings) == 12


def test_import_reports_in_json(tiny_csv, tmp_path, capsys):
    assert main(["import", str(tiny_csv), "--to", str(tmp_path / "mill"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["rows"] == sum(r["rows"] for r in content["recordings"])


def test_an_input_error_is_one_line_on_stderr_and_exit_2(tmp_path, capsys):
    assert main(["import", str(tmp_path / "gone")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"error: {tmp_path / 'gone'}: no such file or folder\n"


def test_synthesize_writes_a_data_set_or_csv_files(tmp_path, capsys):
    few = ["--recordings", "1", "--operations", "face", "--scale", "0.3"]
    assert main(["synthesize", "--to", str(tmp_path / "sim"), *few]) == 0
    assert "1 simulated recordings of 1 operations" in capsys.readouterr().out
    assert main(["synthesize", "--csv", str(tmp_path / "csv"), *few]) == 0
    assert [path.name for path in (tmp_path / "csv").iterdir()] == ["face_001_aligned.csv.gz"]


@pytest.mark.slow
def test_train_keeps_a_run_and_prints_its_metrics(tiny_recordings, tmp_path, capsys):
    small = ["--set", "epochs=1", "--set", "d_model=16", "--set", "heads=4", "--set", "batch_size=128"]
    arguments = ["train", "--data", str(tiny_recordings.folder), "--results", str(tmp_path), *small]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "val/overall_acc" in captured.out and "test/exact_acc" in captured.out
    assert "test/unknown_token_rate" in captured.out
    assert "epoch 1/1: loss" in captured.err
    assert (tmp_path / "runs" / "single" / "0" / "result.json").is_file()
    assert main([*arguments, "--json", "--seed", "3"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["seed"] == 3 and content["run"].endswith("single/1")


def test_train_takes_an_exported_configuration_and_set_goes_over_it(tiny_recordings, tmp_path, capsys):
    config = tmp_path / "winner.yaml"
    config.write_text(
        "# winner\nepochs: 2\nd_model: 16\nheads: 4\nbatch_size: 128\nvocab_bucket_digits: null\n"
    )
    arguments = ["train", "--data", str(tiny_recordings.folder), "--results", str(tmp_path), "--json"]
    assert main([*arguments, "--config", str(config), "--set", "epochs=1", "--seed", "5"]) == 0
    kept = json.loads((tmp_path / "runs" / "single" / "0" / "config.json").read_text())
    assert (kept["epochs"], kept["d_model"], kept["seed"], kept["vocab_bucket_digits"]) == (1, 16, 5, None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("epochs: [1", "not YAML"),
        ("- epochs", "expected keys and values"),
        ("epoch: 1", "did you mean 'epochs'"),
        (None, "No such file"),
    ],
)
def test_a_bad_configuration_file_is_one_line(text, complaint, tmp_path, capsys):
    config = tmp_path / "winner.yaml"
    if text is not None:
        config.write_text(text)
    assert main(["train", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert complaint in error and error.count("\n") == 1


def test_without_a_data_set_a_line_says_that_the_simulator_is_used(
    tiny_recordings, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_recordings.folder, tmp_path / "data" / "simulator")
    assert chosen_data(None).kind == "simulator"
    assert capsys.readouterr().err == "no recordings imported: using the simulator's (data/simulator)\n"
    assert chosen_data(tmp_path / "data" / "simulator").kind == "simulator"
    assert capsys.readouterr().err == ""


def test_train_names_an_unknown_key(capsys):
    assert main(["train", "--set", "epoch=1"]) == 2
    assert "did you mean 'epochs'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["import", "synthesize", "baseline", "train"])
def test_every_subcommand_has_a_help_page_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "-h"])
    assert stopped.value.code == 0
    examples = re.split("examples?:", capsys.readouterr().out)[1]
    assert f"tuner model {command}" in examples


def test_help_answers_without_loading_anything_heavy():
    code = "import sys, model.__main__ as m; m.build_parser(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "polars", "numpy", "sklearn", "rich"} & set(loaded)


def test_runs_that_start_at_once_have_folders_of_their_own(tmp_path):
    with new_folder(tmp_path) as first, new_folder(tmp_path) as second:
        (first / RESULT).write_text("{}")
    assert (first.name, second.name) == ("0", "1")
    assert [path.name for path in first.parent.iterdir()] == ["0"]  # nothing came of the second
    with new_folder(tmp_path) as third:
        assert third.name == "1"
