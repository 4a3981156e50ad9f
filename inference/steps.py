"""Next-token logits of partial lines for decoders, as numpy arrays, in batches.

`NetworkSteps` runs the network each time. `CachedSteps` caches the logits of each (window, prefix), so that
decoding the same windows with other options does not run the network again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.tokens import BOS, HEADS, PARAM_TYPE

ROOTS = 1024  # windows with a cached first state: some 35 kB per window, layer and network

Rows = NDArray[np.int64]
Logits = dict[str, NDArray[np.float32]]  # head -> (rows, classes)


class Steps(Protocol):
    """Next-token logits of partial lines. A state belongs to a batch of rows, one partial line each.

    `operation`: `(windows, operations)` log-probabilities of the windows so far.
    """

    @property
    def operation(self) -> NDArray[np.float32]: ...

    def begin(self, windows: Rows) -> tuple[Logits, Any]:
        """Logits of the first token of each of `windows` (indices), and the state."""
        ...

    def advance(self, state: Any, rows: Rows, tokens: Rows) -> tuple[Logits, Any]:
        """Row i of the result continues row `rows[i]` of `state` with `tokens[i]`."""
        ...


class NetworkSteps:
    """The predictor of a run or bundle on the windows of some recordings; each window is encoded once.

    Attributes:
        operation: `(windows, operations)` log-probabilities of the windows so far.
    """

    def __init__(self, predictor: Any, loaded: Any) -> None:
        self._predictor = predictor
        self._loaded = loaded
        self.operation = np.zeros((len(loaded), len(predictor.operations)), dtype=np.float32)

    def begin(self, windows: Rows) -> tuple[Logits, Any]:
        """Encodes `windows` and takes the first step."""
        import torch

        with torch.inference_mode():
            memory = self._predictor.encode(self._loaded, windows)
            operation = torch.log_softmax(self._predictor.operation_logits(memory), dim=-1)
            self.operation[windows] = operation.cpu().numpy()
            tokens = torch.full((len(windows),), BOS, dtype=torch.long)
            logits, state = self._predictor.advance(self._predictor.begin(memory), tokens)
        return _numpy(logits), state

    def advance(self, state: Any, rows: Rows, tokens: Rows) -> tuple[Logits, Any]:
        """Reorders keys and values (unless all rows stay in place), then takes one step."""
        import torch

        with torch.inference_mode():
            logits, state = self._predictor.advance(
                self._predictor.reorder(state, torch.from_numpy(rows)), torch.from_numpy(tokens)
            )
        return _numpy(logits), state


@dataclass
class _Node:
    """A batch of nodes of the prefix tree: their windows and tokens."""

    window: list[int] = field(default_factory=list)
    parent: list[int] = field(default_factory=list)
    token: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _CachedState:
    nodes: Rows
    inner: Any  # the network state of the same rows; None if the network was not run


class CachedSteps:
    """Caches the logits of `steps` in a tree of prefixes per window.

    Value logits, by far the widest, are kept only after a parameter. An unknown prefix is computed from the
    state of its parent if there is one, else by replaying its tokens from the first state of the window. The
    first state is kept for up to `ROOTS` windows; other windows are encoded again.
    """

    def __init__(self, steps: Steps, kinds: NDArray[np.int64]) -> None:
        """`kinds` (tokens,) is the type of each token: the first column of the vocabulary's factor table."""
        self._steps = steps
        self._kinds = kinds
        self._tree = _Node()
        self._children: dict[tuple[int, int], int] = {}  # (parent node or -1 - window, token) -> node
        self._roots: dict[int, tuple[Any, int]] = {}  # window -> a state and its row there
        self._narrow: dict[str, _Table] = {head: _Table() for head in HEADS[:3]}
        self._values = _Table()
        self._value_row: list[int] = []  # row of a node in _values, -1 if no value can follow
        self.misses = 0

    def __len__(self) -> int:
        return len(self._tree.window)

    @property
    def operation(self) -> NDArray[np.float32]:
        """The operation log-probabilities of the network, see `NetworkSteps`."""
        return self._steps.operation

    def begin(self, windows: Rows) -> tuple[Logits, Any]:
        """Known first steps come from the cache; if any is new, the network runs for all of `windows`."""
        keys = [(-1 - int(w), BOS) for w in windows]
        inner = None
        if any(key not in self._children for key in keys):
            logits, inner = self._begin(windows)
            self._add(keys, [int(w) for w in windows], logits)
        nodes = np.array([self._children[key] for key in keys], dtype=np.int64)
        return self._logits(nodes), _CachedState(nodes, inner)

    def advance(self, state: _CachedState, rows: Rows, tokens: Rows) -> tuple[Logits, Any]:
        """See `Steps.advance`; unknown prefixes are computed, known ones come from the cache."""
        parents = state.nodes[rows]
        keys = list(zip(parents.tolist(), tokens.tolist(), strict=True))
        missing = [i for i, key in enumerate(keys) if key not in self._children]
        inner = None
        if missing and state.inner is not None:
            logits, inner = self._steps.advance(state.inner, rows, tokens)
            self._add(keys, [self._tree.window[p] for p in parents], logits)
        elif missing:
            new = np.array(missing, dtype=np.int64)
            self._replay([keys[i] for i in missing], parents[new], tokens[new])
        nodes = np.array([self._children[key] for key in keys], dtype=np.int64)
        return self._logits(nodes), _CachedState(nodes, inner)

    def unremembered(self) -> Steps:
        """The same network and first states, without caching the steps after them.

        For random draws, most of whose prefixes occur once.
        """
        return _FromRoots(self, self._steps, self._roots)

    def _begin(self, windows: Rows) -> tuple[Logits, Any]:
        logits, inner = self._steps.begin(windows)
        if len(self._roots) + len(windows) <= ROOTS:
            self._roots.update((int(w), (inner, row)) for row, w in enumerate(windows))
        return logits, inner

    def _replay(self, keys: list[tuple[int, int]], parents: Rows, tokens: Rows) -> None:
        """Adds the nodes `keys` by their tokens from the start. All parents of a batch have equal length."""
        owners = np.array([self._tree.window[p] for p in parents], dtype=np.int64)
        lost = np.array(sorted({int(w) for w in owners} - set(self._roots)), dtype=np.int64)
        roots = dict(self._roots)
        if len(lost):
            _, inner = self._begin(lost)
            roots.update((int(w), (inner, row)) for row, w in enumerate(lost))
        batches: dict[int, list[int]] = {}
        for i, owner in enumerate(owners):
            batches.setdefault(id(roots[int(owner)][0]), []).append(i)
        for batch in batches.values():
            inner = roots[int(owners[batch[0]])][0]
            rows = np.array([roots[int(owners[i])][1] for i in batch], dtype=np.int64)
            prefixes = np.array([[*self._prefix(int(parents[i])), int(tokens[i])] for i in batch])
            for column in prefixes.T:
                logits, inner = self._steps.advance(inner, rows, np.ascontiguousarray(column))
                rows = np.arange(len(batch))
            self._add([keys[i] for i in batch], [int(owners[i]) for i in batch], logits)

    def _prefix(self, node: int) -> list[int]:
        """The tokens of `node`, without BOS."""
        tokens: list[int] = []
        while self._tree.parent[node] >= 0:
            tokens.append(self._tree.token[node])
            node = self._tree.parent[node]
        return tokens[::-1]

    def _add(self, keys: list[tuple[int, int]], windows: list[int], logits: Logits) -> None:
        fresh, kept = [], set()
        for i, key in enumerate(keys):
            if key not in self._children and key not in kept:
                fresh.append(i)
                kept.add(key)
        if not fresh:
            return
        self.misses += len(fresh)
        rows = np.array(fresh, dtype=np.int64)
        for head, table in self._narrow.items():
            table.append(logits[head][rows])
        due = np.array([self._kinds[keys[i][1]] == PARAM_TYPE for i in fresh])
        row_of = np.where(due, len(self._values) + np.cumsum(due) - 1, -1)
        self._values.append(logits["param_value"][rows[due]])
        self._value_row.extend(row_of.tolist())
        for i in fresh:
            self._children[keys[i]] = len(self._tree.window)
            self._tree.window.append(windows[i])
            self._tree.parent.append(keys[i][0])
            self._tree.token.append(keys[i][1])

    def _logits(self, nodes: Rows) -> Logits:
        logits = {head: table.rows(nodes) for head, table in self._narrow.items()}
        value_rows = np.array([self._value_row[n] for n in nodes], dtype=np.int64)
        values = np.zeros((len(nodes), self._values.width), dtype=np.float32)
        due = value_rows >= 0
        if due.any():
            values[due] = self._values.rows(value_rows[due])
        return {**logits, "param_value": values}


