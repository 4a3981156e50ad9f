"""Files that are broken or meant to do harm: one clear line, the right exit status, nothing written outside.

Each case makes an input and names the command that reads it. Commands run in this process: an exception that
nobody turned into a line fails the test with its trace.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import sqlite3
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial
from safetensors.numpy import load_file, save_file

from ensemble.__main__ import main as ensemble_main
from ensemble.build import Options, build
from inference.__main__ import main as inference_main
from model import train
from model.__main__ import main as model_main
from model.recordings import Recordings
from model.tokens import HEADS
from tuner.__main__ import main as tuner_main
from tuner.storage import study_store
from tuner.storage.access import default_url, open_records
from tuner.storage.attributes import FILE, ORIGIN, PATH, TOTAL
from tuner.storage.records import Records

CONFIG = {"d_model": 16, "heads": 2, "window": 16, "stride": 16, "batch_size": 32, "epochs": 1}
BESIDE_A_DATABASE = ("studies.db-", "studies.db.lock")  # SQLite's own files, and the lock of whoever opens it
PROGRESS = ("recordings read", "window statistics", "most frequent line")  # said of what takes seconds
HARM = "harm-was-done"  # the file that an input tries to make


@dataclass(frozen=True)
class Case:
    """An input (made by `make` at the path it is given) and what is said of it.

    Attributes:
        says: must be in the line on stderr, beside the file's name.
        status: 2 where the input is wrong, 1 where the work failed.
    """

    make: Callable[[Path], None]
    says: str
    status: int = 2


def run(room: str, *arguments: object) -> int:
    """The exit status of `python -m <room> <arguments>`."""
    texts = [str(argument) for argument in arguments]
    if room == "tuner":
        return tuner_main(texts)
    if room == "model":
        return model_main(texts)
    before, sys.argv = sys.argv, [room, *texts]
    try:
        return ensemble_main() if room == "ensemble" else inference_main()
    finally:
        sys.argv = before


class Judge:
    """Runs a command on a hostile input and looks at what came of it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def refuses(self, case: Case, name: str, room: str, *arguments: object) -> None:
        """One line that names the file, the exit status, and no file that was not there."""
        before = {path for path in self.folder.rglob("*") if path.is_file()}
        self._capsys.readouterr()
        status = run(room, *arguments)
        error = self._capsys.readouterr().err
        *progress, line = error.splitlines()
        assert line.startswith("error: ") and len(line) < 2500, error
        assert all(any(word in line for word in PROGRESS) for line in progress), error
        assert name in error, error
        assert case.says in error, error
        assert status == case.status, error
        left = {path for path in self.folder.rglob("*") if path.is_file()} - before
        assert [path for path in left if not path.name.startswith(BESIDE_A_DATABASE)] == []


@pytest.fixture
def judge(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Judge:
    monkeypatch.chdir(tmp_path)
    return Judge(tmp_path, capsys)


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content, encoding="utf-8") and None


