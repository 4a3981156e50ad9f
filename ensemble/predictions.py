"""Reads the stored predictions of a run (`predictions/<part>.npz`) as log-probabilities, head by head.

A part has W windows with P target positions. A head applies only where its output is part of the probability
of the token:

    type         every position
    command      where the true type is command
    param_type   where the true type is parameter type
    param_value  where it is a value: among the values of that value's parameter, renormalised

So the value head is split into one group of positions per parameter, with only the classes of that parameter.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from scipy.special import log_softmax

from model.run_files import PREDICTIONS
from model.tokens import COMMAND, HEADS, PARAM_TYPE, UNK, Vocabulary
from tuner.base.errors import InputError

FLOOR = -30.0  # least log-probability: one confident but wrong run must not dominate a sum
KEYS = ("gold", "window", "step", "recording", "start", "line", "applies", *HEADS)


@dataclass(frozen=True)
class Targets:
    """The targets of a part, equal for all runs with one split and vocabulary.

    Attributes:
        gold: (P,) token ids. window: (P,) index of the position's window. step: (P,) position in the line.
        applies: (P, 4) whether a head's logits are stored, in the order of `HEADS`.
        recording, start, line: (W,) of each window: recording, first row, line id.
    """

    gold: np.ndarray
    window: np.ndarray
    step: np.ndarray
    applies: np.ndarray
    recording: np.ndarray
    start: np.ndarray
    line: np.ndarray

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Targets:
        """From the arrays of a prediction file; other arrays in it are not read."""
        return cls(**{entry.name: arrays[entry.name] for entry in dataclasses.fields(cls)})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The inverse of `of`."""
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}

    @property
    def windows(self) -> int:
        """The number of windows, W."""
        return len(self.recording)

    def difference(self, other: Targets) -> str | None:
        """In words, how the targets of `other` differ; None if they are equal."""
        if self.windows != other.windows:
            return f"{self.windows} windows against {other.windows}"
        for name in ("recording", "start", "line"):
            if not np.array_equal(getattr(self, name), getattr(other, name)):
                return f"windows differ in {name}"
        if len(self.gold) != len(other.gold):
            return f"{len(self.gold)} target positions against {len(other.gold)}"
        for name in ("gold", "window", "applies"):
            if not np.array_equal(getattr(self, name), getattr(other, name)):
                return f"target positions differ in {name}"
        return None


@dataclass(frozen=True)
class Group:
    """Positions of one head with the same possible classes.

    Attributes:
        position: (n,) index into the P target positions. rows: (n,) index into the head's stored logits.
        classes: (v,) the possible classes of the head. gold: (n,) index into `classes`.
    """

    position: np.ndarray
    rows: np.ndarray
    classes: np.ndarray
    gold: np.ndarray


@dataclass(frozen=True)
class Layout:
    """Where each head applies, for all runs with the same `targets` and `vocabulary`."""

    targets: Targets
    groups: dict[str, tuple[Group, ...]]
    unknown: np.ndarray  # (P,) the target is not in the vocabulary and no head applies: never right

    @classmethod
    def of(
        cls, targets: Targets, vocabulary: Vocabulary, *, everything: bool = False, where: str = ""
    ) -> Layout:
        """Computes the groups of all heads.

        Args:
            everything: all positions with stored logits, so also the parameter type at value positions, which
                is not part of the probability of a token.
            where: the file of the targets, for errors.

        Raises:
            InputError: the targets have ids or factors that the vocabulary lacks.
        """
        if targets.gold.min(initial=0) < 0 or targets.gold.max(initial=0) >= len(vocabulary):
            of = f"{where}: " if where else ""
            raise InputError(f"{of}targets have token ids above the vocabulary's {len(vocabulary)} tokens")
        factors = vocabulary.factor_table[targets.gold]  # (P, 4)
        sizes = vocabulary.head_sizes
        asked = {
            "type": targets.applies[:, 0],
            "command": targets.applies[:, 1] & (factors[:, 0] == COMMAND),
            "param_type": targets.applies[:, 2] & ((factors[:, 0] == PARAM_TYPE) | everything),
            "param_value": targets.applies[:, 3] & (factors[:, 3] >= 0),
        }
        groups: dict[str, tuple[Group, ...]] = {}
        for h, head in enumerate(HEADS):
            rows = np.cumsum(targets.applies[:, h]) - 1  # position → row of the stored logits
            position = np.flatnonzero(asked[head])
            answer = factors[position, h]
            if head == "param_value":
                owner = vocabulary.value_param_type[answer]
                parts = [
                    (owner == letter, np.flatnonzero(vocabulary.value_param_type == letter))
                    for letter in np.unique(owner)
                ]
            else:
                parts = [(np.ones(len(position), dtype=bool), np.arange(sizes[head]))]
            groups[head] = tuple(
                Group(position[here], rows[position[here]], classes, np.searchsorted(classes, answer[here]))
                for here, classes in parts
                if here.any()
            )
        return cls(targets, groups, (targets.gold == UNK) & ~targets.applies[:, 0])


