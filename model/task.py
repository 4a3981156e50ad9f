"""The data of a run: the windows of each part, their tokens, scaling and registration fitted on train."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from model.config import Config
from model.recordings import NO_LINE, Recordings
from model.registration import Registration
from model.row_source import RowSource, delays_of
from model.scaler import Scaler
from model.tokens import BOS, EOS, PAD, PARAM_TYPE, SPECIAL, UNK, Vocabulary
from model.windows import PARTS, Windows, dense_labels, find_windows, split, split_windows
from tuner.base.errors import InputError


@dataclass(frozen=True, eq=False)
class LineTable:
    """The tokens of every line of a data set, for looking up targets by line id.

    inputs: (lines, L) int64, BOS and the line's tokens, padded; targets: (lines, L) int64, the tokens and
    EOS, padded; factors: (lines, L, 4) int64, -1 where a head does not apply (padding, unknown token).
    """

    inputs: np.ndarray
    targets: np.ndarray
    factors: np.ndarray
    length: np.ndarray  # (lines,) target positions

    @classmethod
    def build(
        cls, lines: tuple[str, ...], vocabulary: Vocabulary, *, unknown_is_token: bool = False
    ) -> LineTable:
        """Encodes each line once.

        With `unknown_is_token` an unknown value is a target too: type "special" after a letter.
        """
        ids = [vocabulary.encode(line) for line in lines]
        width = max((len(i) for i in ids), default=0) + 1
        inputs = np.full((len(ids), width), PAD, dtype=np.int64)
        targets = np.full((len(ids), width), PAD, dtype=np.int64)
        for row, i in enumerate(ids):
            inputs[row, : len(i) + 1] = [BOS, *i]
            targets[row, : len(i) + 1] = [*i, EOS]
        factors = vocabulary.factor_table[targets].copy()
        factors[(targets == PAD) | (targets == UNK)] = -1
        if unknown_is_token:
            after_letter = vocabulary.factor_table[inputs][..., 0] == PARAM_TYPE
            factors[(targets == UNK) & after_letter, 0] = SPECIAL
        return cls(inputs, targets, factors, np.array([len(i) + 1 for i in ids]))


@dataclass(frozen=True, eq=False)
class Task:
    """The data of one run. `parts` maps a part to its windows; only those of `train` are trained on."""

    data: Recordings
    parts: dict[str, Windows]
    labels: np.ndarray  # (rows,) label of the window that starts at a row, for moved training windows
    vocabulary: Vocabulary
    table: LineTable
    scaler: Scaler
    registration: Registration | None
    source: RowSource
    split_hash: str
    unknown_is_token: bool = False  # with a published vocabulary: UNK is right if the target is UNK
    features: dict[str, list[Tensor]] = field(default_factory=dict)  # what `evaluate` keeps of the parts

    @property
    def operation(self) -> np.ndarray:
        """(recordings,) int64 index of the operation of each recording in the scaler, -1 if new."""
        index = {name: i for i, name in enumerate(self.scaler.operations)}
        return np.array([index.get(r.operation, -1) for r in self.data.recordings], dtype=np.int64)

    def unknown_rate(self, part: str) -> float:
        """Share of target tokens of a part that do not occur in train: unavoidable errors."""
        lines = self.parts[part].line
        target = self.table.targets[lines]
        return float((target == UNK).sum() / max(1, self.table.length[lines].sum()))


def prepare(data_folder: Path, config: Config) -> Task:
    """The task of `config` on a data set; equal tasks are prepared once per process.

    Raises:
        InputError: no data set, or a part would be empty.
    """
    return _prepare(Path(data_folder).resolve(), _data_fields(config))


DATA_FIELDS = (
    "track", "window", "stride", "normalization", "prefix_rows", "machine_position", "vocab_bucket_digits",
    "vocabulary_file",
    "registration", "context_before", "context_after", "split_seed", "reshuffle", "fit_on",
)  # fmt: skip


def _data_fields(config: Config) -> Config:
    """`config` with all fields that do not affect the data at their default: the key of the cache."""
    return Config(**{name: getattr(config, name) for name in DATA_FIELDS})


@lru_cache(maxsize=4)
def _prepare(folder: Path, config: Config) -> Task:
    data = Recordings.load(folder)
    if (np.asarray(data.line_ids) == NO_LINE).any():
        raise InputError(f"{folder}: has rows without a line; training needs the line of every row")
    labels = dense_labels(data, window=config.window)
    parts, fitted = _parts(data, labels, config)
    for part in PARTS:
        if len(parts[part]) == 0:
            raise InputError(
                f"{folder}: no window for the part '{part}'. You need at least four recordings of one "
                f"operation, each of at least {config.window} rows"
            )
    scaler = Scaler.fit(data, fitted, normalization=config.normalization, prefix_rows=config.prefix_rows)
    registration: Registration | None = None
    delays: dict[int, int] = {}
    if config.registration:
        registration, delays = Registration.fit(data, fitted)
        rest = sorted(set(range(len(data.recordings))) - set(fitted))
        delays = {**delays, **delays_of(data, registration, rest)}
    vocabulary = _vocabulary(data, fitted, parts["train"], labels, config)
    return Task(
        data=data,
        parts=parts,
        labels=labels,
        vocabulary=vocabulary,
        table=LineTable.build(data.lines, vocabulary, unknown_is_token=bool(config.vocabulary_file)),
        scaler=scaler,
        registration=registration,
        source=RowSource(data, scaler, config, delays=delays),
        split_hash=_hash(parts),
        unknown_is_token=bool(config.vocabulary_file),
    )


def _parts(
    data: Recordings, labels: np.ndarray, config: Config
) -> tuple[dict[str, Windows], tuple[int, ...]]:
    """The windows of each part, and the recordings for fitting scaling and registration."""
    if config.track == "windows":
        windows = find_windows(data, window=config.window, stride=config.stride, labels=labels)
        index = split_windows(data, windows)
        return {part: windows.take(index[part]) for part in PARTS}, tuple(range(len(data.recordings)))
    which = split(data, seed=config.split_seed, reshuffle=config.reshuffle)
    if config.fit_on != "train":
        left_out = which["test"] if config.fit_on == "all_but_test" else ()
        which["train"] = tuple(i for i in range(len(data.recordings)) if i not in left_out)
    parts = {
        part: find_windows(
            data,
            window=config.window,
            stride=config.stride,
            which=which[part],
            live_only=part == "train",
            labels=labels,
        )
        for part in PARTS
    }
    return parts, which["train"]


def _vocabulary(
    data: Recordings, fitted: tuple[int, ...], train: Windows, labels: np.ndarray, config: Config
) -> Vocabulary:
    """Tokens of the lines that label windows of train at any start (jitter may move a window there)."""
    if config.track == "windows":
        counts = Counter(train.line.tolist())
    else:
        counts = Counter()
        for i in fitted:
            r = data.recordings[i]
            counts.update(labels[r.start : r.start + r.rows].tolist())
    lines = {data.lines[line]: n for line, n in counts.items()}
    if config.vocabulary_file:
        return Vocabulary.from_published(Path(config.vocabulary_file), lines)
    return Vocabulary.build(lines, digits=config.vocab_bucket_digits)


def _hash(parts: dict[str, Windows]) -> str:
    digest = hashlib.sha256()
    for part in PARTS:
        digest.update(json.dumps([part, len(parts[part])]).encode())
        digest.update(parts[part].start.tobytes())
    return digest.hexdigest()[:16]