def raw(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


# -- study files


def study(parameters: str = "x: {min: 0.0, max: 1.0}", *, head: str = "", own: str = "") -> str:
    return (
        f"method: random\nmetric: {{name: score}}\n{head}\nparameters:\n  {parameters}\n"
        f"tuner: {{objective: 'objective.py:train'{own}}}\n"
    )


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(lines) + "\n"


STUDY_FILES: dict[str, Case] = {
    "alias bomb": Case(text(study(head=bomb())), "aliases"),
    "alias of itself": Case(text(study("x: &x {values: [*x]}")), "itself"),
    "python object": Case(
        text(study(f"x: {{value: !!python/object/apply:os.system ['touch {HARM}']}}")), "tag"
    ),
    "python name": Case(text(study("x: !!python/name:os.system {value: 1}")), "tag"),
    "binary tag": Case(text(study("x: {value: !!binary aGFybQ==}")), "tag"),
    "deep nesting": Case(text(study("x: {values: " + "[" * 5000 + "]" * 5000 + "}")), "nested"),
    "deep mapping": Case(text(study("x: " + "{a: " * 3000 + "1" + "}" * 3000)), "nested"),
    "huge int bound": Case(text(study(f"x: {{min: 0, max: {10**400}}}")), "'parameters.x.max'"),
    "huge run_cap": Case(text(study(head=f"run_cap: {10**400}")), "run_cap"),
    "int of 5000 digits": Case(text(study(f"x: {{value: {'9' * 5000}}}")), "digits"),
    "duplicate key": Case(text(study(head="method: grid")), "duplicate key"),
    "duplicate parameter": Case(text(study("x: {min: 0, max: 1}\n  x: {value: 3}")), "duplicate key"),
    "not UTF-8": Case(raw(b"method: random\nname: \xff\xfe\n"), "not a text file"),
    "null bytes": Case(raw(b"method: random\0\0\n"), "not YAML"),
    "a folder": Case(lambda path: path.mkdir(), "folder"),
    "empty": Case(text(""), "expected a mapping"),
    "a list": Case(text("- 1\n- 2\n"), "expected a mapping"),
    "two documents": Case(text(study() + "---\n" + study()), "not YAML"),
    "NaN bound": Case(text(study("x: {min: .nan, max: 1.0}")), "expected a finite number"),
    "infinite bound": Case(text(study("x: {min: 0.0, max: .inf}")), "expected a finite number"),
    "bounds too far apart": Case(text(study("x: {min: -1.7e308, max: 1.7e308}")), "narrower range"),
    "steps that overflow": Case(
        text(study("x: {distribution: q_uniform, min: 0, max: 1e300, q: 1e-300}")), "narrower range"
    ),
    "tail that overflows": Case(
        text(study("x: {distribution: log_normal, mu: 700, sigma: 90}")), "narrower range"
    ),
    "NUL in a text": Case(text(study(head='description: "a\\0b"')), "byte of zero"),
    "the 45th of May": Case(text(study("x: {value: 2020-05-45}")), "a date that is none"),
    "NaN sigma": Case(text(study("x: {distribution: normal, mu: 0, sigma: .nan}")), "finite"),
    "NaN probability": Case(
        text(study("x: {values: [1, 2], probabilities: [.nan, 1]}")), "parameters.x.probabilities"
    ),
    "parameter of an escape": Case(text(study('"x\\e[2J": {value: 1}')), "printable characters"),
    "endless parameter": Case(text(study(f"? {'x' * 600}\n  : {{value: 1}}")), "printable characters"),
    "number as a key": Case(text(study("7: {value: 1}")), "expected a word as a key"),
    "code in requires": Case(
        text(study(own=f""", requires: ["__import__('os').system('touch {HARM}')"]""")), "requires"
    ),
    "code in when": Case(text(study(own=", when: {x: '().__class__'}")), "when.x"),
    "endless expression": Case(text(study(own=f", requires: ['{'(' * 3000}x{')' * 3000}']")), "requires"),
    "objective that leaves the folder": Case(
        text(study().replace("objective.py:train", "../../../etc/passwd:train")), "objective"
    ),
}


@pytest.mark.hostile("study files")
@pytest.mark.parametrize("name", STUDY_FILES)
def test_study_files(name: str, judge: Judge) -> None:
    case, path = STUDY_FILES[name], judge.folder / "hostile.yaml"
    case.make(path)
    judge.refuses(case, "hostile.yaml", "tuner", "study", path, "--dry-run")


@pytest.mark.hostile("names")
@pytest.mark.slow
def test_a_parameter_may_have_any_name(judge: Judge) -> None:
    names = ["++trainer.x", "../../outside", "<script>alert(1)</script>", "a&b", "x;y"]
    (judge.folder / "objective.py").write_text(
        "def train(config):\n    return float(config['++trainer.x'])\n"
    )
    path, report = judge.folder / "hostile.yaml", judge.folder / "report.html"
    path.write_text(study("\n  ".join(f"{json.dumps(name)}: {{values: [1, 2]}}" for name in names)))
    places = ("--results", judge.folder / "made")
    assert run("tuner", "study", path, "--trials", 4, "--agents", 1, *places) == 0
    assert run("tuner", "report", "hostile", "--output", report, *places) == 0
    assert "++trainer.x" in report.read_text() and "<script>alert" not in report.read_text()
    assert not (judge.folder.parent / "outside").exists()


@pytest.mark.hostile("names")
@pytest.mark.parametrize("name", ["../../outside", "<script>alert(1)</script>", "/etc/cron.d/x", "a" * 300])
def test_a_study_keeps_to_its_folder_whatever_its_name(name: str, judge: Judge) -> None:
    from tuner.definition.loading import load_study_file

    path = judge.folder / "named.yaml"
    path.write_text(study(head=f"name: {json.dumps(name)}"))
    safe = load_study_file(path).name
    assert Path(safe).name == safe and "<" not in safe and len(safe) <= 100


# -- recordings

HEADER = "frame_r2.Ax,frame_r2.Ay,gcode_string\n"


def zipped(content: bytes, *, keep: float = 1.0) -> Callable[[Path], None]:
    packed = gzip.compress(content, compresslevel=1)
    return raw(packed[: int(len(packed) * keep)])


def gzip_bomb(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(HEADER.encode())
        for _ in range(66):
            file.write(bytes(2**20))


RECORDINGS: dict[str, Case] = {
    "binary.csv": Case(raw(bytes(range(256)) * 40), "not a"),
    "zeros.csv": Case(raw(bytes(10_000)), "not a"),
    "bomb.csv.gz": Case(gzip_bomb, "times its size"),
    "cut.csv.gz": Case(zipped((HEADER + "1,2,G1 X1\n" * 500).encode(), keep=0.6), "cut off"),
    "not_gzip.csv.gz": Case(text(HEADER + "1,2,G1 X1\n"), "not a readable .gz file"),
    "no_header.csv": Case(text("1,2,G1 X1\n3,4,G1 X2\n"), "the first row holds numbers"),
    "no_names.csv": Case(text("a,b,gcode_string\n1,2,G1 X1\n"), "no sensor column"),
    "semicolons.csv": Case(text("a.Ax;a.Ay\n1;2\n"), "separated by ';'; save the file with commas"),
    "tabs.csv": Case(text("a.Ax\ta.Ay\n1\t2\n"), "separated by tabs"),
    "utf16.csv": Case(raw((HEADER + "1,2,G1 X1\n").encode("utf-16")), "the text is UTF-16; save it as"),
    "ragged.csv": Case(text(HEADER + "1,2,G1 X1\n1,2,3,4,5,G1\n"), "not a readable CSV"),
    "no_rows.csv": Case(text(HEADER), "no rows"),
    "empty.csv": Case(text(""), "the file is empty"),
    "no_lines.csv": Case(text("frame_r2.Ax\n1\n"), "no column 'gcode_string'"),
    "words.csv": Case(text(HEADER + "one,2,G1 X1\n"), "expected a number"),
    "not_a_number.csv": Case(text(HEADER + "nan,inf,G1 X1\n-inf,nan,G1 X2\n"), "no sensor column has a"),
    "twice.csv": Case(text("frame_r2.Ax,frame_r2.Ax,gcode_string\n1,2,G1\n"), "two columns are named"),
    "open_quote.csv": Case(text(HEADER + '1,2,"G1 X1\n' + "3,4,G1 X2\n" * 3), "not a readable CSV"),
    "short_row.csv": Case(text(HEADER + "1,2,G1 X1\n1,2\n"), "row 2 has 2 cells, the header 3"),
    "quoted_short_row.csv": Case(
        text(HEADER + '1,2,"G1, X1\n"\n1,"2,3"\n'), "row 2 has 2 cells, the header 3"
    ),
    "nul.csv": Case(text(HEADER + "1,2,G1\0 X1\n"), "not a readable CSV (it holds bytes of zero)"),
    "pipe.csv": Case(os.mkfifo, "expected a file"),
    "device.csv": Case(lambda path: path.symlink_to("/dev/zero"), "expected a file"),
    "device.csv.gz": Case(lambda path: path.symlink_to("/dev/zero"), "expected a file"),
    "kernel.csv": Case(lambda path: path.symlink_to("/proc/kmsg"), "expected a file"),
    "columns.csv": Case(
        text(",".join(f"b.C{i}" for i in range(10**6)) + "\n"), "the header is longer than 1 MiB"
    ),
    "long_line.csv": Case(text(HEADER + "1" * 200_000_000), "row 1 is longer than 1 MiB"),
    "sparse.csv": Case(lambda path: path.touch() or os.truncate(path, 2**40), "expected at most 262,144"),
    "huge_field.csv": Case(text(HEADER + "1,2," + "G1 X1" * 200_000 + "\n"), "longer than"),
    "huge_number.csv": Case(text(HEADER + "1,2,G1 X" + "9" * 500 + "\n"), "expected a number"),
    "folder.csv": Case(lambda path: path.mkdir(), ""),
}


@pytest.mark.hostile("recordings and data sets")
@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings(name: str, judge: Judge) -> None:
    case, path = RECORDINGS[name], judge.folder / name
    case.make(path)
    judge.refuses(case, name, "model", "import", path, "--to", judge.folder / "data" / "made")


@pytest.mark.hostile("recordings and data sets")
def test_an_empty_path_is_not_the_current_folder(judge: Judge) -> None:
    case = Case(text(""), "an empty path")
    judge.refuses(case, "path", "model", "import", "", "--to", judge.folder / "data" / "made")


@pytest.mark.hostile("recordings and data sets")
def test_a_formula_in_a_cell_is_read_as_the_words_it_holds(judge: Judge) -> None:
    path = judge.folder / "formula.csv"
    path.write_text(HEADER + "".join(f"{i},{i % 3},=cmd|'/c calc'!A1+X{i}\n" for i in range(30)))
    assert run("model", "import", path, "--to", judge.folder / "data" / "made") == 0
    lines = json.loads((judge.folder / "data/made/lines.json").read_text())
    assert lines and not any(set(line) & set("=|!'@") for line in lines)


# -- data sets


def edit(path: Path, /, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def lying_npy(path: Path) -> None:
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**15, 9)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(64))


DATA_SETS: dict[str, Case] = {
    "manifest is a list": Case(lambda d: text("[1]")(d / "manifest.json"), "manifest.json"),
    "manifest lacks keys": Case(lambda d: text('{"format": 1}')(d / "manifest.json"), "manifest.json"),
    "manifest nested deeply": Case(lambda d: text("[" * 100_000)(d / "manifest.json"), "manifest.json"),
    "manifest of a huge int": Case(
        lambda d: text('{"format": ' + "9" * 5000 + "}")(d / "manifest.json"), "manifest.json"
    ),
    "rows are words": Case(lambda d: edit(d / "manifest.json", rows="many"), "import"),
    "recordings are words": Case(lambda d: edit(d / "manifest.json", recordings=["a"]), "manifest.json"),
    "recording beyond the rows": Case(
        lambda d: edit(
            d / "manifest.json",
            recordings=[
                {**r, "start": r["start"] + 10**9}
                for r in json.loads((d / "manifest.json").read_text())["recordings"]
            ],
        ),
        "manifest.json",
    ),
    "pickled signals": Case(lambda d: pickled(d / "signals.npy"), "signals.npy"),
    "signals that lie of their size": Case(lambda d: lying_npy(d / "signals.npy"), "signals.npy"),
    "signals missing": Case(lambda d: (d / "signals.npy").unlink(), "signals.npy"),
    "line ids beyond the lines": Case(
        lambda d: np.save(d / "line_ids.npy", np.load(d / "line_ids.npy") + 10**6), "line_ids.npy"
    ),
    "lines are numbers": Case(lambda d: text("[1, 2]")(d / "lines.json"), "lines.json"),
    "lines of endless numbers": Case(
        lambda d: text(json.dumps(["G1 X" + "9" * 5000]))(d / "lines.json"), "lines.json"
    ),
    "lines are a word": Case(lambda d: text('"G1"')(d / "lines.json"), "lines.json"),
}


@pytest.mark.hostile("recordings and data sets")
@pytest.mark.parametrize("name", DATA_SETS)
def test_data_sets(name: str, judge: Judge, tiny_recordings: Recordings) -> None:
    assert tiny_recordings.folder is not None
    case, folder = DATA_SETS[name], judge.folder / "made"
    shutil.copytree(tiny_recordings.folder, folder)
    case.make(folder)
    judge.refuses(case, "made", "model", "baseline", "--data", folder)


# -- vocabulary files

SPECIALS = {"PAD": 0, "BOS": 1, "EOS": 2, "UNK": 3, "MASK": 4}


def published(digits: Any = 4, **vocab: Any) -> Callable[[Path], None]:
    return text(json.dumps({"config": {"bucket_digits": digits}, "vocab": {**SPECIALS, **vocab}}))


VOCABULARIES: dict[str, Case] = {
    "a list": Case(text("[]"), "expected"),
    "a number": Case(text("7"), "expected"),
    "vocab is a list": Case(text('{"config": {"bucket_digits": 4}, "vocab": [1, 2]}'), "expected"),
    "ids are words": Case(published(G1="five"), "expected"),
    "ids are NaN": Case(published(G1=float("nan")), "expected"),
    "digits are words": Case(published(digits="four", G1=5), "bucket_digits"),
    "digits are negative": Case(published(digits=-4, G1=5), "bucket_digits"),
    "an id twice": Case(published(G1=5, G2=5), "expected ids"),
    "cut off": Case(text('{"config": {"bucket_di'), "was it cut off"),
    "binary": Case(raw(b"\xff\xfe\x00"), "not readable"),
    "nested deeply": Case(text('{"vocab":' * 50_000), "not readable"),
    "a folder": Case(lambda path: path.mkdir(), "folder"),
    "missing": Case(lambda path: None, "no such file"),
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_vocabulary_files(name: str, judge: Judge, tiny_recordings: Recordings) -> None:
    case, path = VOCABULARIES[name], judge.folder / "hostile.json"
    case.make(path)
    judge.refuses(
        case,
        "hostile.json",
        "model",
        "baseline",
        "--data",
        tiny_recordings.folder or "",
        "--vocabulary",
        path,
    )


# -- run folders and bundles


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_recordings: Recordings) -> Path:
    """Results with one run of a tiny network and a bundle of it, `mine`."""
    results = tmp_path_factory.mktemp("hostile")
    run_folder = results / "runs" / "tiny" / "0"
    assert tiny_recordings.folder is not None
    train(CONFIG, lambda epoch, metrics: None, data=tiny_recordings.folder, run_folder=run_folder)
    build(results, Options(k=1, name="mine"), created="now")
    return results


@pytest.fixture
def results(trained: Path, judge: Judge) -> Path:
    """A copy to be broken."""
    return shutil.copytree(trained, judge.folder / "results")


def change(name: str, /, **changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / name, **changes)


def replace_text(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: text(content)(folder / name)


def weights(edit_arrays: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        arrays = load_file(folder / "model.safetensors")
        edit_arrays(arrays)
        save_file(arrays, folder / "model.safetensors")

    return make


def spoil(value: float) -> Callable[[dict[str, np.ndarray]], object]:
    def edit_arrays(arrays: dict[str, np.ndarray]) -> None:
        name = next(name for name, array in arrays.items() if array.ndim == 2 and "network" in name)
        arrays[name] = np.full_like(arrays[name], value)

    return edit_arrays


def lying_header(folder: Path) -> None:
    header = json.dumps(
        {"network.a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4 * 10**18]}}
    ).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))


def pickled_weights(folder: Path) -> None:
    import torch

    torch.save({"network.a": torch.zeros(1)}, folder / "model.safetensors")


RUN_FOLDERS: dict[str, Case] = {
    "config is a list": Case(replace_text("config.json", "[1]"), "config.json"),
    "config is null": Case(replace_text("config.json", "null"), "config.json"),
    "config of wrong types": Case(change("config.json", d_model="wide"), "d_model"),
    "config of unknown keys": Case(change("config.json", os="system"), "unknown config key"),
    "config that is enormous": Case(change("config.json", d_model=10**30), "d_model"),
    "config of another width": Case(change("config.json", d_model=32), "does not fit config.json"),
    "config cut off": Case(replace_text("config.json", '{"d_mod'), "was it cut off"),
    "config missing": Case(lambda folder: (folder / "config.json").unlink(), "no such file"),
    "vocabulary is a list": Case(replace_text("vocabulary.json", "[]"), "vocabulary.json"),
    "tokens are numbers": Case(change("vocabulary.json", tokens=[1, 2, 3]), "vocabulary.json"),
    "tokens are a word": Case(change("vocabulary.json", tokens="G1"), "vocabulary.json"),
    "digits are words": Case(change("vocabulary.json", digits="four"), "vocabulary.json"),
    "means are words": Case(change("vocabulary.json", means=["a"]), "vocabulary.json"),
    "fewer tokens": Case(
        change("vocabulary.json", tokens=["PAD", "BOS", "EOS", "UNK", "MASK"]), "vocabulary"
    ),
    "scaler is a list": Case(replace_text("scaler.json", "[]"), "scaler.json"),
    "scaler of NaN": Case(
        lambda folder: edit(
            folder / "scaler.json",
            mean=[float("nan")] * len(json.loads((folder / "scaler.json").read_text())["mean"]),
        ),
        "scaler.json",
    ),
    "scaler of words": Case(change("scaler.json", mean=["a"]), "scaler.json"),
    "scaler of fewer channels": Case(change("scaler.json", mean=[0.0]), "scaler.json"),
    "channels are numbers": Case(change("scaler.json", channels=[1, 2]), "scaler.json"),
    "weights cut off": Case(
        lambda folder: raw((folder / "model.safetensors").read_bytes()[:900])(folder / "model.safetensors"),
        "not readable",
    ),
    "weights that lie of their size": Case(lying_header, "not readable"),
    "weights of an endless header": Case(
        lambda folder: raw(struct.pack("<Q", 2**60) + b"{}")(folder / "model.safetensors"), "not readable"
    ),
    "weights that are a pickle": Case(pickled_weights, "not readable"),
    "weights of another network": Case(
        weights(lambda a: a.update({"network.stranger": np.zeros(3, np.float32)})), "does not fit"
    ),
    "weights without a prefix": Case(
        weights(lambda a: a.update({"stranger": np.zeros(3, np.float32)})), "model.safetensors"
    ),
    "weights without templates": Case(
        weights(lambda a: a.pop("registration.templates", None)), "model.safetensors"
    ),
    "weights of NaN": Case(weights(spoil(float("nan"))), "not finite"),
    "weights of infinity": Case(weights(spoil(float("inf"))), "not finite"),
    "weights missing": Case(
        lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"
    ),
    "weights are a folder": Case(
        lambda folder: ((folder / "model.safetensors").unlink(), (folder / "model.safetensors").mkdir()),
        "model.safetensors",
    ),
}


@pytest.mark.hostile("run folders")
@pytest.mark.parametrize("name", RUN_FOLDERS)
def test_run_folders(name: str, judge: Judge, results: Path, tiny_csv: Path) -> None:
    case, folder = RUN_FOLDERS[name], results / "runs" / "tiny" / "0"
    case.make(folder)
    recording = sorted(tiny_csv.glob("*.csv.gz"))[0]
    judge.refuses(case, "runs/tiny/0", "inference", "decode", recording, "--run", folder)


def member(**changes: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        content = json.loads((folder / "bundle.json").read_text())
        edit(folder / "bundle.json", members=[{**content["members"][0], **changes}])

    return make


def linked(name: str) -> Callable[[Path], None]:
    """The file `name` of the bundle is a link to one outside."""

    def make(folder: Path) -> None:
        outside = folder.parent.parent / "outside"
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return make


def weights_of(value: float) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        content = json.loads((folder / "bundle.json").read_text())
        edit(folder / "bundle.json", weights={head: [value] for head in content["weights"]})

    return make


BUNDLES: dict[str, Case] = {
    "a list": Case(replace_text("bundle.json", "[]"), "expected a bundle"),
    "cut off": Case(replace_text("bundle.json", '{"format": 1, "na'), "was it cut off"),
    "nested deeply": Case(replace_text("bundle.json", "[" * 100_000), "not readable"),
    "of another format": Case(change("bundle.json", format=7), "format"),
    "unknown keys": Case(change("bundle.json", system="touch"), "not a bundle"),
    "members are a word": Case(change("bundle.json", members="all"), "not a bundle"),
    "no members": Case(change("bundle.json", members=[]), "at least one member"),
    "member that leaves the folder": Case(member(path="../../runs/tiny/0"), "outside of the bundle's folder"),
    "member at the root": Case(member(path="/etc"), "outside of the bundle's folder"),
    "member of a number": Case(member(path=7), "bundle.json"),
    "member that is missing": Case(member(path="members/9"), "members/9"),
    "members folder is a link": Case(linked("members/0"), "outside of the bundle's folder"),
    "weights file is a link": Case(linked("members/0/model.safetensors"), "outside of the bundle's folder"),
    "weights of NaN": Case(weights_of(float("nan")), "not a distribution"),
    "weights of two": Case(weights_of(2.0), "not a distribution"),
    "weights are words": Case(change("bundle.json", weights="all"), "not a bundle"),
    "unknown pooling": Case(change("bundle.json", pooling="magic"), "pooling"),
    "temperature of NaN": Case(
        change("bundle.json", temperatures=dict.fromkeys(HEADS, float("nan"))),
        "temperature",
    ),
    "temperatures are words": Case(change("bundle.json", temperatures="hot"), "not a bundle"),
    "decoding is a list": Case(change("bundle.json", decoding=["beam"]), "not a bundle"),
    "beam of a million": Case(
        change("bundle.json", decoding={"method": "beam", "beam": 10**9}), "beam"
    ),
    "beam of words": Case(change("bundle.json", decoding={"method": "beam", "beam": "wide"}), "beam"),
    "name that leaves the folder": Case(change("bundle.json", name=["x"]), "not a bundle"),
    "tampered member": Case(
        lambda folder: change("config.json", d_model=32)(folder / "members" / "0"), "does not fit"
    ),
}  # fmt: skip


@pytest.mark.hostile("bundles")
@pytest.mark.parametrize("name", BUNDLES)
def test_bundles(name: str, judge: Judge, results: Path, tiny_csv: Path) -> None:
    case = BUNDLES[name]
    case.make(results / "ensembles" / "mine")
    recording = sorted(tiny_csv.glob("*.csv.gz"))[0]
    judge.refuses(case, "mine", "inference", "decode", recording, "--bundle", "mine", "--results", results)


@pytest.mark.hostile("bundles")
@pytest.mark.slow
def test_bundles_with_flipped_bits(
    results: Path, tiny_csv: Path, capsys: pytest.CaptureFixture[str], record_property: Callable[..., None]
) -> None:
    """They are read, as a bit of a weight is no damage that one can see, or refused in one line."""
    record_property("inputs", 300)
    files = sorted(path for path in (results / "ensembles" / "mine").rglob("*") if path.is_file())
    recording, dice = sorted(tiny_csv.glob("*.csv.gz"))[0], random.Random(0)
    places = ("--bundle", "mine", "--results", results)
    for number in range(300):
        path = files[number % len(files)]
        right = path.read_bytes()
        wrong, most = bytearray(right), len(right) if number % 2 else min(len(right), 400)  # or its head
        for _ in range(dice.randint(1, 4)):
            wrong[dice.randrange(most)] ^= 1 << dice.randrange(8)
        path.write_bytes(wrong)
        capsys.readouterr()
        command = ("calibrate", *places) if path.suffix == ".npz" else ("decode", recording, *places)
        status = run("inference", *command)
        said = capsys.readouterr().err.splitlines() or [""]
        assert status == 0 or (status in (1, 2) and said[-1].startswith("error: ")), (path, said)
        path.write_bytes(right)


def npz(edit_arrays: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with np.load(path) as file:
            arrays = dict(file)
        edit_arrays(arrays)
        np.savez(path, **arrays)  # type: ignore[arg-type]

    return make


def lying_npz(path: Path) -> None:
    """A member whose header claims more than any memory holds."""
    with np.load(path) as file:
        arrays = dict(file)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)})
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f"{name}.npy", header.getvalue() if name == "type" else content.getvalue())


