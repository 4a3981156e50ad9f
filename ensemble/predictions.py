"""A run's stored predictions, read head by head as log-probabilities of what decoding asks of that head.

P target positions of a part's W windows; a head is asked only where its answer is part of the token's
probability (the schema is the trainer's, `predictions/<part>.npz`):

    type         every position
    command      where the true type is command
    param_type   where the true type is parameter type
    param_value  where it is a value: among the values of that value's parameter, renormalised

The last rule splits the value head into one group of positions a parameter, with that parameter's classes
alone.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from scipy.special import log_softmax

from model.run_files import PREDICTIONS
from model.tokens import COMMAND, HEADS, PARAM_TYPE, UNK, Vocabulary
from tuner.base.errors import InputError

FLOOR = -30.0  # log-probabilities end here: one certain and wrong run must not decide a sum of thousands
KEYS = ("gold", "window", "step", "recording", "start", "line", "applies", *HEADS)


@dataclass(frozen=True)
class Targets:
    """What a part asks, the same for every run of one split and vocabulary.

    Attributes:
        gold: (P,) token ids. window: (P,) index of the position's window. step: (P,) place in the line.
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
        """From the arrays of a prediction file (others in it are not read)."""
        return cls(**{entry.name: arrays[entry.name] for entry in dataclasses.fields(cls)})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The inverse of `of`."""
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}

    @property
    def windows(self) -> int:
        """W, the number of windows."""
        return len(self.recording)

    @cached_property
    def positions_of_window(self) -> np.ndarray:
        """(W,) target positions of each window."""
        return np.bincount(self.window, minlength=self.windows)

    def difference(self, other: Targets) -> str | None:
        """In words, how `other` asks something else; None when both ask the same."""
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
    """Positions of one head that choose among the same classes.

    Attributes:
        position: (n,) index into the P target positions. rows: (n,) index into the head's stored logits.
        classes: (v,) the head's classes they choose among. gold: (n,) index into `classes`.
    """

    position: np.ndarray
    rows: np.ndarray
    classes: np.ndarray
    gold: np.ndarray


@dataclass(frozen=True)
class Layout:
    """Where each head is asked, for all runs that share `targets` and `vocabulary`."""

    targets: Targets
    groups: dict[str, tuple[Group, ...]]
    unknown: np.ndarray  # (P,) the target is not in the vocabulary and no head is asked: never right

    @classmethod
    def of(
        cls, targets: Targets, vocabulary: Vocabulary, *, everything: bool = False, where: str = ""
    ) -> Layout:
        """Works out the groups of every head.

        Args:
            everything: all positions with stored logits, so also the parameter type of value positions, which
                is no part of a token's probability.
            where: the file of the targets, for errors.

        Raises:
            InputError: the targets hold ids or factors that the vocabulary does not have.
        """
        if targets.gold.min(initial=0) < 0 or targets.gold.max(initial=0) >= len(vocabulary):
            of = f"{where}: " if where else ""
            raise InputError(f"{of}targets hold token ids beyond the vocabulary's {len(vocabulary)} tokens")
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
        InputError: missing, torn, or not a run's predictions.
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
    """Head → one (n, v) float32 array a group of `layout`: log-probabilities over the group's classes.

    Raises:
        InputError: torn, of another shape than the layout, or not finite.
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
    """Where a run keeps its predictions of `part`."""
    return run / PREDICTIONS / f"{part}.npz"


@contextmanager
def opened(path: Path) -> Iterator[NpzFile]:
    """An open npz file of predictions; every way in which it can be broken is an InputError that names it."""
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
    """(n, v) float32 of the group's rows and classes."""
    if (
        logits.dtype.kind != "f"
        or logits.ndim != 2
        or (len(group.classes) and logits.shape[1] <= group.classes[-1])
    ):
        kind = f"{logits.dtype}, shape {logits.shape}"
        raise InputError(f"{path}: {head} logits ({kind}) do not fit the vocabulary")
    chosen = logits[group.rows]
    if len(group.classes) < logits.shape[1]:
        chosen = np.take(chosen, group.classes, axis=1)  # rows stay contiguous, unlike with [:, classes]
    chosen = chosen.astype(np.float32)
    if np.isnan(chosen).any() or np.isposinf(chosen).any():
        raise InputError(f"{path}: {head} logits are not finite")
    return chosen


def stacked(members: Sequence[dict[str, list[np.ndarray]]], head: str) -> list[np.ndarray]:
    """One (K, n, v) array a group from K members' `read_log_probabilities`."""
    return [np.stack(arrays) for arrays in zip(*(member[head] for member in members), strict=True)]
