"""What takes the place of downloads in the runs of real scripts: random data in the format of the real data.

`HERE[name](folder, to)` writes into the folder in which the command runs. `HOOKS[name]` is code for a
`sitecustomize` of the child process, where a library loads what it downloads only after a check.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

GLUE = """import datasets
import evaluate
from sklearn.metrics import accuracy_score, f1_score


class Glue(evaluate.Metric):
    def _info(self):
        number = datasets.Value("int64")
        features = datasets.Features({"predictions": number, "references": number})
        return evaluate.MetricInfo(description="MRPC", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {
            "accuracy": float(accuracy_score(references, predictions)),
            "f1": float(f1_score(references, predictions)),
        }
"""

HOOKS = {
    # Keras checks the hash of what it has downloaded
    "keras": """
import importlib.abc, importlib.machinery, sys
import numpy as np
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in ("keras.src.datasets.mnist", "keras.src.datasets.fashion_mnist"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            module.load_data = load_data
        spec.loader.exec_module = exec_module
        return spec
def load_data(path=None):
    draw = np.random.default_rng(0)
    def part(rows):
        labels = draw.integers(0, 10, rows).astype(np.uint8)
        return (draw.integers(0, 30, (rows, 28, 28)) + labels[:, None, None] * 20).astype(np.uint8), labels
    return part(TRAIN), part(TEST)
sys.meta_path.insert(0, Finder())
""",
}
HOOKS["keras_small"] = HOOKS["keras"].replace("TRAIN", "1800").replace("TEST", "200")
HOOKS["keras"] = HOOKS["keras"].replace("TRAIN", "60000").replace("TEST", "10000")


def images(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images of ten classes of brightness: `(rows, 28, 28)` and `(rows,)`, both uint8."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 10, rows).astype(np.uint8)
    noise = draw.integers(0, 30, (rows, 28, 28), dtype=np.uint8)
    return noise + labels[:, None, None] * 20, labels


def idx(folder: Path, rows: tuple[int, int], zipped: bool = False) -> None:
    """The four files of MNIST, with so many images for training and for the test."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, (prefix, count) in enumerate(zip(("train", "t10k"), rows, strict=True)):
        pixels, labels = images(count, part)
        for name, head, values in (
            ("images-idx3", struct.pack(">IIII", 2051, count, 28, 28), pixels),
            ("labels-idx1", struct.pack(">II", 2049, count), labels),
        ):
            path, data = folder / f"{prefix}-{name}-ubyte", head + values.tobytes()
            path.write_bytes(data)
            if zipped:
                Path(f"{path}.gz").write_bytes(gzip.compress(data, 1))


def torch_files(folder: Path, rows: tuple[int, int]) -> None:
    """`training.pt` and `test.pt`, as old loaders keep images."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    for part, (name, count) in enumerate(zip(("training", "test"), rows, strict=True)):
        pixels, labels = images(count, part)
        torch.save((torch.from_numpy(pixels), torch.from_numpy(labels).long()), folder / f"{name}.pt")


def california(folder: Path, _: str) -> None:
    """The file that scikit-learn keeps after it has downloaded the houses of California."""
    import joblib

    draw = np.random.default_rng(0)
    table = draw.uniform(1, 5, (400, 9))
    home = folder / "home" / "scikit_learn_data"
    home.mkdir(parents=True)
    joblib.dump(table, home / "cal_housing_py3.pkz", compress=6)


def bert(folder: Path, _: str) -> None:
    """A BERT of two layers with random weights, in a folder that is called as the real one."""
    import csv

    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    to = folder / "bert-base-cased"
    to.mkdir()
    words: dict[str, None] = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    with (folder / "tests/test_samples/MRPC/train.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            words.update(dict.fromkeys((row["sentence1"] + " " + row["sentence2"]).split()))
    (to / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(vocab_file=str(to / "vocab.txt"), do_lower_case=False).save_pretrained(to)
    shape = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertForSequenceClassification(shape).save_pretrained(to)


def glue(folder: Path, _: str) -> None:
    """The metric that `evaluate` would download."""
    (folder / "glue").mkdir()
    (folder / "glue" / "glue.py").write_text(GLUE, encoding="utf-8")


def shakespeare(folder: Path, _: str) -> None:
    """nanoGPT's character data: two files of tokens and the alphabet, as its `prepare.py` writes them."""
    import pickle

    to = folder / "data" / "shakespeare_char"
    tokens = (np.arange(20_000) * 7 % 31 + np.random.default_rng(0).integers(0, 2, 20_000)).astype(np.uint16)
    tokens[:18_000].tofile(to / "train.bin")
    tokens[18_000:].tofile(to / "val.bin")
    letters = [chr(97 + number) for number in range(40)]
    (to / "meta.pkl").write_bytes(
        pickle.dumps(
            {
                "vocab_size": 40,
                "itos": dict(enumerate(letters)),
                "stoi": {c: i for i, c in enumerate(letters)},
            }
        )
    )


HERE: dict[str, Callable[[Path, str], None]] = {
    "mnist": lambda folder, to: idx(folder / to / "MNIST" / "raw", (500, 100), True),
    "mnist_whole": lambda folder, to: idx(folder / to / "MNIST" / "raw", (60_000, 10_000)),
    "fashion": lambda folder, _: torch_files(folder / "data" / "processed", (500, 100)),
    "folder": lambda folder, to: (folder / to).mkdir(),
    "california": california,
    "bert": bert,
    "glue": glue,
    "shakespeare": shakespeare,
}


def make(folder: Path, wanted: list[str | dict[str, str]]) -> None:
    """Makes the stand-ins that an entry of scripts.yaml names."""
    for entry in wanted:
        name, to = next(iter(entry.items())) if isinstance(entry, dict) else (entry, "")
        HERE[name](folder, to)


if __name__ == "__main__":
    import sys

    make(Path(sys.argv[1]), json.loads(sys.argv[2]))
