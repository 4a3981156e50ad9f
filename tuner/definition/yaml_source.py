"""Reads a YAML 1.2 file into plain Python values. Keeps the line of every key for error messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from tuner.base.errors import InputError, nearest
from tuner.base.files import check_file
from tuner.base.words import seconds

DEEPEST, MOST_VALUES = 50, 10_000  # levels and values; our own studies have 4 and about 200
MOST_BYTES = 1 << 19  # a study file has a few thousand; what is larger takes seconds to read
MOST = 10**9  # largest count of trials or epochs
PLAIN_TAGS = {
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map")
} | {"!"}
OURS = {"tuner", "steps"}  # keys that `wandb sweep` does not know
LARGEST_NUMBER = 2**63 - 1  # the storage's; a float beyond it is a slip as well


def read(path: Path) -> YamlPart:
    """Reads the file's top-level mapping.

    A file with our keys is YAML 1.2: `1e-5` is a number, `on` and `yes` are words. A file without them is
    W&B's and means what PyYAML makes of it (YAML 1.1: `yes` is true, `010` is 8). `1e-5` is a number in both.

    Raises:
        InputError: the file is missing, is not YAML, or has no mapping at the top. Has file and line.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if path.suffix == ".py" and path.is_file():
        raise InputError(
            f"{path}: expected a sweep file in YAML, which names the script under 'program'; a script that "
            "calls wandb.sweep itself is for: tuner run"
        )
    try:
        text = check_file(path, MOST_BYTES).read_text(encoding="utf-8")
        check_measure(text, path)
        content = YAML(typ="rt").load(text)
    except FileNotFoundError:
        beside = {found.name: str(found) for found in path.parent.glob("*.y*ml")}
        hint = nearest(path.name, beside)
        raise InputError(f"{path}: no such file{hint}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; expected a sweep file in YAML") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; expected a sweep file in YAML") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not YAML: {error.problem or error.context}") from None
    except YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except InputError:
        raise
    except ValueError as error:  # 4300 digits, the 45th of May
        raise InputError(f"{path}: has a number or a date that is none ({error})") from None
    if not isinstance(content, Mapping):
        raise InputError(f"{path}:1: expected a mapping with 'method' and 'parameters'")
    notes: list[str] = []
    if not OURS & set(content):
        _as_wandb_reads(content, text, notes)
    return YamlPart(path, content, (), notes)


def _as_wandb_reads(content: Any, text: str, notes: list[str]) -> None:
    """Puts the values that PyYAML reads in place of those of YAML 1.2; `notes` says which were kept."""
    import yaml

    try:
        theirs = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text).get_single_data()
    except (yaml.YAMLError, ValueError):
        return
    numbers: list[str] = []

    def walk(ours: Any, others: Any) -> None:
        if isinstance(ours, Mapping) and isinstance(others, Mapping):
            merged = bool(getattr(ours, "merge", None)) or len(ours) != len(others)
            by_key = others if merged else dict(zip(ours, others.values(), strict=True))
            pairs: Iterable[tuple[Any, Any]] = ((key, by_key[key]) for key in ours if key in by_key)
        elif isinstance(ours, list) and isinstance(others, list) and len(ours) == len(others):
            pairs = enumerate(others)
        else:
            return
        for key, other in list(pairs):
            own = ours[key]
            if isinstance(own, Mapping | list):
                walk(own, other)
            elif isinstance(other, str) and isinstance(own, int | float):
                numbers.append(other)
            elif isinstance(other, bool | int | float | None) and other != _plain(own):
                ours[key] = other  # type: ignore[index]

    walk(content, theirs)
    if numbers:
        shown = ", ".join(dict.fromkeys(numbers))
        notes.append(f"{shown}: read as numbers (`wandb sweep` reads them as text)")


def check_measure(text: str, path: Path) -> None:
    """Refuses dangerous YAML before it is loaded. Sweep files have plain values only.

    Reads with libyaml where PyYAML has it, at a twentieth of the time. A text that is not YAML passes: the
    reader says what is wrong.

    Raises:
        InputError: the text is nested too deeply, it has too many values (aliases expanded), an alias
            contains itself, or there is a tag (`!!python/…`).
    """
    import yaml

    for loader in (getattr(yaml, "CSafeLoader", yaml.SafeLoader), yaml.SafeLoader):
        try:
            return _check_events(yaml.parse(text, Loader=loader), path)
        except yaml.YAMLError:  # libyaml also stops at deep nesting, without an event
            continue


def _check_events(events: Iterable[Any], path: Path) -> None:
    from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

    sizes: dict[str, int] = {}  # anchor → number of nodes below it, with expanded aliases
    open_: list[tuple[str | None, int]] = [(None, 0)]
    for event in events:
        line = f"{path}:{event.start_mark.line + 1}"
        if isinstance(event, CollectionEndEvent):
            anchor, size = open_.pop()
        elif isinstance(event, AliasEvent):
            anchor, size = None, sizes.get(event.anchor, 0)
            if any(event.anchor == name for name, _ in open_):
                raise InputError(f"{line}: '*{event.anchor}' contains itself")
        elif isinstance(event, ScalarEvent | CollectionStartEvent):
            if event.tag is not None and event.tag not in PLAIN_TAGS:
                raise InputError(
                    f"{line}: the tag '{event.tag}' is not allowed in sweep files; write plain values"
                )
            if isinstance(event, ScalarEvent) and "\0" in event.value:
                raise InputError(f"{line}: a text with a byte of zero, which no program can be given")
            anchor, size = event.anchor, 1
            if isinstance(event, CollectionStartEvent):
                open_.append((anchor, size))
                if len(open_) > DEEPEST:
                    raise InputError(f"{line}: nested more than {DEEPEST} levels deep")
                continue
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        open_[-1] = (open_[-1][0], open_[-1][1] + size)
        if open_[-1][1] > MOST_VALUES:
            raise InputError(f"{line}: more than {MOST_VALUES:,} values, aliases expanded")