PREDICTIONS: dict[str, Case] = {
    "pickled": Case(npz(lambda a: a.update(gold=np.array([{"a": 1}], dtype=object))), "not readable"),
    "lies of its size": Case(lying_npz, "not readable"),
    "not a zip": Case(raw(b"PK\x03\x04 not really"), "not readable"),
    "empty": Case(raw(b""), "not readable"),
    "lacks an array": Case(npz(lambda a: a.pop("gold")), "no 'gold' in it"),
    "token ids beyond the vocabulary": Case(npz(lambda a: a.update(gold=a["gold"] + 10_000)), "vocabulary"),
    "windows beyond the last": Case(npz(lambda a: a.update(window=a["window"] + 10_000)), "windows"),
    "logits of NaN": Case(npz(lambda a: a.update(type=np.full_like(a["type"], np.nan))), "not finite"),
    "logits of words": Case(npz(lambda a: a.update(type=np.array([["a"]]))), "type"),
    "gold of words": Case(npz(lambda a: a.update(gold=np.full(a["gold"].shape, "G1"))), "calibrate.npz"),
    "gold of two dimensions": Case(npz(lambda a: a.update(gold=a["gold"][:, None])), "calibrate.npz"),
    "missing": Case(lambda path: path.unlink(), "calibrate.npz"),
}