class _FromRoots:
    """See `CachedSteps.unremembered`. A state is that of the network and its rows in use (None: all)."""

    def __init__(self, cache: CachedSteps, steps: Steps, roots: dict[int, tuple[Any, int]]) -> None:
        self._cache, self._steps, self._roots = cache, steps, roots

    @property
    def operation(self) -> NDArray[np.float32]:
        return self._steps.operation

    def begin(self, windows: Rows) -> tuple[Logits, Any]:
        logits, _ = self._cache.begin(windows)
        roots = [self._roots.get(int(w)) for w in windows]
        inner = roots[0][0] if roots and roots[0] else None
        if inner is None or any(root is None or root[0] is not inner for root in roots):
            logits, inner = self._steps.begin(windows)
            return logits, (inner, None)
        return logits, (inner, np.array([root[1] for root in roots if root], dtype=np.int64))

    def advance(self, state: Any, rows: Rows, tokens: Rows) -> tuple[Logits, Any]:
        inner, ours = state
        logits, inner = self._steps.advance(inner, rows if ours is None else ours[rows], tokens)
        return logits, (inner, None)


class _Table:
    """A growing array of rows: its memory doubles when full."""

    def __init__(self) -> None:
        self._data = np.zeros((0, 0), dtype=np.float32)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def width(self) -> int:
        return self._data.shape[1]

    def append(self, rows: NDArray[np.float32]) -> None:
        end = self._length + len(rows)
        if self._data.shape[1] != rows.shape[1] or end > len(self._data):
            grown = np.zeros((max(end, 2 * len(self._data), 256), rows.shape[1]), dtype=np.float32)
            if self._length:
                grown[: self._length] = self._data[: self._length]
            self._data = grown
        self._data[self._length : end] = rows
        self._length = end

    def rows(self, index: Rows) -> NDArray[np.float32]:
        return self._data[index]


def _numpy(logits: dict[str, Any]) -> Logits:
    return {head: logits[head].float().cpu().numpy() for head in HEADS}