def read_targets(path: Path) -> Targets:
    """The targets of one `predictions/<part>.npz`.

    Raises:
        InputError: missing, torn, or not the predictions of a run.
    """
    with opened(path) as arrays:
        targets = Targets.of(arrays)
    for name, array in targets.to_arrays().items():
        expected = ("b", 2) if name == "applies" else ("iu", 1)
        if array.dtype.kind not in expected[0] or array.ndim != expected[1]:
            raise InputError(f"{path}: '{name}' is {array.dtype} of shape {array.shape}: not a run's")
    positions, windows = len(targets.gold), targets.windows
    if targets.applies.shape != (positions, len(HEADS)) or len(targets.window) != positions:
        raise InputError(f"{path}: arrays of {positions} target positions do not fit together")
    if positions == 0 or targets.window.min() < 0 or targets.window.max() >= windows:
        raise InputError(f"{path}: {positions} target positions for {windows} windows")
    return targets


def read_log_probabilities(path: Path, layout: Layout) -> dict[str, list[np.ndarray]]:
    """Head → one (n, v) float32 array per group of `layout`: log-probabilities over its classes.

    Raises:
        InputError: torn, not the shape of the layout, or not finite.
    """
    read: dict[str, list[np.ndarray]] = {}
    with opened(path) as arrays:
        for h, head in enumerate(HEADS):
            logits = arrays[head]
            if len(logits) != int(layout.targets.applies[:, h].sum()):
                raise InputError(f"{path}: {len(logits)} rows of {head} logits do not fit its targets")
            read[head] = [
                np.maximum(log_softmax(_chosen(logits, group, path, head), axis=-1), FLOOR)
                for group in layout.groups[head]
            ]
    return read


def part_file(run: Path, part: str) -> Path:
    """The file with the predictions of `part` of a run."""
    return run / PREDICTIONS / f"{part}.npz"


@contextmanager
def opened(path: Path) -> Iterator[NpzFile]:
    """An open npz file of predictions; if it is damaged, an InputError names it."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = [key for key in KEYS if key not in arrays]
            if missing:
                raise InputError(f"{path}: no predictions of a run (no '{missing[0]}' in it)")
            yield arrays
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except (
        zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError, AttributeError, MemoryError
    ) as error:  # fmt: skip
        raise InputError(f"{path}: not readable ({error}); was it cut off?") from None


def _chosen(logits: np.ndarray, group: Group, path: Path, head: str) -> np.ndarray:
    """(n, v) float32 logits of the rows and classes of the group."""
    if (
        logits.dtype.kind != "f"
        or logits.ndim != 2
        or (len(group.classes) and logits.shape[1] <= group.classes[-1])
    ):
        kind = f"{logits.dtype}, shape {logits.shape}"
        raise InputError(f"{path}: {head} logits ({kind}) do not fit the vocabulary")
    chosen = logits[group.rows]
    if len(group.classes) < logits.shape[1]:
        chosen = np.take(chosen, group.classes, axis=1)  # rows stay contiguous, unlike [:, classes]
    chosen = chosen.astype(np.float32)
    if np.isnan(chosen).any() or np.isposinf(chosen).any():
        raise InputError(f"{path}: {head} logits are not finite")
    return chosen


def stacked(members: Sequence[dict[str, list[np.ndarray]]], head: str) -> list[np.ndarray]:
    """One (K, n, v) array per group, from `read_log_probabilities` of K members."""
    return [np.stack(arrays) for arrays in zip(*(member[head] for member in members), strict=True)]