@pytest.mark.hostile("bundles")
@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_of_a_bundle(name: str, judge: Judge, results: Path) -> None:
    case = PREDICTIONS[name]
    case.make(results / "ensembles" / "mine" / "predictions" / "calibrate.npz")
    judge.refuses(case, "calibrate.npz", "inference", "calibrate", "--bundle", "mine", "--results", results)


@pytest.mark.hostile("run folders")
@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_of_a_run(name: str, judge: Judge, results: Path) -> None:
    case = PREDICTIONS[name]
    case.make(results / "runs" / "tiny" / "0" / "predictions" / "calibrate.npz")
    shutil.rmtree(results / "ensembles")
    judge.refuses(case, "calibrate.npz", "ensemble", "build", "--results", results)


RUN_FILES: dict[str, Case] = {
    "result is a list": Case(replace_text("result.json", "[]"), "tiny/0"),
    "result nested deeply": Case(replace_text("result.json", "[" * 100_000), "tiny/0"),
    "metrics are words": Case(change("result.json", metrics={"val/exact_acc": "good"}), "tiny/0"),
    "parameters are words": Case(change("result.json", parameters="many"), "tiny/0"),
    "hash is a number": Case(change("result.json", data_hash=7), "tiny/0"),
    "trial is a list": Case(replace_text("trial.json", "[1]"), "tiny/0"),
    "objective is a word": Case(replace_text("trial.json", '{"objective": "best"}'), "tiny/0"),
    "constraints are words": Case(replace_text("trial.json", '{"constraints": {"a": "b"}}'), "tiny/0"),
    "window is a list": Case(change("config.json", window=[1]), "tiny/0"),
    "vocabulary of numbers": Case(change("vocabulary.json", tokens=[1, 2]), "tiny/0"),
}


