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
NODES = 300_000  # cached prefixes, some 1 kB each

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


Held = dict[int, tuple[Any, int]]  # node -> a network state and its row there


@dataclass(frozen=True)
class _CachedState:
    nodes: Rows
    held: Held  # of those nodes that the network was run for


class CachedSteps:
    """Caches the logits of `steps` in a tree of prefixes per window.

    Value logits, by far the widest, are kept only after a parameter. An unknown prefix is computed from the
    network state of its parent. If that is gone, the parents are replayed from the first states of their
    windows: all together, token by token, each distinct prefix once. The first state is kept for up to
    `ROOTS` windows; other windows are encoded again. A full cache (`NODES`) starts anew, so only the states
    of the newest search may be continued.
    """

    def __init__(self, steps: Steps, kinds: NDArray[np.int64]) -> None:
        """`kinds` (tokens,) is the type of each token: the first column of the vocabulary's factor table."""
        self._steps = steps
        self._kinds = kinds
        self._roots: Held = {}  # window -> its first state
        self.misses = 0
        self._clear()

    def _clear(self) -> None:
        self._tree = _Node()
        self._children: dict[tuple[int, int], int] = {}  # (parent node or -1 - window, token) -> node
        self._narrow: dict[str, _Table] = {head: _Table() for head in HEADS[:3]}
        self._values = _Table()
        self._value_row: list[int] = []  # row of a node in _values, -1 if no value can follow

    def __len__(self) -> int:
        return len(self._tree.window)

    @property
    def operation(self) -> NDArray[np.float32]:
        """The operation log-probabilities of the network, see `NetworkSteps`."""
        return self._steps.operation

    def begin(self, windows: Rows) -> tuple[Logits, Any]:
        """Known first steps come from the cache; if any is new, the network runs for all of `windows`."""
        if len(self) >= NODES:
            self._clear()
        keys = [(-1 - int(w), BOS) for w in windows]
        held: Held = {}
        if any(key not in self._children for key in keys):
            logits, firsts = self._begin(windows)
            self._add(keys, logits)
            held = {self._children[-1 - w, BOS]: first for w, first in firsts.items()}
        nodes = np.array([self._children[key] for key in keys], dtype=np.int64)
        return self._logits(nodes), _CachedState(nodes, held)

    def advance(self, state: _CachedState, rows: Rows, tokens: Rows) -> tuple[Logits, Any]:
        """See `Steps.advance`; unknown prefixes are computed, known ones come from the cache."""
        keys = list(zip(state.nodes[rows].tolist(), tokens.tolist(), strict=True))
        missing = list(dict.fromkeys(key for key in keys if key not in self._children))
        lost = {parent for parent, _ in missing} - set(state.held)
        held = self._grow(missing, {**state.held, **self._replay(lost)})
        nodes = np.array([self._children[key] for key in keys], dtype=np.int64)
        return self._logits(nodes), _CachedState(nodes, held)

    def _begin(self, windows: Rows) -> tuple[Logits, Held]:
        """First logits and states of `windows`."""
        logits, inner = self._steps.begin(windows)
        firsts = {int(w): (inner, row) for row, w in enumerate(windows)}
        if len(self._roots) + len(windows) <= ROOTS:
            self._roots.update(firsts)
        return logits, firsts

    def _replay(self, nodes: set[int]) -> Held:
        """The network states of known nodes."""
        paths = [self._path(node) for node in sorted(nodes)]
        owners = {self._tree.window[path[0]] for path in paths}
        unknown = np.array(sorted(owners - set(self._roots)), dtype=np.int64)
        firsts = {**self._roots, **(self._begin(unknown)[1] if len(unknown) else {})}
        held = {path[0]: firsts[self._tree.window[path[0]]] for path in paths}
        for depth in range(1, max(map(len, paths), default=0)):
            level = dict.fromkeys(path[depth] for path in paths if len(path) > depth)
            keys = [(self._tree.parent[node], self._tree.token[node]) for node in level]
            held.update(self._grow(keys, held))
        return held

    def _path(self, node: int) -> list[int]:
        """The nodes from the first of the window to `node`."""
        path = [node]
        while self._tree.parent[path[-1]] >= 0:
            path.append(self._tree.parent[path[-1]])
        return path[::-1]

    def _grow(self, keys: list[tuple[int, int]], held: Held) -> Held:
        """Runs the network for the distinct `keys`, whose parents are in `held`; returns their states."""
        batches: dict[int, list[tuple[int, int]]] = {}
        for key in keys:
            batches.setdefault(id(held[key[0]][0]), []).append(key)
        grown: Held = {}
        for batch in batches.values():
            rows = np.array([held[parent][1] for parent, _ in batch], dtype=np.int64)
            tokens = np.array([token for _, token in batch], dtype=np.int64)
            logits, inner = self._steps.advance(held[batch[0][0]][0], rows, tokens)
            self._add(batch, logits)
            grown.update((self._children[key], (inner, row)) for row, key in enumerate(batch))
        return grown

    def _add(self, keys: list[tuple[int, int]], logits: Logits) -> None:
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
            parent = keys[i][0]
            self._tree.window.append(self._tree.window[parent] if parent >= 0 else -1 - parent)
            self._tree.parent.append(parent)
            self._tree.token.append(keys[i][1])

    def _logits(self, nodes: Rows) -> Logits:
        logits = {head: table.rows(nodes) for head, table in self._narrow.items()}
        value_rows = np.array([self._value_row[n] for n in nodes], dtype=np.int64)
        values = np.zeros((len(nodes), self._values.width), dtype=np.float32)
        due = value_rows >= 0
        if due.any():
            values[due] = self._values.rows(value_rows[due])
        return {**logits, "param_value": values}


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
