"""Baselines without a network. Every report prints them next to its models.

They use the same windows, labels and parts as training and are scored like a network. A baseline gives each
line of train a weight. `exact_acc` is the share of windows whose line with the largest weight is right.
`overall_acc` is the share of right tokens, EOS included, teacher-forced: the next token is that of the line
with the largest weight among those that start with the true tokens. If there is none, it is the most frequent
continuation in train.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from model.config import Config
from model.recordings import NO_LINE, Recordings
from model.registration import Registration
from model.tokens import BOS, EOS, UNK, Vocabulary
from model.windows import Windows, find_windows, split, split_windows
from tuner.base.errors import InputError

TREES = 120
TREES_AT_ONCE = 20  # leaves store a share for every line: all trees at once do not fit in memory
TREE_FEATURES = (
    0.1  # share tried per split; the usual square root misses the position: 73 instead of 87 % exact
)
NEIGHBOURS = 5
EDGE_ROWS = 8  # rows at either end of a window whose means are features
DIGITS = 4


@dataclass(frozen=True)
class Score:
    """One baseline's figures on the part that is reported."""

    name: str
    overall_acc: float
    exact_acc: float
    leak: bool = False  # it uses the row number, which a model of sensors must not know


@dataclass(frozen=True, eq=False)
class Problem:
    """The windows of one track, ready for any baseline.

    `train` and `test` are indices of windows.
    """

    data: Recordings
    track: str
    window: int
    windows: Windows
    train: np.ndarray
    test: np.ndarray
    vocabulary: Vocabulary
    tokens: tuple[tuple[int, ...], ...]  # of every line of the data set, EOS included

    @cached_property
    def classes(self) -> np.ndarray:
        """Ids of the lines that label windows of train."""
        return np.unique(self.windows.line[self.train])

    @cached_property
    def labels(self) -> np.ndarray:
        """(train,) index into `classes` of the line of each train window."""
        return np.searchsorted(self.classes, self.windows.line[self.train])

    @property
    def unknown_rate(self) -> float:
        """Share of target tokens in test that train does not have: unavoidable errors."""
        targets = [token for w in self.test for token in self.tokens[self.windows.line[w]]]
        return targets.count(UNK) / max(len(targets), 1)


def prepare(
    data: Recordings,
    *,
    track: str = "recordings",
    split_seed: int = Config.split_seed,
    published: Path | None = None,
) -> Problem:
    """Windows, parts and tokens of a track, as in training; `published` is the file of another vocabulary.

    Raises:
        InputError: rows without a line, or too few recordings to learn from some and test on others.
    """
    if (np.asarray(data.line_ids) == NO_LINE).any():
        raise InputError(f"{data.name}: has rows without a line; training needs the line of every row")
    windows = find_windows(data, window=Config.window, stride=Config.stride)
    if track == "windows":
        parts = split_windows(data, windows)
        train, test = parts["train"], parts["test"]
    else:
        recordings = split(data, seed=split_seed)
        train, test = (np.flatnonzero(np.isin(windows.recording, recordings[p])) for p in ("train", "test"))
    if not len(train) or not len(test):
        raise InputError(
            f"{data.name}: {len(train)} windows to learn from and {len(test)} to test on; "
            "the split needs at least two recordings of some operation"
        )
    counts = Counter(data.lines[line] for line in windows.line[train])
    if published is not None:
        vocabulary = Vocabulary.from_published(published, counts)
    else:
        vocabulary = Vocabulary.build(counts, digits=DIGITS)
    tokens = tuple((*vocabulary.encode(line), EOS) for line in data.lines)
    return Problem(data, track, Config.window, windows, train, test, vocabulary, tokens)


def baselines(
    problem: Problem, *, seed: int = 0, progress: Callable[[str], None] = lambda name: None
) -> Iterator[Score]:
    """All baselines of a track, the cheapest first."""
    scorer = Scorer(problem)
    yield scorer.prefix()
    sensors = "sensors + position" if problem.track == "windows" else "sensors"
    for centred in (False, True):
        how = f"{sensors}, re-centred per recording" if centred else sensors
        progress(f"window statistics of {how}")
        features = window_statistics(problem, centred=centred)
        yield scorer.score(f"{NEIGHBOURS} nearest neighbours, {how}", neighbours(problem, features))
        progress(f"extra-trees on {how}")
        yield scorer.score(f"extra-trees, {how}", extra_trees(problem, features, seed=seed))
    if problem.track == "recordings":
        progress("clocks of the boards")
        features = window_statistics(problem, centred=True, delays=delays(problem))
        progress("extra-trees on registered sensors")
        name = f"extra-trees, {sensors}, re-centred and registered in time"
        yield scorer.score(name, extra_trees(problem, features, seed=seed))
    yield scorer.score("row number alone, no sensors", clock(problem, operation=False), leak=True)
    told = clock(problem, operation=True)
    yield scorer.score("true operation + row number, no sensors", told, leak=True)