@pytest.mark.hostile("run folders")
@pytest.mark.parametrize("name", RUN_FILES)
def test_small_files_of_a_run(name: str, judge: Judge, results: Path) -> None:
    case = RUN_FILES[name]
    case.make(results / "runs" / "tiny" / "0")
    shutil.rmtree(results / "ensembles")
    judge.refuses(case, "tiny/0", "ensemble", "build", "--results", results)


# -- storage


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("create table studies (id integer, title text)")
        database.execute("insert into studies values (1, 'drop table')")


STORAGES: dict[str, Case] = {
    "a pipe": Case(os.mkfifo, "it is a device or a pipe"),
    "a device": Case(lambda path: path.symlink_to("/dev/zero"), "it is a device or a pipe"),
    "not SQLite": Case(raw(b"words, longer than a database's header" * 30), "not an SQLite database", 1),
    "other schema": Case(foreign, "no such", 1),
    "a folder": Case(lambda path: path.mkdir(), "cannot be opened", 1),
}


@pytest.mark.hostile("databases")
@pytest.mark.parametrize("command", ["status", "best", "report", "gc"])
@pytest.mark.parametrize("name", STORAGES)
def test_storages(name: str, command: str, judge: Judge) -> None:
    case, results = STORAGES[name], judge.folder / "results"
    results.mkdir()
    case.make(results / "studies.db")
    judge.refuses(case, "studies.db", "tuner", command, "--results", results)


