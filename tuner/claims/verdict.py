"""What an interval says about a claim: one of six verdicts, with a region of practical equivalence.

A difference of at most `matters` does not matter to anybody, in either direction. `as claimed` allows for as
much. So a claim of a gain, of a gain between two numbers, and of no gain at all can each be decided, in
favour or not.
"""

from __future__ import annotations

import math
from typing import Literal

Verdict = Literal["larger", "as claimed", "smaller", "no difference", "opposite", "open"]
Gain = tuple[float, float]  # smallest and largest claimed improvement

WORDS: dict[Verdict, str] = {
    "larger": "larger than claimed",
    "as claimed": "as claimed",
    "smaller": "smaller than claimed",
    "no difference": "no difference that matters",
    "opposite": "the opposite",
    "open": "open",
}


def decide(low: float, high: float, *, gain: Gain | None, matters: float) -> Verdict:
    """The verdict for the interval of an effect (positive: an improvement).

    Args:
        gain: the claimed range; None: the claim is that there is an improvement. A range that includes 0
            claims that nothing is gained (`[-0.005, 0.005]`), or nothing lost (`[0, .inf]`).
        matters: the largest difference that does not matter, at least 0.
    """
    if math.isnan(low) or math.isnan(high):
        return "open"
    if gain is not None and gain[0] <= 0 <= gain[1]:
        return _of_nothing_gained(low, high, gain, matters)
    if gain is not None and gain[1] < 0:
        raise ValueError(f"expected a claimed gain, got {gain}: exchange 'where' and 'against'")
    if gain is not None and low > gain[1]:
        return "larger"
    if -matters <= low and high <= matters:
        return "no difference"
    if low > 0 and (gain is None or low >= gain[0] - matters):
        return "as claimed"
    if gain is not None and low > 0 and high < gain[0]:
        return "smaller"
    return "opposite" if high < 0 else "open"


def _of_nothing_gained(low: float, high: float, gain: Gain, matters: float) -> Verdict:
    least, most = gain[0] - matters, gain[1] + matters
    if least <= low and high <= most:
        return "as claimed"
    if low > most:
        return "larger"
    return "opposite" if high < least else "open"


def sentence(
    verdict: Verdict,
    effect: float | None,
    low: float | None,
    high: float | None,
    *,
    gain: Gain | None,
    matters: float,
    metric: str,
    data: str,
) -> str:
    """The verdict as one plain sentence with the effect, its interval and the data behind it."""
    if effect is None or low is None or high is None:
        return f"Open: {data}."
    found = f"{signed(effect)} {metric} [{signed(low)}, {signed(high)}] from {data}"
    claimed = "" if gain is None else f"{_range(gain)} was claimed"
    nothing = gain is not None and gain[0] <= 0 <= gain[1]
    match verdict:
        case "larger":
            return f"Larger than claimed: {found}; {claimed}."
        case "as claimed" if nothing:
            return f"As claimed, {_nothing(gain)}: {found}{_margin(matters)}."
        case "as claimed":
            more = " or more" if gain is not None and high > gain[1] + matters else ""
            return f"As claimed{more}: {found}" + (f"; {claimed}." if claimed else ".")
        case "smaller":
            return f"Smaller than claimed: {found}; {claimed}."
        case "no difference":
            return f"No difference that matters: {found}{_margin(matters)}."
        case "opposite":
            return f"The opposite: {found}" + (f"; {claimed}." if claimed else ".")
    sure = " It is an improvement; its size is not settled." if low > 0 and not nothing else ""
    return f"Open: {found}.{sure}"


def signed(value: float) -> str:
    """`+0.0123`; infinity as a sign."""
    return f"{value:+.4f}" if math.isfinite(value) else ("+∞" if value > 0 else "−∞")


def _range(gain: Gain) -> str:
    if gain[0] == gain[1]:
        return f"{gain[0]:+g}"
    return f"{gain[0]:+g} or more" if math.isinf(gain[1]) else f"{gain[0]:+g} to {gain[1]:+g}"


def _nothing(gain: Gain | None) -> str:
    return "nothing is lost" if gain is not None and math.isinf(gain[1]) else "nothing that matters is gained"


def _margin(matters: float) -> str:
    return f"; differences up to {matters:g} do not matter" if matters else ""
