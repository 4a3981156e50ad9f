"""The grammar of a line of G-code, as tables built from the vocabulary.

A line is a sequence of words: a command (`G1`), or a parameter and one of its values (`X`, `NUM_X_1575`). The
rules: a line starts with a command or a parameter, a value follows its parameter, no command or parameter
occurs twice, and a line can end after a complete word. A decoder scores only what `legal` allows, so all
decoded lines follow the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.tokens import COMMAND, EOS, HEADS, PARAM_TYPE, PARAM_VALUE, SPECIAL, Vocabulary

START, WORD = 0, 1  # states. WORD: after a complete word; 2 + p: before a value of parameter p


@dataclass(frozen=True)
class LineStates:
    """The states of N partial lines.

    Attributes:
        state: `(N,)` int: START, WORD, or 2 + p.
        used_commands: `(N, commands)` bool.
        used_params: `(N, parameters)` bool.
    """

    state: NDArray[np.int64]
    used_commands: NDArray[np.bool_]
    used_params: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.state)

    def take(self, rows: NDArray[np.int64]) -> LineStates:
        """The states of `rows`, in that order; rows may repeat."""
        return LineStates(self.state[rows], self.used_commands[rows], self.used_params[rows])


@dataclass(frozen=True)
class Grammar:
    """Tables over states: `mask[head][state, class]` is what a state allows, without the rule on repeats.

    Attributes:
        mask: for each head of HEADS, bool `(states, classes)`.
        token: for each of command, param_type and param_value, the token id of a class, int `(classes,)`.
        factors: `(tokens, 4)` type and class of each token, -1 where a head does not apply.
        values_of: for each parameter, its value classes, int `(n,)`.
    """

    mask: dict[str, NDArray[np.bool_]]
    token: dict[str, NDArray[np.int64]]
    factors: NDArray[np.int64]
    values_of: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Grammar:
        """The grammar of a vocabulary; parameters without a known value are not allowed."""
        factors = np.asarray(vocabulary.factor_table, dtype=np.int64)
        owner = np.asarray(vocabulary.value_param_type, dtype=np.int64)
        sizes = vocabulary.head_sizes
        n_params = int(sizes["param_type"])
        values_of = tuple(np.flatnonzero(owner == p) for p in range(n_params))
        token = {head: _tokens_of(factors, head, int(sizes[head])) for head in HEADS[1:]}
        states = 2 + n_params
        mask = {head: np.zeros((states, int(sizes[head])), dtype=bool) for head in HEADS}
        has_values = np.array([len(values) > 0 for values in values_of], dtype=bool)
        has_command = token["command"] >= 0
        for state in (START, WORD):
            mask["command"][state] = has_command
            mask["param_type"][state] = has_values & (token["param_type"] >= 0)
            mask["type"][state, COMMAND] = has_command.any()
            mask["type"][state, PARAM_TYPE] = mask["param_type"][state].any()
        mask["type"][WORD, SPECIAL] = True
        for param, values in enumerate(values_of):
            mask["param_value"][2 + param, values] = True
            mask["type"][2 + param, PARAM_VALUE] = True
        return cls(mask=mask, token=token, factors=factors, values_of=values_of)

    @property
    def longest(self) -> int:
        """Tokens of the longest legal line, with EOS; without repeats every line ends."""
        return int(self.mask["command"][START].sum() + 2 * self.mask["param_type"][START].sum() + 1)

    def start(self, count: int) -> LineStates:
        """`count` empty lines."""
        return LineStates(
            np.zeros(count, dtype=np.int64),
            np.zeros((count, self.mask["command"].shape[1]), dtype=bool),
            np.zeros((count, self.mask["param_type"].shape[1]), dtype=bool),
        )

    def legal(self, states: LineStates) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """What can start the next word: end `(N,)`, commands `(N, commands)`, parameters `(N, parameters)`.

        All False in a row that needs a value: use `values_of` of its parameter.
        """
        commands = self.mask["command"][states.state] & ~states.used_commands
        params = self.mask["param_type"][states.state] & ~states.used_params
        return self.mask["type"][states.state, SPECIAL], commands, params

    def advance(self, states: LineStates, tokens: NDArray[np.int64]) -> LineStates:
        """The states after each line took its token, which must be legal. EOS does not change a state."""
        kinds, commands, params, _ = self.factors[tokens].T
        state = states.state.copy()
        used_commands, used_params = states.used_commands.copy(), states.used_params.copy()
        is_command, is_param = kinds == COMMAND, kinds == PARAM_TYPE
        state[is_command | (kinds == PARAM_VALUE)] = WORD
        state[is_param] = 2 + params[is_param]
        used_commands[is_command, commands[is_command]] = True
        used_params[is_param, params[is_param]] = True
        return LineStates(state, used_commands, used_params)

    def accepts(self, tokens: Sequence[int]) -> bool:
        """Whether `tokens` (ids without BOS, with EOS) is a complete legal line."""
        if not tokens or tokens[-1] != EOS:
            return False
        states = self.start(1)
        for token in tokens[:-1]:
            kind, command, param, value = self.factors[token]
            _, commands, params = self.legal(states)
            allowed = {
                COMMAND: lambda c=command, m=commands: bool(m[0, c]),
                PARAM_TYPE: lambda p=param, m=params: bool(m[0, p]),
                PARAM_VALUE: lambda v=value, s=states: bool(self.mask["param_value"][s.state[0], v]),
            }.get(int(kind))
            if allowed is None or not allowed():
                return False
            states = self.advance(states, np.array([token]))
        return bool(states.state[0] == WORD)


def _tokens_of(factors: NDArray[np.int64], head: str, size: int) -> NDArray[np.int64]:
    """Token id of each class of `head`; -1 for a class without a token."""
    column = HEADS.index(head)
    table = np.full(size, -1, dtype=np.int64)
    rows = np.flatnonzero(factors[:, 0] == column)
    table[factors[rows, column]] = rows
    return table