@pytest.mark.hostile("databases")
@pytest.mark.parametrize("command", ["status", "best", "report"])
def test_an_empty_database_has_no_studies_yet(command: str, judge: Judge) -> None:
    results = judge.folder / "results"
    results.mkdir()
    case = Case(raw(b""), "no studies yet")
    case.make(results / "studies.db")
    judge.refuses(case, "studies.db", "tuner", command, "--results", results)


@pytest.fixture
def records(judge: Judge) -> Records:
    (judge.folder / "objective.py").write_text("def train(config, report): return {'score': 1.0}\n")
    return open_records(default_url(judge.folder / "results"), create=True)


STUDY_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "file is a list": {FILE: [1, 2]},
    "file is a word": {FILE: "method"},
    "file is none of ours": {FILE: {"method": "magic"}},
    "path is a number": {PATH: 7},
    "origin is a word": {ORIGIN: "x"},
    "cap is a word": {TOTAL: "many"},
    "winner is a word": {"confirmed": "yes"},
}


@pytest.mark.hostile("databases")
@pytest.mark.parametrize("command", ["status", "best", "report", "export"])
@pytest.mark.parametrize("name", STUDY_ATTRIBUTES)
def test_study_attributes(name: str, command: str, judge: Judge, records: Records) -> None:
    make_study(judge, records, {}, **STUDY_ATTRIBUTES[name])
    case = Case(lambda path: None, "attribute")
    names = ["hostile"] if command == "export" else []
    judge.refuses(case, "hostile", "tuner", command, *names, "--results", judge.folder / "results")


