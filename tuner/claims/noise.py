"""How much two runs of one configuration differ, and from which difference on a claim matters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tuner.claims import race
from tuner.claims.material import Study
from tuner.definition.constraints import Hypothesis
from tuner.stats.noise import Noise, pooled, spread
from tuner.storage.stored import CONFIRMED, VERIFIED


def seed_noise(studies: Study | Sequence[Study], metric: str | None = None) -> float | None:
    """Pooled standard deviation of a metric between seeds, as `noise_and_freedom` finds it."""
    found = noise_and_freedom(studies, metric)
    return None if found is None else found[0]


def noise_and_freedom(
    studies: Study | Sequence[Study], metric: str | None = None
) -> tuple[float, int] | None:
    """Pooled standard deviation of `metric` between runs of one configuration on different seeds, and its
    degrees of freedom.

    Args:
        metric: None: the metric of the (first) study. Retrainings count for the study's own metric alone.

    Returns:
        None if no configuration was run twice.
    """
    several = [studies] if isinstance(studies, Study) else list(studies)
    name = metric or (several[0].metric if several else "")
    found = pooled([part for study in several for part in _parts(study, name)])
    return (found.deviation, found.freedom) if found.freedom else None


def _parts(study: Study, metric: str) -> Iterable[Noise]:
    """The noise of each group of runs that differ in nothing but the seed."""
    raced = study.attrs.get(CONFIRMED) or {}
    if metric == study.metric:
        yield race.noise_of(raced)
        for record in ({} if "noise" in raced else raced, study.attrs.get(VERIFIED) or {}):
            yield from (spread(candidate["again"]) for candidate in record.get("candidates", ()))
    seed = study.file.seed or "seed"
    if seed in study.searched:
        by_rest: dict[str, list[float]] = {}
        for trial in study.ranked:
            value = trial.value if metric == study.metric else trial.metric(metric)
            rest = repr(sorted((n, repr(v)) for n, v in trial.params.items() if n != seed))
            if value is not None and math.isfinite(value):
                by_rest.setdefault(rest, []).append(value)
        yield from map(spread, by_rest.values())


def matters_of(hypothesis: Hypothesis, noise: float | None) -> float:
    """The largest difference that does not matter: that of the study file, else the noise between seeds.

    0 where neither is known. Then no interval is so narrow that a difference does not matter.
    """
    return hypothesis.matters if hypothesis.matters is not None else noise or 0.0
