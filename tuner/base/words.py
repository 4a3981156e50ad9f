"""Formats numbers, durations and values as text."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

BLOCKS = "▁▂▃▄▅▆▇█"
LARGEST = sys.float_info.max
LONGEST_NAME = 100  # characters; file systems allow 255 bytes, and endings are added to names


def duration(seconds: float) -> str:
    """`95` → "1 min 35 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def short_duration(seconds: float) -> str:
    """`7200` → "2 h", `95` → "1 min 35 s", `0.5` → "0.5 s"."""
    if seconds < 10:
        return f"{seconds:g} s"
    return re.sub(r" 0 (s|min)$", "", duration(seconds))


def seconds(text: str) -> float:
    """`90`, `90s`, `30m`, `2h`, `1h30m` in seconds. Raises ValueError if it is none of these."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if not match or not any(match.groups()):
        raise ValueError(f"expected a duration such as 90s, 30m or 1h30m, got '{text}'")
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + rest


def in_words(values: Mapping[str, Any]) -> str:
    """`learning_rate=0.0012, scheduler=cosine`, or "nothing that differs from the defaults"."""
    if not values:
        return "nothing that differs from the defaults"
    return ", ".join(f"{name}={value_words(value)}" for name, value in values.items())


def value_words(value: Any) -> str:
    """A value of a parameter, with four digits where it is a float."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def number(value: float, *, sign: bool = False) -> str:
    """A score or a difference: four decimals, or four digits where these would show too few or too many."""
    shown = f"{value:+.4f}" if sign else f"{value:.4f}"
    if value == 0 or 0.01 <= abs(value) < 1e5 or not math.isfinite(value):
        return shown
    if abs(value) >= 1e-3 and sign:
        return shown
    return f"{value:+.4g}" if sign else f"{value:.4g}"


def counted(count: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def chance(probability: float) -> str:
    """`97 %`; never 0 or 100 %, which no number of runs shows."""
    if probability > 0.99:
        return "over 99 %"
    return "under 1 %" if probability < 0.01 else f"{probability:.0%}".replace("%", " %")


def is_finite(value: Any) -> TypeGuard[float]:
    """Whether `value` is a number that can be compared."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def finite(content: Any) -> Any:
    """`content` with null in place of infinite and undefined numbers, which JSON does not have."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def slug(text: str) -> str:
    """Turns `text` into a name that is safe for folders and databases."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:LONGEST_NAME] or "study"


def sparkline(values: Sequence[float], *, width: int = 60) -> str:
    """`values` as at most `width` blocks of different heights. Always shows the first and the last value."""
    count = min(width, len(values))
    if count < 2:
        return BLOCKS[0] * count
    shown = [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
    low, span = min(shown), (max(shown) - min(shown)) or 1.0
    return "".join(BLOCKS[min(7, int(8 * (v - low) / span))] for v in shown)


# what a terminal acts on: sequences of escape characters, other control characters, changes of direction
_SEQUENCES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[\[PX^_][0-?]*[ -/]*[@-~]?|\x1b.?|\x9b[0-?]*[ -/]*[@-~]?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str, *, longest: int = 2000) -> str:
    """`text` without what a terminal would act on (colours, titles, cursor moves); long lines are cut."""
    text = _CONTROLS.sub("", _SEQUENCES.sub("", text))
    return "\n".join(
        line if len(line) <= longest else f"{line[:longest]}… ({len(line):,} characters)"
        for line in text.split("\n")
    )
