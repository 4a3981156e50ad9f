"""Recordings at another feed, with a hold, or cut: warped as they are made, found and read."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from programs.warp import Warp, feed, hold, part, warped

from inference.check import SAME, Checker, sentence
from inference.whole import Reader
from inference.whole_output import headline
from model.clock import HELD, Clock, Stretch
from model.library import Library
from model.library_fit import build
from model.matching import stillness
from model.paces import smoothed
from model.recordings import Recordings

NEW = 1  # the second recording of each operation is left out
FACE = 5  # face_002, which is one of them


@pytest.fixture(scope="module")
def library(tiny_recordings: Recordings) -> Library:
    return build(tiny_recordings, [i for i in range(12) if i % 4 != NEW])


def test_lines_follow_one_clock_and_sensors_the_other(tiny_recordings: Recordings) -> None:
    found = warped(tiny_recordings, 0, hold(0.5, 20), lag=7)
    whole = warped(tiny_recordings, 0, feed(1.0), lag=7)
    stopped = len(whole.line_ids) // 2
    assert len(found.line_ids) == len(whole.line_ids) + 20
    assert len(set(found.line_ids[stopped : stopped + 20])) == 1
    still = np.abs(np.diff(found.signals, axis=0)).sum(axis=1) == 0
    assert np.flatnonzero(still)[[0, -1]].tolist() == [stopped + 7, stopped + 7 + 19]


@pytest.mark.parametrize(
    ("warp", "pace"),
    [
        (feed(1.0), 1.0),
        (feed(1.08), 1.08),
        (feed(0.85), 0.85),
        (hold(0.5, 30, 1.05), 1.05),
        (part(0.1, 1), 1.0),
    ],
)
def test_a_program_is_read_at_any_feed(
    library: Library, tiny_recordings: Recordings, warp: Warp, pace: float
) -> None:
    new = warped(tiny_recordings, FACE, warp, lag=3)
    one = Reader(library).read_one(new, 0)
    assert one.operation == "face"
    assert one.clock.pace == pytest.approx(pace, rel=0.02)
    assert one.right > 0.75 * one.known


def test_the_feed_and_the_hold_are_said(library: Library, tiny_recordings: Recordings) -> None:
    new = warped(tiny_recordings, FACE, hold(0.5, 30, 1.08), lag=3)
    checked = Checker(Reader(library)).check(new, 0, [], "a known program")
    assert checked.verdict == SAME
    said = r"feed 10[789] %, held for [78] s at line \S+"
    assert re.search(rf"Matches program face \(3 known recordings\), {said}", sentence(checked))
    assert re.search(said, headline(Reader(library).read_one(new, 0)))


def test_an_unsteady_pace_is_followed_to_a_part_of_a_row() -> None:
    rng = np.random.default_rng(0)
    row = np.arange(0, 400, 8.0)
    true = np.interp(np.arange(401), [0, 120, 260, 400], [80, 188, 328, 489])  # 90, 100 and 115 %
    place = true[row.astype(int)] + rng.normal(0, 0.3, len(row))
    at, found = smoothed(row, place, np.full(len(row), 0.8), 400)
    error = np.abs(found - true[at.astype(int)])[at <= 392]
    assert np.quantile(error, 0.9) < 0.3


def test_a_hold_is_found_while_the_spindle_goes_on(library: Library, tiny_recordings: Recordings) -> None:
    new = warped(tiny_recordings, FACE, hold(0.5, 38, unrest=1.0), lag=3)
    assert stillness(np.asarray(new.signals)) == []
    one = Reader(library).read_one(new, 0)
    (found,) = one.clock.holds
    assert one.operation == "face" and abs(found.start - len(one.lines) / 2 + 19) <= 16
    assert 25 <= found.stop - found.start <= 50


def test_only_rows_in_which_the_sensors_stand_are_a_hold(tiny_recordings: Recordings) -> None:
    running = warped(tiny_recordings, FACE, feed(1.0), lag=3)
    stood = warped(tiny_recordings, FACE, hold(0.5, 30), lag=3)
    assert stillness(np.asarray(running.signals)) == []
    middle = len(running.line_ids) // 2 + 3
    ((start, rows),) = stillness(np.asarray(stood.signals))
    assert abs(start - middle) <= 1 and rows == 30


def test_what_bends_or_misses_more_fits_less() -> None:
    straight = Clock.plain(100)
    halves = (Stretch(0, 50, 0.6), Stretch(50, 100, 1.4))
    stands = (Stretch(0, 50, 1.0), Stretch(50, 70, 0.0, still=True), Stretch(70, 120, 1.0))
    assert straight.bent == 0 and replace(straight, stretches=stands).bent == 0
    running = [replace(one, still=False) for one in stands]
    assert replace(straight, stretches=tuple(running)).bent == pytest.approx(0.1389, abs=1e-3), "too short"
    longer = (running[0], Stretch(50, 74, 0.0), Stretch(74, 120, 1.0))
    assert replace(straight, stretches=longer).bent == pytest.approx(HELD)
    assert replace(straight, stretches=halves).bent == pytest.approx(0.16)
    assert replace(straight, after=100).missing == pytest.approx(0.5)


def test_a_plain_clock_keeps_the_numbers_of_rows() -> None:
    clock = Clock.plain(50)
    assert clock.lines().tolist() == list(range(50))
    assert clock.pace == 1.0 and not clock.holds
    signals = np.arange(100.0).reshape(50, 2)
    assert clock.unbent(signals) is signals
