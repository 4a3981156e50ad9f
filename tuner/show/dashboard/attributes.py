"""The attributes that the dashboard shows: those that people read, in words.

The tuner keeps its own in the same place (study file, leases, digests). The dashboard would show them first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.storage.allocate import STOPPED
from tuner.storage.study_store import CONFIRMED, FILE, TOTAL

LONGEST = 300  # letters of a text
OF_STUDY = frozenset({
    "digest", "path", "path_from_results", "program", "agents_started", "changes", "concluded", "uncounted",
    "dashboard_note", TOTAL, STOPPED,
})  # fmt: skip
OF_TRIAL = frozenset({"config_hash", "checkpoint", "traceback"})


def of_study(attrs: Mapping[str, Any], closest: tuple[int, float] | None) -> dict[str, Any]:
    """The attributes of a study.

    Args:
        closest: the trial closest to the constraints, and by how much it misses them, if none meets them.
    """
    if FILE not in attrs:  # not a study of this tuner
        return dict(attrs)
    found: dict[str, Any] = {}
    if attrs.get(TOTAL):
        found["trials wanted"] = attrs[TOTAL]
    confirmed = attrs.get(CONFIRMED)
    if confirmed:
        found["confirmed winner"] = f"trial {confirmed['number']}, {confirmed['mean']:.4f} on other seeds"
    if attrs.get(STOPPED):
        found["stopped"] = attrs[STOPPED]
    if closest is not None:
        found["constraints"] = (
            f"no trial meets them, so no trial is grey; trial {closest[0]} is the closest and misses by "
            f"{closest[1]:.3g}"
        )
    return {**found, **_readable(attrs, OF_STUDY)}


def of_trial(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a trial; its metrics are numbers that the dashboard can sort by and draw."""
    metrics = attrs.get("metrics")
    return {**(metrics if isinstance(metrics, Mapping) else {}), **_readable(attrs, OF_TRIAL)}


def _readable(attrs: Mapping[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    """Numbers and short texts that are not ours."""
    return {
        name: value
        for name, value in attrs.items()
        if name not in hidden and isinstance(value, str | int | float) and len(str(value)) <= LONGEST
    }
