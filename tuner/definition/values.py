"""Values of a study file: how each is read from its section and key.

A reader raises InputError with the file, the line, the key and what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.definition.constraints import Constraint
from tuner.definition.space import Space
from tuner.definition.yaml_source import YamlPart

Reader = Callable[[YamlPart, str], Any]

_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*((?P<prefix>[kKMGT])(?P<binary>i)?)?B?")


def count(section: YamlPart, key: str) -> int:
    """A whole number from 1."""
    return int(section.integer(key, least=1))


def sentence(section: YamlPart, key: str) -> str:
    """Text without spaces around it."""
    return str(section.text(key)).strip()


def names_or_auto(section: YamlPart, key: str) -> tuple[str, ...]:
    """A list of names, or `auto`."""
    found = section.get(key, (list, str), "a list of names or auto", [])
    if isinstance(found, str) and found != "auto":
        section.fail(key, f"expected a list of names or auto, got {found!r}")
    return ("auto",) if found == "auto" else tuple(map(str, found))


def one_of(*words: str) -> Reader:
    """One of some words."""
    return lambda section, key: section.choice(key, words)


def read_command(section: YamlPart, key: str) -> tuple[str, ...]:
    """The words of a command."""
    parts = section.list(key)
    if not parts or any(isinstance(part, dict | list) or part is None for part in parts):
        section.fail(key, f"expected a list of words, got {parts!r}")
    return tuple(str(part) for part in parts)


def read_function(section: YamlPart, key: str) -> str:
    """`package.module:function` or `file.py:function`."""
    text = str(section.text(key))
    module, _, name = text.partition(":")
    parts = [module] if module.endswith(".py") else module.split(".")
    if not name.isidentifier() or not all(part.removesuffix(".py").strip() for part in parts):
        section.fail(key, f"expected package.module:function or file.py:function, got {text!r}")
    return text


def read_workload(section: YamlPart, key: str) -> str:
    """A class, or the name of an installed workload."""
    text = str(section.text(key))
    module, colon, name = text.partition(":")
    parts = [*module.removesuffix(".py").split("."), *([name] if colon else [])]
    if not all(part.isidentifier() for part in parts) and not (colon and module.endswith(".py")):
        section.fail(key, f"expected package.module:Class or the name of a workload, got {text!r}")
    return text


def read_older_workload(section: YamlPart, key: str) -> str | None:
    """What the workload is in files written before 0.2: `on: bundle`."""
    return "bundle" if section.choice(key, ("train", "bundle")) == "bundle" else None


def read_patterns(section: YamlPart, key: str) -> tuple[str, ...]:
    """Patterns of files in a run folder."""
    patterns = section.list(key)
    if not all(isinstance(p, str) and p and not p.startswith("/") and ".." not in p for p in patterns):
        section.fail(key, f"expected file patterns such as '*.pt', got {patterns!r}")
    return tuple(patterns)


def read_time_limit(section: YamlPart, key: str) -> float:
    """A duration above 0, in seconds."""
    found = section.duration(key)
    if not found:
        section.fail(key, "expected a duration above 0; without the key there is no limit")
    return found


def read_constraints(section: YamlPart, key: str) -> tuple[Constraint, ...]:
    try:
        return tuple(Constraint.parse(str(text)) for text in section.list(key))
    except ValueError as error:
        section.fail(key, str(error))


@dataclass(frozen=True)
class Resources:
    """The resources of one trial. None: the workload decides.

    Attributes:
        gpus: number of GPUs; a fraction (0.5) is a share of one GPU.
        cpus: number of cores.
        memory: bytes.
    """

    gpus: float | None = None
    cpus: int | None = None
    memory: int | None = None

    @classmethod
    def read(cls, outer: YamlPart, key: str) -> Resources:
        """`{gpus: 0.5, cpus: 4, memory: 8GiB}`."""
        section = outer.section(key)
        section.only(("gpus", "cpus", "memory"), "key")
        gpus = section.number("gpus")
        if gpus is not None and (gpus < 0 or (gpus > 1 and gpus != int(gpus))):
            section.fail("gpus", f"expected a whole number, or a share between 0 and 1, got {gpus:g}")
        memory = section.get("memory", (str, int), "a size such as 8GiB")
        size = None if memory is None else _bytes(section, str(memory))
        return cls(gpus, section.integer("cpus", least=1), size)


def _bytes(section: YamlPart, text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        section.fail("memory", f"expected a size such as 8GiB or 500MB, got {text!r}")
    base = 1024 if match["binary"] else 1000
    return int(float(match["number"]) * base ** " kMGT".index((match["prefix"] or " ").replace("K", "k")))


@dataclass(frozen=True)
class Base:
    """The values below those of the space: first the confirmed winner of a study, then `config`."""

    winner_of: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, outer: YamlPart, key: str) -> Base:
        """`{winner of: STUDY, key: value, …}`."""
        section = outer.section(key)
        config = section.plain()
        config.pop("winner of", None)
        return cls(section.text("winner of"), config)


@dataclass(frozen=True)
class StopRules:
    """When a study stops before its last trial.

    Attributes:
        no_gain: after this many finished trials without a better best trial; None: never.
        lead: when the best trial leads every other at this level of confidence; None: never.
        after: finished trials before the lead is looked at.
        levels: parameters of a grid, and how sure it must be that a value of one cannot win for its other
            points to be pruned before they run.
    """

    no_gain: int | None = None
    lead: float | None = None
    after: int = 10
    levels: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, own: YamlPart, *, runs: int, space: Space, method: str) -> StopRules:
        """`stop: {no_gain: 20, lead: 0.95, after: 10, levels: {digits: 0.99}}`, for trials of `runs` runs."""
        if "stop" not in own:
            return cls()
        section = own.section("stop")
        section.only(("no_gain", "lead", "after", "levels"), "key")
        lead = section.number("lead")
        if lead is not None and not 0.5 <= lead < 1:
            section.fail("lead", f"expected a level of confidence such as 0.95, got {lead:g}")
        if lead is not None and runs < 2:
            section.fail(
                "lead", "one run of a trial says nothing about its noise; add 'seeds: 3' or 'folds: 5'"
            )
        if lead is None and "after" in section:
            section.fail("after", "is for 'lead': the finished trials before a lead counts")
        after = section.integer("after", least=2, default=cls.after)
        return cls(section.integer("no_gain", least=1), lead, after, _levels(section, space, method))


def _levels(stop: YamlPart, space: Space, method: str) -> dict[str, float]:
    """`levels: {digits: 0.99}`: parameters of a grid, each with a level of confidence."""
    if "levels" not in stop:
        return {}
    if method != "grid":
        stop.fail("levels", f"is for method grid, got {method}: elsewhere the pruner ends poor trials")
    section = stop.section("levels")
    names = [parameter.name for parameter in space.searched]
    section.only(names, "parameter of the grid")
    found = {name: section.number(name) for name in names if name in section}
    for name, confidence in found.items():
        if not 0.5 <= confidence < 1:
            section.fail(name, f"expected a level of confidence such as 0.99, got {confidence:g}")
    return found
