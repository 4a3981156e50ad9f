"""What an interval says about a claim, and in which words."""

import math

import pytest

from tuner.claims.verdict import Gain, Verdict, decide, sentence

INF = math.inf
RANGE = (0.05, 0.12)
NOTHING = (-0.005, 0.005)
NOT_WORSE = (0.0, INF)


@pytest.mark.parametrize(
    ("low", "high", "gain", "expected"),
    [
        # a claim that something helps
        (0.01, 0.03, None, "as claimed"),
        (0.001, 0.02, None, "as claimed"),  # it helps for certain; how much is another question
        (-0.03, -0.01, None, "opposite"),
        (-0.004, 0.003, None, "no difference"),
        (0.001, 0.004, None, "no difference"),  # real, and too small to matter
        (-0.004, -0.001, None, "no difference"),
        (-0.01, 0.01, None, "open"),
        (-0.004, 0.01, None, "open"),
        (-INF, INF, None, "open"),
        # a claim of a gain between two numbers
        (0.13, 0.20, RANGE, "larger"),
        (0.06, 0.10, RANGE, "as claimed"),
        (0.06, 0.20, RANGE, "as claimed"),
        (0.046, 0.07, RANGE, "as claimed"),  # what it falls short by does not matter
        (0.01, 0.04, RANGE, "smaller"),
        (-0.004, 0.004, RANGE, "no difference"),
        (-0.05, -0.01, RANGE, "opposite"),
        (0.01, 0.10, RANGE, "open"),
        (-0.01, 0.03, RANGE, "open"),
        # a claim that nothing is gained, or nothing lost
        (-0.004, 0.003, NOTHING, "as claimed"),
        (-0.009, 0.009, NOTHING, "as claimed"),
        (0.02, 0.03, NOTHING, "larger"),
        (-0.03, -0.02, NOTHING, "opposite"),
        (-0.02, 0.003, NOTHING, "open"),
        (0.02, 0.03, NOT_WORSE, "as claimed"),
        (-0.004, 0.03, NOT_WORSE, "as claimed"),
        (-0.03, -0.01, NOT_WORSE, "opposite"),
        (-0.03, 0.01, NOT_WORSE, "open"),
    ],
)
def test_verdicts(low: float, high: float, gain: Gain | None, expected: Verdict) -> None:
    assert decide(low, high, gain=gain, matters=0.005) == expected


def test_without_a_difference_that_matters_nothing_is_equal() -> None:
    assert decide(-0.0001, 0.0001, gain=None, matters=0.0) == "open"
    assert decide(0.0, 0.0, gain=None, matters=0.0) == "no difference"


@pytest.mark.parametrize(
    ("low", "high", "gain", "expected"),
    [
        (0.12, 0.15, (0.06, 0.11), "Larger than claimed: +0.1350 acc [+0.1200, +0.1500] from 6 pairs; "
                                   "+0.06 to +0.11 was claimed."),
        (0.01, 0.03, None, "As claimed: +0.0200 acc [+0.0100, +0.0300] from 6 pairs."),
        (0.06, 0.2, RANGE, "As claimed or more: +0.1300 acc [+0.0600, +0.2000] from 6 pairs; "
                           "+0.05 to +0.12 was claimed."),
        (0.01, 0.04, RANGE, "Smaller than claimed: +0.0250 acc [+0.0100, +0.0400] from 6 pairs; "
                            "+0.05 to +0.12 was claimed."),
        (-0.004, 0.004, None, "No difference that matters: +0.0000 acc [-0.0040, +0.0040] from 6 pairs; "
                              "differences up to 0.005 do not matter."),
        (-0.004, 0.004, NOTHING, "As claimed, nothing that matters is gained: +0.0000 acc [-0.0040, +0.0040] "
                                 "from 6 pairs; differences up to 0.005 do not matter."),
        (-0.004, 0.03, NOT_WORSE, "As claimed, nothing is lost: +0.0130 acc [-0.0040, +0.0300] from 6 pairs; "
                                  "differences up to 0.005 do not matter."),
        (-0.03, -0.01, None, "The opposite: -0.0200 acc [-0.0300, -0.0100] from 6 pairs."),
        (-0.01, 0.03, None, "Open: +0.0100 acc [-0.0100, +0.0300] from 6 pairs."),
        (0.01, 0.1, RANGE, "Open: +0.0550 acc [+0.0100, +0.1000] from 6 pairs. It is an improvement; its "
                           "size is not settled."),
        (-INF, INF, None, "Open: +0.0000 acc [−∞, +∞] from 6 pairs."),
    ],
)  # fmt: skip
def test_the_sentence(low: float, high: float, gain: Gain | None, expected: str) -> None:
    effect = (low + high) / 2 if math.isfinite(low) else 0.0
    verdict = decide(low, high, gain=gain, matters=0.005)
    said = sentence(verdict, effect, low, high, gain=gain, matters=0.005, metric="acc", data="6 pairs")
    assert said == expected


def test_a_claim_without_data_says_what_is_missing() -> None:
    said = sentence("open", None, None, None, gain=None, matters=0.005, metric="acc", data="2 trials")
    assert said == "Open: 2 trials."