TRIAL_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "metrics are a number": {"metrics": 7},
    "metrics are words": {"metrics": {"score": "good"}},
    "parameters are a list": {"parameters": [1]},
    "run folder is a number": {"run_folder": 7},
    "lease is a word": {"lease": "mine"},
    "error is a list": {"error": [1]},
    "seconds are words": {"seconds": "long"},
}


@pytest.mark.hostile("databases")
@pytest.mark.parametrize("command", ["status", "best", "report", "export"])
@pytest.mark.parametrize("name", TRIAL_ATTRIBUTES)
def test_trial_attributes(name: str, command: str, judge: Judge, records: Records) -> None:
    make_study(judge, records, TRIAL_ATTRIBUTES[name])
    case = Case(lambda path: None, "attribute")
    names = ["hostile"] if command == "export" else []
    judge.refuses(case, "hostile", "tuner", command, *names, "--results", judge.folder / "results")


def make_study(judge: Judge, records: Records, trial_attrs: dict[str, Any], **attrs: Any) -> optuna.Study:
    """A study `hostile` of one complete trial, with these attributes over its own."""
    from tuner.definition.loading import load_study_file

    path = judge.folder / "hostile.yaml"
    path.write_text(study(own=", front: [{name: parameters, goal: minimize}]"))
    made = study_store.open_study(records, load_study_file(path), study_store.Origin({}))
    for key, value in attrs.items():
        made.set_user_attr(key, value)
    distribution = optuna.distributions.FloatDistribution(0, 1)
    made.add_trial(
        create_trial(
            state=TrialState.COMPLETE,
            values=[0.5],
            params={"x": 0.5},
            distributions={"x": distribution},
            user_attrs=trial_attrs,
        )
    )
    return made