class YamlPart:
    """One mapping in the file. Its methods return plain Python values. Errors have file, line and key."""

    def __init__(
        self, path: Path, node: Mapping[Any, Any], keys: tuple[str, ...], notes: Iterable[str] = ()
    ) -> None:
        self.path = path
        self.notes = tuple(notes)
        self.keys = keys
        self._node = node
        for key in node:
            if not isinstance(key, str):
                self.fail(str(key), f"expected a word as a key, got {key!r}", at=key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._node)

    def __contains__(self, key: str) -> bool:
        return key in self._node

    def plain(self) -> dict[str, Any]:
        """The whole mapping as plain Python values."""
        return _plain(self._node)

    def only(self, valid: Iterable[str], what: str) -> None:
        """Raises InputError for the first key that is not in `valid`."""
        valid = tuple(valid)
        for key in self._node:
            if key not in valid:
                self.fail(key, f"unknown {what}{nearest(key, valid)} (valid: {', '.join(valid)})")

    def section(self, key: str) -> YamlPart:
        """The mapping under `key`."""
        value = self._node.get(key)
        if not isinstance(value, Mapping):
            self.fail(key, f"expected a mapping, got {_plain(value)!r}")
        return YamlPart(self.path, value, (*self.keys, key))

    def sections(self, key: str) -> list[YamlPart]:
        """The list of mappings under `key`; empty if the key is absent."""
        items = self._node.get(key, [])
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            self.fail(key, f"expected a list of mappings, got {_plain(items)!r}")
        return [YamlPart(self.path, item, (*self.keys, key)) for item in items]

    def get(self, key: str, kind: type | tuple[type, ...], expected: str, default: Any = None) -> Any:
        """The plain value under `key`, checked to be of type `kind`; `default` if the key is absent."""
        if key not in self._node:
            return default
        value = _plain(self._node[key])
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            self.fail(key, f"expected {expected}, got {value!r}")
        return value

    def integer(self, key: str, *, least: int, default: Any = None) -> Any:
        """A whole number of at least `least`."""
        value = self.get(key, int, f"a whole number from {least}", default)
        if key in self._node and not least <= value <= MOST:
            shown = value if abs(value) <= LARGEST_NUMBER else "a much larger number"
            self.fail(key, f"expected a whole number from {least} to {MOST:,}, got {shown}")
        return value

    def number(self, key: str, default: Any = None) -> Any:
        """A finite number."""
        value = self.get(key, (int, float), "a number", default)
        if isinstance(value, float) and value - value != 0:
            self.fail(key, f"expected a finite number, got {value}")
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            self.fail(key, f"expected a number up to {LARGEST_NUMBER:,}, got a much larger number")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        return bool(self.get(key, bool, "true or false", default))

    def duration(self, key: str, example: str = "90s, 30m or 2h") -> Any:
        """A duration in seconds: a number, or words such as 2h; None if the key is absent."""
        given = self.get(key, (str, int, float), f"a duration such as {example}")
        try:
            return None if given is None else seconds(str(given))
        except ValueError as error:
            self.fail(key, str(error))

    def text(self, key: str, default: Any = None) -> Any:
        """A word or a sentence."""
        return self.get(key, str, "text", default)

    def choice(self, key: str, valid: Iterable[str], default: Any = None) -> Any:
        """One of the words in `valid`."""
        valid = tuple(valid)
        if key not in self._node:
            return default
        value = _plain(self._node[key])
        if value not in valid:
            short = [word for word in valid if isinstance(value, str) and value and word.startswith(value)]
            hint = f"; did you mean '{short[0]}'?" if len(short) == 1 else nearest(str(value), valid)
            self.fail(key, f"expected one of {', '.join(valid)}, got {value!r}{hint}")
        return value

    def list(self, key: str) -> list[Any]:
        """The list under `key`; empty if the key is absent."""
        return self.get(key, list, "a list", [])

    def line(self, key: Any = None) -> int:
        """The line of `key` in the file, from 1. If the key is absent: the section's line."""
        position = getattr(self._node, "lc", None)
        if position is None:
            return 1
        try:
            return position.key(key)[0] + 1
        except (KeyError, TypeError, AttributeError):
            return (position.line or 0) + 1

    def fail(self, key: str, message: str, *, at: Any = None) -> NoReturn:
        """Raises InputError: one line with the file, the line, the full key and the message."""
        name = ".".join((*self.keys, key))
        raise InputError(f"{self.path}:{self.line(key if at is None else at)}: '{name}': {message}")


def _plain(value: Any) -> Any:
    """Converts ruamel's round-trip objects to plain Python values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if type(value).__name__ == "ScalarBoolean":  # an anchored true or false: ruamel makes it an int
        return bool(value)
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    return str(value)
