"""What takes the place of downloads in the runs of real scripts: random data in the format of the real data.

`HERE[name](folder, to)` writes into the folder in which the command runs. `HOOKS[name]` is code for a
`sitecustomize` of the child process, where a library loads what it downloads only after a check.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

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
HOOKS["keras"] = HOOKS["keras"].replace("TRAIN", "60000").replace("TEST", "10000")


def california(folder: Path, _: str) -> None:
    """The file that scikit-learn keeps after it has downloaded the houses of California."""
    import joblib

    draw = np.random.default_rng(0)
    table = draw.uniform(1, 5, (400, 9))
    home = folder / "home" / "scikit_learn_data"
    home.mkdir(parents=True)
    joblib.dump(table, home / "cal_housing_py3.pkz", compress=6)


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
    "folder": lambda folder, to: (folder / to).mkdir(),
    "california": california,
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
