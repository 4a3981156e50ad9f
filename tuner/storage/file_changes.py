"""How two study files of one study differ, in lines for people; and which differences no study survives."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tuner.base.nested import leaves
from tuner.definition.keys import BINDS, QUIET, TOP
from tuner.definition.study_file import KEYS, TUNER_KEYS, WANDB_KEYS

# keys of a study file that say what a result is
BINDING = ("metric.name", "metric.goal", *(name for name, key in WANDB_KEYS.items() if BINDS in key.rules))
BINDING_OWN = tuple(name for name, key in TUNER_KEYS.items() if BINDS in key.rules)
SAID_BY_PARAMETER = ("parameters", "tuner.when", "tuner.defaults")
# keys in which running agents and a changed file do not contradict each other
QUIET_KEYS = tuple(
    name if TOP in key.rules else f"tuner.{name}" for name, key in KEYS.items() if QUIET in key.rules
)
LONGEST = 60  # characters of a value in a line


def refused(before: Mapping[str, Any], after: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """The differences between two study files that make their results incomparable, as lines of a diff.

    Args:
        names: parameters of the new file. A value in `base` for one of them changes no trial.
    """
    return diff({"file": _binding(before, names)}, {"file": _binding(after, names)})


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The changed lines, as `- old` and `+ new`."""
    lines = difflib.unified_diff(_lines(before), _lines(after), lineterm="", n=0)
    return [line[0] + " " + line[1:].strip() for line in lines if line[:2] not in ("--", "++", "@@")]


def words_of(key: str, old: Any, new: Any) -> str:
    """A line about a key that is no parameter."""
    shown = key.removeprefix("tuner.")
    if key == "tuner.constraints":
        told = f"now {', '.join(new or ['none'])} (was {', '.join(old or ['none'])})"
        return f"{shown}: {told}; old trials are judged by what they logged"
    if shown in ("purpose", "cost", "expectation", "description"):
        return f"{shown}: reworded"
    if shown == "first":
        return "first: changed, for new studies only; 'enqueue' queues a trial of this one"
    if isinstance(old, list) and isinstance(new, list) and any(isinstance(v, Mapping) for v in (*old, *new)):
        return f"{shown}: {len(new)} (were {len(old)}), changed"
    return f"{shown}: now {_or_none(new)} (was {_or_none(old)})"


def _or_none(value: Any) -> str:
    return "not given" if value is None else short(value)


def _binding(raw: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The keys of a study file that make what a result is."""
    metric = raw.get("metric") or {}
    told = raw.get("tuner") or {}
    own = {key: value for key, value in told.items() if key in BINDING_OWN}
    if isinstance(told.get("seeds"), int):  # of a trial; a list is about retrainings
        own["seeds"] = told["seeds"]
    if isinstance(own.get("base"), Mapping):
        heads = {name.partition(".")[0] for name in names}
        own["base"] = {key: value for key, value in own["base"].items() if key not in heads} or None
        own = {key: value for key, value in own.items() if value is not None}
    found = {key: raw[key] for key in BINDING if key in raw}
    if "objectives" in own:
        own["objectives"] = [[m.get("name"), m.get("goal", "minimize")] for m in own["objectives"]]
    return {
        **found,
        "metric": {"name": metric.get("name"), "goal": metric.get("goal", "minimize")} if metric else {},
        "tuner": own,
    }


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The keys that differ, parameters and those that bind left out: `(key, old, new)`."""
    old, new = dict(_keys(before)), dict(_keys(after))
    return [(key, old.get(key), new.get(key)) for key in sorted({*old, *new}) if old.get(key) != new.get(key)]


def _keys(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    own = raw.get("tuner") or {}
    flat = {**raw, **{f"tuner.{key}": value for key, value in own.items() if key not in BINDING_OWN}}
    skipped = {*SAID_BY_PARAMETER, *BINDING, "tuner", "tuner.requires"}
    for key, value in flat.items():
        if key in skipped:
            continue
        for inner, leaf in leaves({key: value}) if isinstance(value, Mapping) else ((key, value),):
            if inner not in skipped:
                yield inner, leaf


def _lines(content: Any, path: str = "") -> list[str]:
    """Nested values as `a.b: value` lines."""
    if isinstance(content, Mapping) and content:
        prefix = f"{path}." if path else ""
        return [line for key in sorted(content) for line in _lines(content[key], f"{prefix}{key}")]
    return [f"{path}: {json.dumps(content, sort_keys=True)}"]


def key_of(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def short(value: Any) -> str:
    text = value if isinstance(value, str) else f"{value:.4g}" if isinstance(value, float) else key_of(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
