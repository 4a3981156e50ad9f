"""Known recordings, compared with a new one: found again, read row by row, merged, saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.controller_log import unknown_log
from model.library import Library
from model.library_fit import ARRAYS, LIBRARY, build, load, save
from model.matching import Query, match, match_each_other
from model.merged_program import merged
from model.recordings import Recordings
from model.row_vote import read_rows, weights
from tuner.base.errors import InputError


@pytest.fixture(scope="module")
def library(tiny_recordings: Recordings) -> Library:
    return build(tiny_recordings)


def lines_of(data: Recordings, i: int) -> list[str]:
    recording = data.recordings[i]
    return [data.lines[x] for x in data.line_ids[recording.start : recording.start + recording.rows]]


def test_a_known_recording_is_found_again_without_delay(
    library: Library, tiny_recordings: Recordings
) -> None:
    for i, recording in enumerate(tiny_recordings.recordings):
        matches = match(library, Query.of(tiny_recordings, i))
        assert library.known[matches.best].name == recording.name
        assert matches.delay[matches.which == matches.best].tolist() == [0]
        assert read_rows(matches).lines() == lines_of(tiny_recordings, i)


def test_left_out_it_is_read_by_the_others(library: Library, tiny_recordings: Recordings) -> None:
    for i, recording in enumerate(tiny_recordings.recordings):
        matches = match(library, Query.of(tiny_recordings, i), leave_out=[i])
        assert i not in matches.which
        assert matches.operation == recording.operation
        reading = read_rows(matches)
        assert reading.share.sum(axis=1).max() <= 1 + 1e-9
        assert (np.diff(reading.share, axis=1) <= 1e-9).all()
        assert reading.likely.sum(axis=1).max() <= 1 + 1e-9
        assert ((reading.probability >= 0) & (reading.probability <= 1)).all()


def test_a_recording_that_was_cut_is_read_as_far_as_it_goes(
    library: Library, tiny_recordings: Recordings
) -> None:
    i = library.named("face_001")
    assert i is not None
    whole = Query.of(tiny_recordings, i)
    half = len(whole.shape) // 2
    reading = read_rows(match(library, whole.first(half)))
    true = lines_of(tiny_recordings, i)[:half]
    assert np.mean([a == b for a, b in zip(reading.lines(), true, strict=True)]) > 0.9


def test_a_batch_of_matches_equals_one_at_a_time(library: Library, tiny_recordings: Recordings) -> None:
    for i, matches in enumerate(match_each_other(library)):
        alone = match(library, Query.of(tiny_recordings, i), leave_out=[i])
        assert matches.correlation == pytest.approx(alone.correlation, abs=1e-5)
        assert matches.delay.tolist() == alone.delay.tolist()


def test_a_recording_of_the_same_length_and_session_has_most_weight(library: Library) -> None:
    matches = match_each_other(library)[0].of_operation(library.known[0].operation)
    near = replace(
        matches,
        correlation=np.full(len(matches.which), 0.4),
        longer=np.arange(len(matches.which)),
        apart=np.zeros(len(matches.which)),
    )
    assert (np.diff(weights(near)[1][:, 0]) < 0).all()
    far = replace(near, longer=near.longer * 0, apart=np.arange(len(matches.which)) / 10)
    assert (np.diff(weights(far)[1][:, 0]) < 0).all()


def test_the_merged_program_has_the_lines_of_all_logs_in_order(library: Library) -> None:
    program = merged(library, 0)
    numbers = [line.number for line in program.lines]
    assert numbers == sorted(set(numbers))
    own = {int(library.number[p]): library.lines[library.place_line[p]] for p in np.unique(library.places(0))}
    assert own.items() <= {line.number: line.line for line in program.lines}.items()
    union = {
        int(library.number[p]) for name in program.recordings for p in library.places(library.named(name))
    }
    assert set(numbers) == union
    assert program.setup == "G20 G90 G55"


def test_a_skipped_motion_word_is_written(library: Library) -> None:
    hidden = replace(merged(library, 0), setup="G20 G90")
    arc = next(i for i, line in enumerate(hidden.lines) if line.line.startswith("G3"))
    after = next(
        i for i, line in enumerate(hidden.lines) if i > arc and line.line[0] in "XY" and line.motion == 3
    )
    cut = replace(hidden, lines=hidden.lines[after:])
    assert cut.texts()[0].startswith("G3 ")
    assert cut.texts()[0].split()[-1].startswith("F"), "the feed is that of the controller, in inches"
    assert cut.texts()[1:3] == [line.line for line in cut.lines[1:3]]


def test_saved_and_loaded_it_answers_the_same(
    library: Library, tiny_recordings: Recordings, tmp_path: Path
) -> None:
    save(library, tmp_path)
    again = load(tmp_path)
    query = Query.of(tiny_recordings, 3)
    assert match(again, query, leave_out=[3]).fit == match(library, query, leave_out=[3]).fit
    assert again.known == library.known
    assert again.trust.tolist() == library.trust.tolist()


@pytest.mark.parametrize("file", [LIBRARY, ARRAYS])
def test_a_torn_library_is_named(library: Library, tmp_path: Path, file: str) -> None:
    save(library, tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="library"):
        load(tmp_path)


def test_without_line_numbers_rows_are_read_but_programs_are_not_merged(tiny_recordings: Recordings) -> None:
    old = Library.of(replace(tiny_recordings, log=unknown_log(tiny_recordings.rows)))
    assert not old.numbered
    assert merged(old, 0).lines == ()
    matches = match(old, Query.of(tiny_recordings, 2))
    assert read_rows(matches).lines()[:5] == lines_of(tiny_recordings, 2)[:5]


def test_recordings_of_two_runs_are_left_out(tiny_recordings: Recordings) -> None:
    first, *rest = tiny_recordings.recordings
    data = replace(tiny_recordings, recordings=(replace(first, runs=2), *rest))
    assert first.name not in [known.name for known in Library.of(data).known]
    with pytest.raises(InputError, match="no recording of one run"):
        Library.of(data, [0])


def test_known_recordings_with_like_claims_tell_how_many_rows_are_right(library: Library) -> None:
    claims = np.linspace(0.5, 0.99, 40)
    right = claims - 0.02 * (np.arange(40) % 5)
    known = replace(library, claims=np.stack([claims, right]))
    low, high = known.between(0.9)
    assert low == pytest.approx(0.82) and high == pytest.approx(0.9)
    assert replace(library, claims=np.stack([claims, right])[:, :18]).between(0.9) is None, "too few to say"
