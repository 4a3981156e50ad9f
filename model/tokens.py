"""G-code lines as tokens, tokens as four factors (type, command, parameter type, value), and both ways back.

A line such as `g01 x1.575 y-.125 ; cut` has the canonical form `G1 X1.575 Y-0.125` and, with 4 digits, the
tokens `G1 X NUM_X_1575 Y NUM_Y_-125`. A value token names a bucket: the first digits of the value counted in
quanta (0.001 for X). The way back is the mean of the values of `train` that fell into the bucket.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tuner.base.errors import InputError
from tuner.base.files import read_json

SPECIALS = ("PAD", "BOS", "EOS", "UNK", "MASK")
PAD, BOS, EOS, UNK, MASK = range(5)
TYPES = ("special", "command", "param_type", "param_value")
SPECIAL, COMMAND, PARAM_TYPE, PARAM_VALUE = range(4)
HEADS = ("type", "command", "param_type", "param_value")

COMMAND_LETTERS = "GMT"
QUANTUM: dict[str, Decimal] = {
    **dict.fromkeys("XYZABCPQ", Decimal("0.001")),
    **dict.fromkeys("IJKRE", Decimal("0.0001")),
    "F": Decimal(1),
    "S": Decimal(10),
}
DEFAULT_QUANTUM = Decimal("0.001")

_COMMENT = re.compile(r"\([^)]*\)?|;.*")
LONGEST_LINE = 1000  # characters; controllers take 256
ENDLESS = re.compile(r"\d{41,}")
_CHECKSUM = re.compile(r"\*\s*\d*")
_LINE_NUMBER = re.compile(r"N\s*[+-]?[\d.]*", re.ASCII)
_WORD = re.compile(r"([A-Z])\s*([+-]?\s*(?:\d+\.?\d*|\.\d+))?", re.ASCII)
_COMMAND_TOKEN = re.compile(r"[GMT]\d*(\.\d+)?", re.ASCII)
_VALUE_TOKEN = re.compile(r"NUM_[A-Z]_-?\d*", re.ASCII)


def canonical(line: str) -> str:
    """The canonical form of a line: upper case, words apart, no comment, line number, checksum, `%`, `/`.

    Numbers lose redundant signs, zeros and points: `G01 X+1.50 Y0.` → `G1 X1.5 Y0`.
    """
    text = _CHECKSUM.sub(" ", _COMMENT.sub(" ", line).upper()).replace("%", " ").replace("/", " ")
    words = _WORD.findall(_LINE_NUMBER.sub(" ", text))
    return " ".join(letter + _number_text(number) for letter, number in words)


def tokenize(line: str, digits: int | None) -> list[str]:
    """The tokens of a line, without BOS and EOS; a bucket keeps the first `digits` digits of a value.

    `digits=None` keeps all. `tokenize("G1 X1.575", 2) == ["G1", "X", "NUM_X_15"]`.
    """
    tokens = []
    for letter, number in _WORD.findall(canonical(line)):
        if letter in COMMAND_LETTERS:
            tokens.append(letter + number)
        else:
            tokens.append(letter)
            if number:
                tokens.append(f"NUM_{letter}_{bucket(quantise(letter, number), digits)}")
    return tokens


def quantise(letter: str, number: str | float) -> int:
    """A value in whole quanta of its parameter, half to even: X 1.575 → 1575, R 0.075 → 750."""
    return round(Decimal(str(number)) / QUANTUM.get(letter, DEFAULT_QUANTUM))


def bucket(quantised: int, digits: int | None) -> str:
    """The first `digits` characters of a quantised value, zero-padded; a minus sign counts as one of them.

    2 digits: 1575 → `15`, 5 → `05`, −125 → `-1`, −5 → `-5`, 0 → `00`. None keeps all digits.
    """
    if digits is None:
        return str(quantised)
    sign, width = ("-", digits - 1) if quantised < 0 else ("", digits)
    return sign + str(abs(quantised)).zfill(width)[:width]


def _number_text(number: str) -> str:
    """`+1.50` → `1.5`, `0.` → `0`, `-.125` → `-0.125`, `01` → `1`; no number stays empty."""
    if not number:
        return ""
    value = Decimal("".join(number.split()))
    return format(value.normalize(), "f") if value else "0"


class Factors(NamedTuple):
    """The factors of one token, one per head; -1 where a factor does not apply.

    `special` is the id of a special token (all have type 0). If a network predicts "special", that is EOS.
    """

    type: int
    command: int = -1
    param_type: int = -1
    value: int = -1
    special: int = -1


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a data set. Ids: PAD 0, BOS 1, EOS 2, UNK 3, MASK 4, then by frequency, ties by text.

    `means`: the mean value of each value token, in the unit of the program. `texts`: a number as text that
    falls into the bucket of the token. Both are parallel to `values`.
    """

    tokens: tuple[str, ...]
    digits: int | None
    means: tuple[float, ...]
    texts: tuple[str, ...]

    @classmethod
    def build(cls, lines: Mapping[str, int] | Iterable[tuple[str, int]], *, digits: int | None) -> Vocabulary:
        """Builds the vocabulary of lines; `lines` gives how often each occurs in `train`."""
        pairs = _pairs(lines)
        counts: Counter[str] = Counter()
        for line, count in pairs:
            for token in tokenize(line, digits):
                counts[token] += count
        tokens = sorted(counts, key=lambda token: (-counts[token], token))
        return cls._with_values((*SPECIALS, *tokens), digits, pairs)

    @classmethod
    def from_published(
        cls, path: Path, lines: Mapping[str, int] | Iterable[tuple[str, int]] = ()
    ) -> Vocabulary:
        """Reads a vocabulary file as published with the data set; bucket means come from `lines` (of train).

        Raises:
            InputError: the file is not such a vocabulary.
        """
        content = read_json(path)
        try:
            digits, ids = content["config"]["bucket_digits"], dict(content["vocab"])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path}: expected keys 'config.bucket_digits' and 'vocab'") from None
        if digits is not None and digits not in (1, 2, 3, 4):
            raise InputError(f"{path}: config.bucket_digits: expected 1 to 4 or null, got {digits!r}")
        whole = all(type(number) is int for number in ids.values())
        tokens = tuple(sorted(ids, key=lambda token: ids[token])) if whole else ()
        if not whole or sorted(ids.values()) != list(range(len(ids))) or tokens[:5] != SPECIALS:
            raise InputError(f"{path}: expected ids 0, 1, 2 … with {' '.join(SPECIALS)} first")
        return cls._with_values(tokens, digits, _pairs(lines))

    @classmethod
    def _with_values(
        cls, tokens: tuple[str, ...], digits: int | None, lines: Sequence[tuple[str, int]]
    ) -> Vocabulary:
        """Adds the mean of every value token over `lines`, weighted by their counts."""
        seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for line, count in lines:
            for letter, number in _WORD.findall(canonical(line)):
                if number and letter not in COMMAND_LETTERS:
                    seen[f"NUM_{letter}_{bucket(quantise(letter, number), digits)}"][number] += count
        values = [token for token in tokens if _is_value(token)]
        means = [_mean(seen[token]) if seen[token] else float(_representative(token)) for token in values]
        texts = [_text(token, mean, seen[token], digits) for token, mean in zip(values, means, strict=True)]
        return cls(tokens=tokens, digits=digits, means=tuple(means), texts=tuple(texts))

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; `from_json` is the inverse."""
        return {
            "tokens": list(self.tokens),
            "digits": self.digits,
            "means": list(self.means),
            "texts": list(self.texts),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Vocabulary:
        """The inverse of `to_json`. InputError if a key is missing or a value has the wrong type."""
        try:
            parts = {key: content[key] for key in ("tokens", "means", "texts")}
            digits = content["digits"]
        except (KeyError, TypeError):
            raise InputError("not a vocabulary: expected the keys tokens, digits, means and texts") from None
        for key, kind in (("tokens", str), ("means", float), ("texts", str)):
            if not isinstance(parts[key], list) or not all(isinstance(part, kind) for part in parts[key]):
                raise InputError(f"not a vocabulary: expected a list of {kind.__name__} under '{key}'")
        found = cls(
            tokens=tuple(parts["tokens"]),
            digits=digits,
            means=tuple(parts["means"]),
            texts=tuple(parts["texts"]),
        )
        if digits is not None and digits not in (1, 2, 3, 4):
            raise InputError(f"not a vocabulary: expected digits from 1 to 4 or null, got {digits!r}")
        if found.tokens[:5] != SPECIALS or not len(found.values) == len(found.means) == len(found.texts):
            raise InputError("not a vocabulary: its tokens, means and texts do not fit together")
        return found

    def __len__(self) -> int:
        return len(self.tokens)

    # -- lines ↔ ids

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token → id."""
        return {token: i for i, token in enumerate(self.tokens)}

    def encode(self, line: str) -> list[int]:
        """Ids of the tokens of a line, UNK for unknown tokens; without BOS and EOS."""
        return [self.ids.get(token, UNK) for token in tokenize(line, self.digits)]

    def to_line(self, ids: Iterable[int]) -> str:
        """Ids as G-code up to the first EOS; special tokens are skipped.

        A value becomes a short number near the mean of its bucket (see `texts`).
        """
        words: list[str] = []
        for i in ids:
            if i == EOS:
                break
            kind, _, _, value, _ = self.decompose(int(i))
            if kind in (COMMAND, PARAM_TYPE):
                words.append(self.tokens[i])
            elif kind == PARAM_VALUE:
                letter = self.param_types[self.value_param_type[value]]
                if not words or words[-1] != letter:  # a value without its parameter
                    words.append(letter)
                words[-1] += self.texts[value]
        return " ".join(words)

    # -- factors

    @cached_property
    def commands(self) -> tuple[str, ...]:
        """Command words by id: the classes of the command head."""
        return tuple(t for t in self.tokens[len(SPECIALS) :] if _COMMAND_TOKEN.fullmatch(t))

    @cached_property
    def values(self) -> tuple[str, ...]:
        """Value tokens by id: the classes of the value head."""
        return tuple(t for t in self.tokens if _is_value(t))

    @cached_property
    def param_types(self) -> tuple[str, ...]:
        """Parameter letters by first id (some letters occur only in value tokens)."""
        letters = [t if len(t) == 1 else _value_letter(t) for t in self.tokens if len(t) == 1 or _is_value(t)]
        return tuple(dict.fromkeys(letter for letter in letters if letter not in COMMAND_LETTERS))

    @cached_property
    def value_param_type(self) -> np.ndarray:
        """(values,) index into `param_types` of the parameter of each value class."""
        index = {letter: i for i, letter in enumerate(self.param_types)}
        return np.array([index[_value_letter(token)] for token in self.values], dtype=np.int64)

    @cached_property
    def values_of_param(self) -> np.ndarray:
        """(param_types, values) bool: which value classes belong to which parameter."""
        letters = np.arange(len(self.param_types))
        return np.asarray(self.value_param_type[None, :] == letters[:, None])

    @property
    def head_sizes(self) -> dict[str, int]:
        """The number of classes of each head, by its name in `HEADS`."""
        return {
            "type": len(TYPES),
            "command": len(self.commands),
            "param_type": len(self.param_types),
            "param_value": len(self.values),
        }

    @cached_property
    def _factors(self) -> tuple[Factors, ...]:
        commands = {token: i for i, token in enumerate(self.commands)}
        letters = {token: i for i, token in enumerate(self.param_types)}
        values = {token: i for i, token in enumerate(self.values)}
        factors = []
        for i, token in enumerate(self.tokens):
            if token in commands:
                factors.append(Factors(COMMAND, command=commands[token]))
            elif token in letters:
                factors.append(Factors(PARAM_TYPE, param_type=letters[token]))
            elif token in values:
                letter = letters[_value_letter(token)]
                factors.append(Factors(PARAM_VALUE, param_type=letter, value=values[token]))
            else:  # also `F22.` and `Z0.` of the published vocabulary, which no canonical line has
                factors.append(Factors(SPECIAL, special=i))
        return tuple(factors)

    @cached_property
    def factor_table(self) -> np.ndarray:
        """(tokens, 4) int64: type, command, parameter type, value of each id; -1 if it does not apply."""
        return np.array([factors[:4] for factors in self._factors], dtype=np.int64)

    def decompose(self, token: int) -> Factors:
        """The factors of a token id."""
        return self._factors[token]


