"""Lines that a run read on its part `select`, beside the true ones, from the predictions that it kept."""

from __future__ import annotations

import csv
import difflib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.run_files import VOCABULARY
from model.tokens import COMMAND, HEADS, PARAM_TYPE, PARAM_VALUE, UNK, Vocabulary
from tuner.base.files import read_json
from tuner.show.report.charts import safe_cell

PART = "select"
COUNT = 40
UNKNOWN = "?"  # a token that training never saw
OTHER_KIND = {0: "(end)", COMMAND: "(command)", PARAM_TYPE: "(letter)", PARAM_VALUE: "(value)"}


def there_are(folder: Path) -> bool:
    """Whether the run at `folder` kept predictions of the part."""
    return (folder / "predictions" / f"{PART}.npz").is_file() and (folder / VOCABULARY).is_file()


@dataclass(frozen=True)
class Sample:
    """A window: which recording and row, its line, and what the network read with the true tokens given."""

    recording: int
    row: int
    true: str
    read: str

    @property
    def differs(self) -> str:
        return "" if self.true == self.read else differences(self.true, self.read)


def samples_csv(folder: Path) -> str:
    """Sample lines as a table: recording, row, true line, read line, where they differ."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["recording", "row", "true line", "read line", "differs"])
    for sample in sample_lines(folder):
        cells = (sample.recording, sample.row, sample.true, sample.read, sample.differs)
        writer.writerow([safe_cell(cell) for cell in cells])
    return out.getvalue()


def sample_lines(folder: Path, *, part: str = PART, count: int = COUNT) -> list[Sample]:
    """`count` windows of the run at `folder`, spread over the part.

    A head is only stored where it applies: where the network expected another kind of token than the true
    one, the kind stands in brackets.

    Raises:
        InputError, KeyError, ValueError, OSError: the run keeps no such predictions, or torn ones.
    """
    vocabulary = Vocabulary.from_json(read_json(folder / VOCABULARY))
    with np.load(folder / "predictions" / f"{part}.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    windows = np.unique(arrays["window"])
    chosen = windows[np.unique(np.linspace(0, len(windows) - 1, min(count, len(windows))).astype(int))]
    classes = _classes(arrays, vocabulary)
    found = []
    for window in chosen:
        here = np.flatnonzero(arrays["window"] == window)
        true, read = _Line(vocabulary), _Line(vocabulary)
        for position in here[np.argsort(arrays["step"][here])]:
            _add(true, read, int(arrays["gold"][position]), classes[position], vocabulary)
        found.append(
            Sample(int(arrays["recording"][window]), int(arrays["start"][window]), true.text(), read.text())
        )
    return found


def _classes(arrays: dict[str, NDArray], vocabulary: Vocabulary) -> NDArray[np.int64]:
    """(positions, heads) the best class of each head where it applies, else -1."""
    out = np.full((len(arrays["gold"]), len(HEADS)), -1, dtype=np.int64)
    for column, head in enumerate(HEADS):
        rows = np.flatnonzero(arrays["applies"][:, column])
        logits = arrays[head].astype(np.float32)
        if head == "param_value" and len(rows):  # among the values of the parameter in question
            letter = vocabulary.factor_table[arrays["gold"][rows], 2]
            logits = np.where(vocabulary.values_of_param[np.maximum(letter, 0)], logits, -np.inf)
        if len(rows):
            out[rows, column] = logits.argmax(axis=1)
    return out


def _add(true: _Line, read: _Line, gold: int, classes: NDArray[np.int64], vocabulary: Vocabulary) -> None:
    kind, command, letter, value = (int(x) for x in vocabulary.factor_table[gold])
    if gold == UNK:
        true.word(UNKNOWN)
        read.word(UNKNOWN)
        return
    true.token(kind, command, letter, value)
    if classes[0] == kind:
        read.token(kind, *(int(x) for x in classes[1:]))
    elif not (classes[0] == 0 and kind == 0):
        read.word(OTHER_KIND[int(classes[0])])


class _Line:
    """Words of a line as they come; a value joins the letter before it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._words: list[str] = []

    def token(self, kind: int, command: int, letter: int, value: int) -> None:
        if kind == COMMAND:
            self.word(self._vocabulary.commands[command])
        elif kind == PARAM_TYPE:
            self.word(self._vocabulary.param_types[letter])
        elif kind == PARAM_VALUE:
            text = self._vocabulary.texts[value]
            if self._words and self._words[-1] in self._vocabulary.param_types:
                self._words[-1] += text
            else:
                self.word(text)

    def word(self, text: str) -> None:
        self._words.append(text)

    def text(self) -> str:
        return " ".join(self._words)


def differences(true: str, decoded: str) -> str:
    """The words in which two lines differ: `X1.5 → X1.4, + Y2, − F10`."""
    a, b = true.split(), decoded.split()
    found = []
    for kind, i, j, k, m in difflib.SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes():
        if kind == "replace":
            found.append(f"{' '.join(a[i:j])} → {' '.join(b[k:m])}")
        elif kind == "delete":
            found.append(f"− {' '.join(a[i:j])}")
        elif kind == "insert":
            found.append(f"+ {' '.join(b[k:m])}")
    return ", ".join(found) or "spelling alone"
