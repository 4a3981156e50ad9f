"""What a storage, executor or store says whose library is not installed: which to install, in one line."""

import sys

import pytest

from tuner.__main__ import main

STUDY = """\
method: random
metric: {name: score, goal: maximize}
parameters: {x: {min: 0.0, max: 1.0}}
tuner: {objective: "objective.py:train", max_epochs: 1}
"""


@pytest.mark.parametrize(
    ("package", "options", "extra"),
    [
        ("psycopg", ["--storage", "postgresql://me@127.0.0.1:1/studies"], "postgresql"),
        ("grpc", ["--storage", "grpc://127.0.0.1:1"], "grpc"),
        ("distributed", ["--executor", "dask", "--address", "tcp://127.0.0.1:1"], "dask"),
        ("ray", ["--executor", "ray", "--address", "127.0.0.1:1"], "ray"),
        ("boto3", ["--artifacts", "s3://bucket/studies"], "s3"),
    ],
)
def test_a_missing_package_is_named_with_how_to_get_it(
    package, options, extra, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(STUDY)
    (tmp_path / "objective.py").write_text("def train(config, report): return {'score': config['x']}\n")
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["study", "small.yaml", "--trials", "1", "--agents", "1", "--wandb", "off", *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ") and f"pip install 'optuna-sweeps[{extra}]'" in error[-1]
    assert not (tmp_path / "results" / "runs").exists()