@pytest.mark.hostile("run folders")
def test_a_run_folder_outside_the_results_is_not_read(
    judge: Judge, records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = judge.folder / "outside"
    outside.mkdir()
    (outside / "config.json").write_text('{"x": 666}')
    (outside / "result.json").write_text('{"metrics": {"score": 666}}')
    make_study(judge, records, {"run_folder": "../outside"})
    for command in ("best", "report"):
        assert run("tuner", command, "--results", judge.folder / "results") == 0
        assert "666" not in capsys.readouterr().out


@pytest.mark.hostile("names")
def test_names_are_escaped_in_reports(judge: Judge, records: Records) -> None:
    script = "<script>alert(1)</script>"
    path = judge.folder / "hostile.yaml"
    path.write_text(
        study(
            f"x: {{values: ['{script}', '</script>{script}']}}",
            head=f"description: '{script}'",
            own=f", purpose: '{script}', hypotheses: [{{claim: '{script}', where: \"x == '{script}'\"}}]",
        )
    )
    from tuner.definition.loading import load_study_file

    made = study_store.open_study(records, load_study_file(path), study_store.Origin({}, base_from=script))
    choices = optuna.distributions.CategoricalDistribution((script, f"</script>{script}"))
    for number, choice in enumerate(choices.choices * 4):
        state = TrialState.FAIL if number == 7 else TrialState.COMPLETE
        made.add_trial(
            create_trial(
                state=state,
                values=None if state is TrialState.FAIL else [0.1 * number],
                params={"x": choice},
                distributions={"x": choices},
                user_attrs={"error": script, "metrics": {"score": 0.1}},
            )
        )
    page = judge.folder / "page.html"
    assert run("tuner", "report", "--results", judge.folder / "results", "--output", page) == 0
    assert script not in page.read_text()


# -- study files that end late or never


@pytest.mark.hostile("study files")
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_study_file_that_is_no_file(make: Callable[[Path], None], judge: Judge) -> None:
    make(judge.folder / "endless.yaml")

    case = Case(lambda path: None, "it is a device or a pipe")
    judge.refuses(case, "endless.yaml", "tuner", "study", judge.folder / "endless.yaml", "--dry-run")


@pytest.mark.hostile("study files")
def test_a_study_file_of_50_megabytes(judge: Judge) -> None:
    (judge.folder / "large.yaml").write_bytes(b"# " + b"x" * 50_000_000)

    case = Case(lambda path: None, "has 48,828 KiB; expected at most 512")
    judge.refuses(case, "large.yaml", "tuner", "study", judge.folder / "large.yaml", "--dry-run")


@pytest.mark.hostile("study files")
def test_a_grid_is_counted_before_it_is_built(judge: Judge) -> None:
    (judge.folder / "train.py").write_text("")
    (judge.folder / "grid.yaml").write_text(
        "{program: train.py, method: grid, metric: {name: score}, "
        "parameters: {x: {distribution: int_uniform, min: 1, max: 2000000000000}}}"
    )
    case = Case(lambda path: None, "the grid has 2,000,000,000,000 points")
    judge.refuses(case, "grid.yaml", "tuner", "study", judge.folder / "grid.yaml", "--dry-run")
