"""What is known of a key of a study file. The table of all keys is `StudyFile` (`study_file.py`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag
from typing import Any

from tuner.definition.yaml_source import YamlPart


class Rules(Flag):
    """Where a key stands, and what a change of it means for a study that was begun."""

    TOP = 1  # W&B's, at the top of the file (sweeps 0.3.0); others are under `tuner:`
    BINDS = 2  # it says what a result is: with another value, old results could not be compared
    QUIET = 4  # running agents and a changed file do not contradict each other
    OF_RUNS = 8  # it says how a trial runs, so retrainings and pairs of runs have it as well


TOP, BINDS, QUIET, OF_RUNS = Rules
NONE = Rules(0)
REQUIRED = dataclasses.MISSING


@dataclass(frozen=True)
class Key:
    """A key of a study file.

    Attributes:
        meaning: in Markdown; "" for a key that is not documented any more.
        without: what holds without the key, in Markdown.
        read: makes the field's value of a section and key; None: `parse_study` reads it, with others.
    """

    meaning: str = ""
    without: str = "–"
    rules: Rules = NONE
    read: Callable[[YamlPart, str], Any] | None = None


def key(*told: Any, value: Any = None, **more: Any) -> Any:
    """A field that the key of the same name makes; `value`: without the key."""
    return made_by(value, **{"": Key(*told, **more)})


def made_by(value: Any = None, /, **keys: Key) -> Any:
    """A field that several keys make; `value`: without any of them. A type is called for each study."""
    default = "default_factory" if isinstance(value, type) else "default"
    return dataclasses.field(**{default: value}, metadata=keys)
