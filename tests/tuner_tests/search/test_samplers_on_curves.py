"""TPE and freeze-thaw search on recorded learning curves: no study ends far below random search.

Optuna's multivariate TPE with ten start-up trials fails here, on seeds 1 and 3. It proposes nearly every
configuration with the optimiser of its first complete trials, and ends at 0.82 where random search has 0.93.
"""

import statistics
from collections import Counter

import pytest
from arena.methods import FreezeThaw, Sampled
from arena.replay import replay
from arena.worlds import Recorded

pytestmark = pytest.mark.slow

SEEDS = range(4)


@pytest.fixture(scope="module")
def studies():
    """`(best value, optimisers proposed)` of studies of 432 epochs, by sampler; none knows a good trial."""
    world = Recorded("curves", "choose", 1, trees=20)
    found = {}
    for sampler in ("tpe", "random"):
        tuners = [Sampled(world, seed, sampler=sampler) for seed in SEEDS]
        best = [replay(tuner, world, budget=432, workers=2)[-1] for tuner in tuners]
        proposed = [[trial.params["optimizer"] for trial in tuner.study.trials] for tuner in tuners]
        found[sampler] = list(zip(best, proposed, strict=True))
    tuners = [FreezeThaw(world, seed) for seed in SEEDS]
    best = [replay(tuner, world, budget=432, workers=2)[-1] for tuner in tuners]
    proposed = [[trial.params["optimizer"] for trial in tuner.trials] for tuner in tuners]
    found["freeze_thaw"] = list(zip(best, proposed, strict=True))
    return found


@pytest.mark.parametrize("sampler", ["tpe", "freeze_thaw"])
def test_no_study_ends_far_below_random_search(studies, sampler):
    bests = {name: [best for best, _ in found] for name, found in studies.items()}
    assert min(bests[sampler]) > min(bests["random"]) - 0.02
    assert statistics.mean(bests[sampler]) > statistics.mean(bests["random"]) - 0.004


def test_freeze_thaw_search_is_better_than_random_search_on_average(studies):
    means = {name: statistics.mean(best for best, _ in found) for name, found in studies.items()}
    assert means["freeze_thaw"] > means["random"], means


def test_the_two_good_optimisers_are_both_tried(studies):
    """Whatever the first trials say: Adam and AdamW have at least a tenth of a study's proposals each."""
    for _, proposed in studies["tpe"]:
        count = Counter(proposed)
        assert min(count["adam"], count["adamw"]) >= len(proposed) // 10, count
