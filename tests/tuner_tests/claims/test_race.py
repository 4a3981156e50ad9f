"""The race of a study's best configurations: who leaves, who wins, and when nothing was gained."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from tuner.claims import race
from tuner.claims.retrain import Candidate
from tuner.definition.study_file import StudyFile
from tuner.stats.noise import UNKNOWN, Noise, pooled


@pytest.fixture
def file(make_study: Callable[..., StudyFile]) -> StudyFile:
    return make_study()


def candidate(number: int, score: float, *again: float, violation: float = 0.0) -> Candidate:
    violations = dict.fromkeys(range(len(again)), violation)
    return Candidate(number, {"x": score}, (score,), violation, dict(enumerate(again)), violations)


def run(
    truth: Sequence[float],
    file: StudyFile,
    rng: np.random.Generator,
    *,
    noise: float = 0.005,
    default: int | None = None,
    known: Noise = UNKNOWN,
) -> tuple[list[Candidate], int]:
    """Runs a whole race with noise, and an offset that each round adds to all."""
    found = [candidate(i, value) for i, value in enumerate(truth)]
    offsets = rng.normal(0, 0.02, race.ROUNDS)
    tried: set[tuple[int, int]] = set()
    while True:
        entries = race.entries(
            found,
            file,
            default=default,
            first=race.first_rounds(known),
            most=race.ROUNDS,
            tried=tried,
            known=known,
        )
        new = [entry for entry in entries if entry not in tried]
        if not new:
            return found, len(tried)
        for i, k in new:
            score = truth[i] + offsets[k] + rng.normal(0, noise)
            found[i] = Candidate(
                i, found[i].config, found[i].scores, 0.0,
                {**found[i].again, k: score}, {**found[i].violation_again, k: 0.0},
            )  # fmt: skip
            tried.add((i, k))


def test_the_score_in_the_study_decides_nothing(file: StudyFile) -> None:
    found = [candidate(3, 0.99, 0.60, 0.61), candidate(5, 0.70, 0.80, 0.812)]
    result = race.record(found, file, default=None)
    assert result["number"] == 5
    assert result["chance"] > 0.95


def test_what_a_round_adds_to_all_is_no_noise(file: StudyFile) -> None:
    found = [candidate(0, 0.9, 0.50, 0.90, 0.70), candidate(1, 0.9, 0.51, 0.911, 0.709)]
    place = race.standing(found, file)
    assert place.leader == 1
    assert place.noise < 0.001
    lead = place.lead(1, 0)
    assert math.isclose(lead.difference, 0.01) and lead.low > 0


def test_hopeless_ones_leave_after_two_rounds_and_the_default_stays(file: StudyFile) -> None:
    rng = np.random.default_rng(0)
    found, runs = run([0.90, 0.895, 0.80, 0.81, 0.89], file, rng, default=4)
    assert [len(c.again) for c in found][2:4] == [2, 2]
    assert len(found[4].again) == max(len(c.again) for c in found) > 2
    assert runs < 5 * race.ROUNDS


def test_without_a_default_a_clear_leader_ends_the_race(file: StudyFile) -> None:
    _, runs = run([0.95, 0.80, 0.79], file, np.random.default_rng(1))
    assert runs == 6


def test_a_clear_gain_or_a_clearly_best_default_ends_the_race_early(file: StudyFile) -> None:
    most = 2 * race.FIRST_ROUNDS + 2 * (race.ROUNDS - race.FIRST_ROUNDS)
    for truth in ([0.6, 0.7], [0.7, 0.6]):
        assert run(truth, file, np.random.default_rng(1), noise=0.001, default=0)[1] < most
    assert run([0.7, 0.702], file, np.random.default_rng(1), default=0)[1] == most


def test_the_race_ends_where_all_others_are_more_likely_worse_than_the_default(file: StudyFile) -> None:
    worse, known = [candidate(0, 0.9, 0.900, 0.910), candidate(1, 0.9, 0.904, 0.905)], Noise(0.005, 12)
    tried = {(i, k) for i in range(2) for k in range(2)}

    def goes_on(found: list[Candidate], default: int | None) -> bool:
        wanted = race.entries(found, file, default=default, first=2, most=6, tried=tried, known=known)
        return set(wanted) > tried

    assert (race.standing(worse, file, known).better(1, 0) or 1) < race.LEAST_HOPE
    assert not goes_on(worse, 0) and goes_on(worse, None)
    better = [worse[0], candidate(1, 0.9, 0.902, 0.914)]
    assert (race.standing(better, file, known).better(1, 0) or 0) > race.LEAST_HOPE
    assert goes_on(better, 0)


def test_a_race_is_given_up_when_the_rounds_that_are_left_will_hardly_decide_it(file: StudyFile) -> None:
    even = race.standing([candidate(0, 0.9, 0.90, 0.91), candidate(1, 0.9, 0.904, 0.907)], file)
    assert race.LEAST_HOPE < (even.better(1, 0) or 0) < 0.6
    assert not race.given_up(even, 0.1, default=0), "nine tenths of the rounds may still decide it"
    assert race.given_up(even, 0.7, default=0)
    assert not race.given_up(even, 1.0, default=0), "the race ends by itself"
    assert not race.given_up(even, 0.7, default=None) and not race.given_up(even, 0.7, default=1)
    likely = race.standing(
        [candidate(0, 0.9, 0.90, 0.91, 0.88), candidate(1, 0.9, 0.905, 0.911, 0.884)], file
    )
    assert (likely.better(1, 0) or 0) > race.HANDED_ON
    assert not race.given_up(likely, 0.9, default=0)


def test_a_race_with_known_noise_needs_fewer_runs_and_finds_as_many_gains(file: StudyFile) -> None:
    known, rng = Noise(0.005, 12), np.random.default_rng(4)
    runs, found = {True: 0, False: 0}, {True: 0, False: 0}
    for _ in range(60):
        truth = [0.915, 0.9, 0.902, 0.898, 0.9]
        for informed in (True, False):
            noise = known if informed else UNKNOWN
            end, taken = run(truth, file, rng, default=4, known=noise)
            runs[informed] += taken
            found[informed] += race.record(end, file, default=4, known=noise)["number"] == 0
    assert runs[True] < 0.8 * runs[False]
    assert found[True] >= 55 and found[False] >= 55


def test_the_noise_of_earlier_races_counts_up_to_a_weight(file: StudyFile) -> None:
    noisy = [candidate(0, 0.9, 0.80, 0.90, 0.85), candidate(1, 0.9, 0.85, 0.85, 0.85)]
    alone = race.standing(noisy, file)
    assert alone.noise == alone.measured == pytest.approx(0.0354, abs=1e-4)
    for freedom, weight in ((4, 4), (500, race.WEIGHT_OF_KNOWN)):
        place = race.standing(noisy, file, Noise(0.005, freedom))
        squares = 2 * alone.noise**2 + weight * 0.005**2
        assert place.noise == pytest.approx(math.sqrt(squares / (2 + weight)))
    record = race.record(noisy, file, default=0, known=Noise(0.005, 4))
    assert race.noise_of(record) == Noise(pytest.approx(alone.noise), 2), "its own alone is handed on"
    both = pooled([race.noise_of(record), Noise(0.005, 4), UNKNOWN])
    assert both.freedom == 6 and 0.005 < both.deviation < alone.noise
    assert pooled([race.noise_of({}), UNKNOWN]).freedom == 0


def test_no_gain_over_the_default_hands_on_the_default(file: StudyFile) -> None:
    best, plain = candidate(7, 0.95, 0.901, 0.899, 0.902, 0.897), candidate(0, 0.9, 0.9, 0.901, 0.899, 0.9)
    result = race.record([best, plain], file, default=1)
    assert result["default"] and result["number"] == 0
    assert result["gain"] is None or result["gain"]["low"] <= 0


def test_a_gain_comes_with_its_interval(file: StudyFile) -> None:
    best = candidate(7, 0.97, 0.951, 0.949, 0.952, 0.947)
    plain = candidate(0, 0.9, 0.9, 0.901, 0.899, 0.9)
    result = race.record([best, plain], file, default=1)
    assert not result["default"] and result["number"] == 7
    assert result["gain"]["low"] > 0.04 and result["gain"]["high"] < 0.06
    assert math.isclose(result["drop"], 0.97 - np.mean([0.951, 0.949, 0.952, 0.947]))


def test_what_is_likely_better_is_handed_on_before_its_interval_is_clear_of_zero(file: StudyFile) -> None:
    """The best estimate is stored with its odds, handed on or not."""
    plain = candidate(0, 0.9, 0.900, 0.905, 0.895, 0.902)
    other = candidate(4, 0.9, 0.897, 0.899, 0.901, 0.898)
    likely = race.record([candidate(7, 0.95, 0.906, 0.907, 0.903, 0.904), plain, other], file, default=1)
    assert likely["number"] == 7 and not likely["default"]
    assert likely["gain"]["low"] < 0 < likely["proposal"]["gain"] == likely["gain"]["mean"]
    assert race.HANDED_ON <= likely["proposal"]["better"] < 0.98
    unsure = race.record([candidate(7, 0.95, 0.903, 0.902, 0.899, 0.904), plain, other], file, default=1)
    assert unsure["number"] == 0 and unsure["default"] and unsure["leader"] == 7
    assert unsure["proposal"]["number"] == 7 and 0.5 < unsure["proposal"]["better"] < race.HANDED_ON


def test_a_default_that_misses_a_constraint_is_not_handed_on(file: StudyFile) -> None:
    best = candidate(7, 0.9, 0.9, 0.9001, violation=0.0)
    plain = candidate(0, 0.9, 0.91, 0.9101, violation=0.3)
    result = race.record([best, plain], file, default=1)
    assert not result["default"] and result["number"] == 7


def test_luck_in_a_constraint_does_not_decide_a_race(file: StudyFile) -> None:
    """All miss the constraint by about as much, with noise; only the score differs for sure."""
    plain = candidate(0, 0.9, 0.91, 0.912, 0.909, 0.911)
    other = candidate(7, 0.9, 0.90, 0.901, 0.898, 0.902)
    plain = replace(plain, violation_again={0: 0.004, 1: 0.0, 2: 0.006, 3: 0.001})
    other = replace(other, violation_again={0: 0.002, 1: 0.001, 2: 0.005, 3: 0.0})
    result = race.record([other, plain], file, default=1)
    assert result["leader"] == 0 and result["default"] and result["chance"] > 0.99
    worse = replace(plain, violation_again={0: 0.014, 1: 0.011, 2: 0.015, 3: 0.010})
    assert race.record([other, worse], file, default=1)["number"] == 7, "shown to miss it by more"


def test_where_all_miss_a_constraint_a_little_more_decides_nothing(file: StudyFile) -> None:
    """From a campaign: a configuration that is no better took the place of the default."""
    file = replace(file, matters=0.005)
    plain = candidate(0, 0.9324, 0.88998, 0.89376, 0.9031, 0.90877)
    equal = candidate(27, 0.92918, 0.88998, 0.89195)
    third = candidate(24, 0.93079, 0.89127, 0.89118, 0.9047, 0.90931)
    plain = replace(plain, violation_again={0: 0.04396, 1: 0.04436, 2: 0.00135, 3: 0.0})
    equal = replace(equal, violation_again={0: 0.0424, 1: 0.03965})
    third = replace(third, violation_again={0: 0.04552, 1: 0.04279, 2: 0.0, 3: 0.0})
    assert race.record([plain, third, equal], file, default=0)["default"]
    met = replace(equal, violation_again={0: 0.0, 1: 0.0})
    least = replace(plain, violation_again={0: 0.004, 1: 0.004, 2: 0.004, 3: 0.004})
    assert not race.record([least, met], file, default=0)["default"], "the other meets the constraint"


def test_rounding_bars_no_configuration_from_winning(file: StudyFile) -> None:
    """Two meet the constraint in each of seven rounds, others miss it by the same each time."""
    for missed in (0.1, 0.3, 0.7, 1 / 3):
        met = [candidate(i, 0.9, *[0.9 + i / 100] * 7) for i in range(2)]
        others = [candidate(i, 0.9, *[0.9] * (9 - i), violation=missed * i) for i in range(2, 6)]
        assert race.standing([*met, *others], file).allowed == {0, 1}


def test_less_is_better_where_the_goal_says_so(make_study: Callable[..., StudyFile]) -> None:
    file = make_study(maximize="minimize")
    result = race.record([candidate(0, 0.1, 0.3, 0.31), candidate(1, 0.2, 0.2, 0.21)], file, default=None)
    assert result["number"] == 1
    assert result["lead"]["mean"] > 0


def test_a_gain_is_rarely_claimed_where_there_is_none(file: StudyFile) -> None:
    """Four configurations that are as good as the default: the best of them is chosen, and looks good."""
    rng, claimed, worlds = np.random.default_rng(5), 0, 120
    for _ in range(worlds):
        found, _ = run([0.9] * 5, file, rng, default=4)
        claimed += not race.record(found, file, default=4)["default"]
    assert claimed / worlds < 0.15


def test_the_race_chooses_better_than_one_run_each(file: StudyFile) -> None:
    rng = np.random.default_rng(2)
    regret = {"race": 0.0, "one run": 0.0}
    for _ in range(60):
        truth = rng.normal(0.9, 0.005, 4)
        found, _ = run(truth, file, rng)
        regret["race"] += truth.max() - truth[race.standing(found, file).leader]
        regret["one run"] += truth.max() - truth[int(np.argmax(truth + rng.normal(0, 0.005, 4)))]
    assert regret["race"] < 0.7 * regret["one run"]


def test_a_configuration_that_is_hardly_better_than_the_best_leaves(file: StudyFile) -> None:
    noisy = [
        candidate(0, 0.9, 0.800, 0.700),
        candidate(1, 0.9, 0.902, 0.798),
        candidate(2, 0.9, 0.899, 0.800),
    ]
    place = race.standing(noisy, file)
    assert place.leader == 1
    assert (place.better(0, 1) or 1) < race.LEAST_RIVAL < (place.better(2, 1) or 0)
    assert race.staying(place, [0, 1, 2], default=None) == [1, 2]


def test_the_last_two_run_two_rounds_at_once_and_more_run_one(file: StudyFile) -> None:
    close = [candidate(0, 0.9, 0.900, 0.900), candidate(1, 0.9, 0.902, 0.904)]
    rounds = {
        entry[1]
        for entry in race.entries(
            close, file, default=0, first=2, most=6, tried=[(0, 0), (1, 0), (0, 1), (1, 1)]
        )
    }
    assert rounds == {0, 1, 2, 3}
    close.append(candidate(2, 0.9, 0.904, 0.902))
    tried = [(i, k) for i in range(3) for k in range(2)]
    rounds = {entry[1] for entry in race.entries(close, file, default=0, first=2, most=6, tried=tried)}
    assert rounds == {0, 1, 2}


def test_a_failed_run_does_not_stop_the_race(file: StudyFile) -> None:
    found = [candidate(0, 0.9, 0.9, 0.91), candidate(1, 0.9, 0.89)]  # the second run of the second failed
    tried = {(0, 0), (1, 0), (0, 1), (1, 1)}
    entries = race.entries(found, file, default=None, first=2, most=4, tried=tried)
    assert (0, 2) in entries


def test_one_round_tells_nothing_about_noise(file: StudyFile) -> None:
    result = race.record([candidate(0, 0.9, 0.9), candidate(1, 0.8, 0.95)], file, default=0)
    assert result["number"] == 1 and not result["default"]
    assert result["noise"] is None