def _pairs(lines: Mapping[str, int] | Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return [
        (str(line), int(count)) for line, count in (lines.items() if isinstance(lines, Mapping) else lines)
    ]


def _is_value(token: str) -> bool:
    return _VALUE_TOKEN.fullmatch(token) is not None


def _value_letter(token: str) -> str:
    return token[len("NUM_")]


def _mean(counts: Counter[str]) -> float:
    return float(sum(Decimal(text) * count for text, count in counts.items()) / counts.total())


def _representative(token: str) -> Decimal:
    """A value for a bucket without any known line: the digits of the bucket, read as a number of quanta."""
    letter, digits = _value_letter(token), token[len("NUM_X_") :]
    return int(digits if digits.strip("-") else digits + "1") * QUANTUM.get(letter, DEFAULT_QUANTUM)


def _text(token: str, mean: float, seen: Counter[str], digits: int | None) -> str:
    """The mean if it falls into the bucket of the token, else the seen value nearest to the mean.

    (1.327 and 13.275 share `NUM_X_1327`; their mean is near neither.)
    """
    letter = _value_letter(token)
    quantum = QUANTUM.get(letter, DEFAULT_QUANTUM)
    whole = round(Decimal(repr(mean)) / quantum)
    for text in (_number_text(str(mean)) if "e" not in str(mean) else "", _number_text(str(whole * quantum))):
        if text and len(text.partition(".")[2]) <= 4 and tokenize(letter + text, digits)[1:] == [token]:
            return text
    if not seen:
        return _number_text(format(_representative(token), "f"))
    return min(seen, key=lambda text: (abs(float(text) - mean), text))
