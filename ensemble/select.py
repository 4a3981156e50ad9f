"""Selects members: the first K candidates that can be combined and are not near-duplicates."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ensemble.candidates import Candidate, Skipped
from ensemble.predictions import Layout, part_file, read_log_probabilities, read_targets
from model.run_files import VOCABULARY
from model.tokens import HEADS, Vocabulary
from tuner.base.errors import InputError
from tuner.base.files import read_json
from tuner.base.run_folder import CONFIG

MAX_CORRELATION = 0.99
LogP = dict[str, list[np.ndarray]]  # as `read_log_probabilities` returns it


@dataclass(frozen=True)
class Taken:
    """The selected members, best first, and their log-probabilities on `calibrate`."""

    candidates: tuple[Candidate, ...]
    vocabulary: Vocabulary
    layout: Layout
    log_p: tuple[LogP, ...]
    correlations: tuple[float, ...]  # of each with the most similar one before it


def take(
    ranked: Sequence[Candidate], *, k: int, skipped: Skipped, max_correlation: float = MAX_CORRELATION
) -> Taken:
    """The first `k` of `ranked` that can be combined.

    Members must have the same vocabulary and windows. The probability of a coarse bucket says nothing about
    the finer values in it, so a pool of two vocabularies would depend on how a bucket is spread. The most
    common kind of run is taken; the others are left out and listed.

    Args:
        max_correlation: a run is left out if its probabilities of the targets correlate more than this with
            those of a better run; 1 or more keeps all.

    Raises:
        InputError: no run is usable; runs have different splits; or two runs of one kind have different
            targets.
    """
    usable = _of_one_kind(ranked, skipped)
    if not usable:
        raise InputError(f"no usable run left: {'; '.join(skipped.lines())}")
    vocabulary = Vocabulary.from_json(read_json(usable[0].folder / VOCABULARY))
    reference: tuple[str, Layout] | None = None
    taken: list[tuple[Candidate, LogP, np.ndarray, float]] = []
    for candidate in usable:
        if len(taken) == k:
            break
        path = part_file(candidate.folder, "calibrate")
        try:
            targets = read_targets(path)
            layout = reference[1] if reference else Layout.of(targets, vocabulary, where=str(path))
            if (difference := layout.targets.difference(targets)) is None:
                log_p = read_log_probabilities(path, layout)
        except InputError as error:
            skipped.add(candidate.name, str(error))
            continue
        if difference is not None:
            assert reference is not None
            raise InputError(
                f"{reference[0]} and {candidate.name} are of one kind, but their targets (calibrate) differ: "
                f"{difference}; train one of them again, or leave its study out with --study"
            )
        reference = reference or (candidate.name, layout)
        shape = _shape(log_p, layout)
        twin, correlation = _most_similar(shape, taken)
        if correlation > max_correlation:
            skipped.add(candidate.name, f"nearly the predictions of {twin} (r = {correlation:.4f})")
            continue
        taken.append((candidate, log_p, shape, correlation))
    if not taken or reference is None:
        raise InputError(f"no usable run left: {'; '.join(skipped.lines())}")
    candidates, arrays, _, correlations = zip(*taken, strict=True)
    return Taken(candidates, vocabulary, reference[1], arrays, correlations)


def _most_similar(
    shape: np.ndarray, taken: Sequence[tuple[Candidate, LogP, np.ndarray, float]]
) -> tuple[str, float]:
    """Name and correlation of the most similar member so far; 0 if there is none."""
    best = ("", 0.0)
    for candidate, _, other, _ in taken:
        correlation = float(np.mean(shape * other))
        if correlation > best[1]:
            best = (candidate.name, correlation)
    return best


def _shape(log_p: Mapping[str, list[np.ndarray]], layout: Layout) -> np.ndarray:
    """(positions,) probability of the target, standardised, so that a mean product is a correlation."""
    parts = [
        np.exp(array[np.arange(len(group.gold)), group.gold])
        for head in HEADS
        for array, group in zip(log_p[head], layout.groups[head], strict=True)
    ]
    p = np.concatenate(parts).astype(np.float64)
    return (p - p.mean()) / max(float(p.std()), 1e-12)


@dataclass(frozen=True)
class _Kind:
    """What two runs must share to have the same targets, given the same data and split."""

    digits: int | None
    tokens: int
    token_hash: str
    window: int
    stride: int
    split_seed: int

    def difference(self, other: _Kind) -> str:
        """In words, how `other` differs from this kind."""
        if (self.window, self.stride) != (other.window, other.stride):
            return (
                f"its windows ({other.window} rows, stride {other.stride}) are not those of most "
                f"({self.window} rows, stride {self.stride}): their targets are other lines"
            )
        return (
            f"its vocabulary ({_digits(other.digits)}, {other.tokens} tokens) is not that of most "
            f"({_digits(self.digits)}, {self.tokens} tokens): a bucket's probability says nothing "
            "about finer values"
        )


def _of_one_kind(ranked: Sequence[Candidate], skipped: Skipped) -> list[Candidate]:
    """The runs of the most common kind (ties: that of the best run); the others go to `skipped`."""
    kinds: dict[_Kind, list[Candidate]] = {}
    for candidate in ranked:
        try:
            vocabulary = read_json(candidate.folder / VOCABULARY)
            kinds.setdefault(_kind(vocabulary, read_json(candidate.folder / CONFIG)), []).append(candidate)
        except (InputError, KeyError, TypeError) as error:
            skipped.add(candidate.name, f"{VOCABULARY} or {CONFIG} is not one of ours ({error})")
    if not kinds:
        return []
    _require_same_split(kinds)
    common = max(kinds, key=lambda kind: len(kinds[kind]))
    for kind, candidates in kinds.items():
        if kind != common:
            for candidate in candidates:
                skipped.add(candidate.name, common.difference(kind))
    return kinds[common]


def _kind(vocabulary: Mapping[str, Any], config: Mapping[str, Any]) -> _Kind:
    tokens = vocabulary["tokens"]
    digest = hashlib.sha256("\n".join(tokens).encode()).hexdigest()
    return _Kind(
        digits=vocabulary["digits"],
        tokens=len(tokens),
        token_hash=digest,
        window=config["window"],
        stride=config["stride"],
        split_seed=config["split_seed"],
    )


def _require_same_split(kinds: Mapping[_Kind, Sequence[Candidate]]) -> None:
    """InputError that names two runs with different splits: one was trained on held-out data of the other."""
    seeds = {kind.split_seed: candidates[0] for kind, candidates in kinds.items()}
    if len(seeds) > 1:
        (one, first), (two, second) = list(seeds.items())[:2]
        raise InputError(
            f"runs of different splits do not combine: {first.name} has split_seed {one}, {second.name} has "
            f"{two}; name studies of one kind with --study"
        )


def _digits(digits: int | None) -> str:
    return "all digits" if digits is None else f"{digits} digits"
