"""Nested mappings, such as configurations, by the names of their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The innermost values by dotted name; an empty mapping is a value."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nested(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Values by path as nested mappings: the inverse of `leaves`, where no key has a dot."""
    config: dict[str, Any] = {}
    for path, value in values.items():
        place = config
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
    return config


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both; where both have a value, that of `above`, but mappings are merged themselves."""
    both = {
        key: merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
    }
    return {**below, **above, **both}
