"""The figure of all claims as intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tuner.claims.verdicts import Finding
from tuner.show.report.charts import Bars, Chart

WIDEST = 10.0  # in units of what matters; longer bars and intervals are cut there


def chart(found: Sequence[Finding]) -> Chart | None:
    """The effect of every claim with its interval, in units of the difference that matters.

    So effects on different metrics fit into one figure: between -1 and +1 a difference does not matter. None
    if no claim has both an effect and such a difference.
    """
    shown = [f for f in found if f.effect is not None and f.matters > 0]
    if not shown:
        return None
    labels = [f"{f.study}: {f.claim} ({f.words})" for f in shown]

    def cut(value: float | None, unit: float) -> float:
        scaled = (value or 0.0) / unit
        return math.copysign(WIDEST, scaled) if abs(scaled) > WIDEST else scaled

    means = [cut(f.effect, f.matters) for f in shown]
    low = [cut(f.low, f.matters) for f in shown]
    high = [cut(f.high, f.matters) for f in shown]
    caption = (
        "Each claim's effect with its 95 % interval, divided by the difference that matters for it. Between "
        f"-1 and +1 a difference does not matter. Bars and intervals are cut at ±{WIDEST:g}."
    )
    bars = Bars(labels, {"": means}, "effect / difference that matters", {"": low}, {"": high})
    return Chart("claims", "All claims", caption, [bars])