class Scorer:
    """Scores weights of the lines of train on the windows of test."""

    def __init__(self, problem: Problem) -> None:
        self.classes = [problem.tokens[line] for line in problem.classes]
        self.gold = [problem.tokens[line] for line in problem.windows.line[problem.test]]
        self.follow: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for line in problem.windows.line[problem.train]:
            target = (BOS, *problem.tokens[line])
            for i in range(1, len(target)):
                for start in range(i):
                    self.follow[target[start:i]][target[i]] += 1

    def continuation(self, before: tuple[int, ...]) -> int:
        """The most frequent token in train after `before`, or after its longest suffix seen there."""
        while before not in self.follow:
            before = before[1:]
            if not before:
                return EOS
        return min(self.follow[before].items(), key=lambda item: (-item[1], item[0]))[0]

    def prefix(self) -> Score:
        """The most frequent continuation of the prefix; free-running, it is one line for all windows."""
        said: tuple[int, ...] = (BOS,)
        while said[-1] != EOS and len(said) < 32:
            said = (*said, self.continuation(said))
        right = [self.continuation((BOS, *g[:i])) == g[i] for g in self.gold for i in range(len(g))]
        exact = [said[1:] == g for g in self.gold]
        return Score("most frequent continuation of the prefix", float(np.mean(right)), float(np.mean(exact)))

    def score(self, name: str, weights: np.ndarray, *, leak: bool = False) -> Score:
        """The score of `weights` (test windows, lines of train)."""
        right = total = exact = 0
        for weight, gold in zip(weights, self.gold, strict=True):
            order = [self.classes[i] for i in np.argsort(-weight, kind="stable") if weight[i] > 0]
            exact += order[0] == gold
            total += len(gold)
            for i, token in enumerate(gold):
                said = order[0][i] if order else self.continuation((BOS, *gold[:i]))
                right += said == token
                order = [line for line in order if line[i] == token]
        return Score(name, right / total, exact / len(self.gold), leak=leak)


def window_statistics(
    problem: Problem, *, centred: bool, delays: Mapping[int, int] | None = None
) -> np.ndarray:
    """(windows, features) float32: each channel's mean, deviation, extremes, mean of first and last rows.

    `centred` subtracts the mean of the recording from every channel. `delays`: rows by which the sensors of a
    recording lag. On the track "windows" the position of the machine is among the channels.
    """
    data, out = problem.data, []
    for i, recording in enumerate(data.recordings):
        rows = slice(recording.start, recording.start + recording.rows)
        x = np.asarray(data.signals[rows], dtype=np.float32)
        if problem.track == "windows":
            x = np.concatenate([x, np.nan_to_num(data.position[rows])], axis=1)
        if centred:
            x = x - x.mean(axis=0)
        starts = problem.windows.start[problem.windows.recording == i] - recording.start
        late = (delays or {}).get(i, 0)
        at = starts[:, None] + late + np.arange(problem.window)
        views = x[at.clip(0, recording.rows - 1)]  # (windows, rows, channels)
        edges = views[:, :EDGE_ROWS].mean(axis=1), views[:, -EDGE_ROWS:].mean(axis=1)
        parts = (views.mean(axis=1), views.std(axis=1), views.min(axis=1), views.max(axis=1), *edges)
        out.append(np.concatenate(parts, axis=1))
    return np.concatenate(out)


def delays(problem: Problem) -> dict[int, int]:
    """Rows by which the sensors of each recording lag behind its lines, as for the network."""
    train = sorted(set(problem.windows.recording[problem.train].tolist()))
    registration, found = Registration.fit(problem.data, train)
    rest = set(problem.windows.recording[problem.test].tolist()) - set(train)
    return found | {i: registration.delay(problem.data, i) for i in sorted(rest)}


def neighbours(problem: Problem, features: np.ndarray) -> np.ndarray:
    """(test, lines): one vote per nearest train window; a tie goes to the nearest."""
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features[problem.train])
    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(problem.train)), algorithm="brute")
    search.fit(scaler.transform(features[problem.train]))
    near = search.kneighbors(scaler.transform(features[problem.test]), return_distance=False)
    weights = np.zeros((len(problem.test), len(problem.classes)))
    for rank in range(near.shape[1]):
        weights[np.arange(len(near)), problem.labels[near[:, rank]]] += 1 + 0.01 * 2.0**-rank
    return weights


def extra_trees(problem: Problem, features: np.ndarray, *, seed: int) -> np.ndarray:
    """(test, lines): class probabilities of extremely randomised trees (Geurts et al. 2006)."""
    from sklearn.ensemble import ExtraTreesClassifier

    weights = np.zeros((len(problem.test), len(problem.classes)))
    for batch in range(TREES // TREES_AT_ONCE):
        trees = ExtraTreesClassifier(
            TREES_AT_ONCE, max_features=TREE_FEATURES, n_jobs=-1, random_state=seed * 1000 + batch
        )
        trees.fit(features[problem.train], problem.labels)
        weights += trees.predict_proba(features[problem.test])
    return weights


def clock(problem: Problem, *, operation: bool) -> np.ndarray:
    """(test, lines): how often train has each line at the same row (of the same operation)."""
    data, windows = problem.data, problem.windows
    starts = np.array([recording.start for recording in data.recordings])
    row = windows.start - starts[windows.recording]
    kind = np.array([r.operation if operation else "" for r in data.recordings])[windows.recording]
    weights = np.zeros((len(problem.test), len(problem.classes)))
    for k, w in enumerate(problem.test):
        same = kind[problem.train] == kind[w]
        distance = np.abs(row[problem.train] - row[w]) + np.where(same | ~same.any(), 0, 1_000_000)
        np.add.at(weights[k], problem.labels[distance == distance.min()], 1)
    return weights
