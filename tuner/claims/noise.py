"""How much two runs of one configuration differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tuner.claims import race
from tuner.claims.material import Study
from tuner.search import ranking
from tuner.stats.noise import Noise, pooled, spread
from tuner.storage.attributes import CONFIRMED, VERIFIED


def noise_between_seeds(studies: Study | Sequence[Study], metric: str | None = None) -> Noise:
    """Pooled noise of `metric` between runs of one configuration on different seeds.

    Args:
        metric: None: the metric of the (first) study. Retrainings count for the study's own metric alone.
    """
    several = [studies] if isinstance(studies, Study) else list(studies)
    name = metric or (several[0].metric if several else "")
    return pooled([part for study in several for part in _parts(study, name)])


def _parts(study: Study, metric: str) -> Iterable[Noise]:
    """The noise of each group of runs that differ in nothing but the seed."""
    raced = CONFIRMED.of(study.attrs)
    if metric == study.metric:
        yield race.noise_of(raced)
        kinds = (VERIFIED,) if "noise" in raced else (CONFIRMED, VERIFIED)
        yield from (spread(list(runs.values())) for _, _, runs in ranking.retrainings(study.attrs, *kinds))
    if study.file.repeats.count > 1:
        runs = (ranking.runs_of(trial.frozen, metric) for trial in study.ranked)
        yield from (spread(list(each.values())) for each in runs)
    seed = study.file.seed or "seed"
    if seed in study.searched:
        by_rest: dict[str, list[float]] = {}
        for trial in study.ranked:
            value = trial.value if metric == study.metric else trial.metric(metric)
            rest = repr(sorted((n, repr(v)) for n, v in trial.params.items() if n != seed))
            if value is not None and math.isfinite(value):
                by_rest.setdefault(rest, []).append(value)
        yield from map(spread, by_rest.values())
