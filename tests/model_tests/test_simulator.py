"""The simulator: programs that a controller accepts, motion within limits, signals that carry the motion."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from model.data_sets import synthesize
from model.importing import import_recordings
from model.recording_files import count_runs
from model.simulator import Simulation, simulate, synthesize_csv
from model.simulator.kinematics import ACCELERATION, DEVIATION, RAPID, run_program
from model.simulator.programs import CUTS, program
from model.simulator.recorder import Day, record
from model.simulator.sensors import machine
from model.tokens import canonical, tokenize
from tuner.base.errors import InputError

SMALL = Simulation(
    seed=3,
    operations=("adaptive", "pocket"),
    recordings_per_operation=3,
    boards=("frame_r2", "y_bed__3", "spindle2"),
    scale=0.5,
)


@pytest.fixture(scope="module")
def tables():
    return dict(simulate(SMALL))


# -- programs


@pytest.mark.parametrize("name", CUTS)
def test_every_program_runs_from_spindle_on_to_end(name):
    lines = program(CUTS[name])
    assert lines[3] == "M3 S12000" and lines[-1] == "M30"
    assert all(tokenize(line, 4) for line in lines)
    seconds = run_program(lines).seconds
    assert 60 < seconds < 130, "250 to 500 rows of 0.26 s"


def test_many_lines_start_without_a_command():
    lines = [line for cut in CUTS.values() for line in program(cut)]
    modal = [line for line in lines if canonical(line)[0] not in "GMT"]
    assert 0.2 < len(modal) / len(lines) < 0.7


def test_a_skipped_step_makes_the_program_shorter():
    for cut in CUTS.values():
        assert len(program(cut, skipped=1)) < len(program(cut))


# -- kinematics


def sampled(lines, seconds=0.002, **options):
    motion = run_program(lines, **options)
    times = np.arange(0, motion.seconds, seconds)
    return motion, times, *motion.at(times)


def test_velocity_is_the_derivative_of_position():
    _, times, _, position, velocity = sampled(program(CUTS["pocket"]))
    assert np.abs(np.gradient(position, times, axis=0) - velocity).mean() < 0.02


@pytest.mark.parametrize("name", CUTS)
def test_feed_rapid_and_acceleration_stay_within_their_limits(name):
    motion, times, piece, _, velocity = sampled(program(CUTS[name]))
    speed = np.linalg.norm(velocity, axis=1)
    assert (speed <= np.where(motion.mode[piece] == 0, RAPID, motion.feed[piece]) + 1e-6).all()
    along = np.abs(np.diff(speed)) / np.diff(times)
    assert np.quantile(along, 0.999) <= ACCELERATION * 1.01
    assert np.abs(np.diff(velocity, axis=0)).max() <= np.sqrt(ACCELERATION * DEVIATION) * 3


def test_a_straight_move_takes_the_time_of_its_trapezoid():
    motion = run_program(["G21", "G1 X100 F1200"])
    v, a = 20.0, ACCELERATION
    assert motion.begin[-1] - motion.begin[1] == pytest.approx(100 / v + v / a)


def test_a_short_move_never_reaches_its_feed():
    motion = run_program(["G21", "G1 X0.5 F6000"])
    assert motion.speeds[-1, 1] == pytest.approx(np.sqrt(ACCELERATION * 0.5))


def test_an_arc_keeps_its_radius_and_ends_where_it_is_told():
    motion, _, piece, position, _ = sampled(["G21", "G0 X10 Y0", "G3 X0 Y10 R10 F600"])
    radius = np.hypot(*position[motion.line[piece] == 2, :2].T)
    assert radius.max() == pytest.approx(10, abs=1e-6)
    assert radius.min() == pytest.approx(10, abs=0.02), "chords of a millimetre"
    assert position[-1, :2] == pytest.approx([0, 10], abs=1e-3)


def test_feed_override_slows_the_cut_and_not_the_rapids():
    assert run_program(["G21", "G1 X100 F600"], override=0.5).seconds > 19
    assert run_program(["G21", "G0 X100"], override=0.5).seconds == run_program(["G21", "G0 X100"]).seconds


# -- recordings


def test_equal_options_give_equal_recordings_and_another_seed_others(tables):
    again = dict(simulate(SMALL))
    assert all(tables[name].equals(again[name]) for name in tables)
    other = dict(simulate(replace(SMALL, seed=4)))
    assert not any(tables[name].equals(other[name]) for name in tables)


def test_csv_files_import_to_the_same_arrays(tmp_path):
    written = synthesize_csv(tmp_path / "csv", SMALL)
    assert len(written) == 6
    imported = import_recordings([tmp_path / "csv"], tmp_path / "imported").data
    direct = synthesize(tmp_path / "direct", SMALL)
    assert imported.content_hash == direct.content_hash
    assert (imported.kind, direct.kind) == ("recordings", "simulator")


def test_a_table_has_the_columns_of_a_real_recording(tables):
    table = tables["pocket_001"]
    expected = ["t_console", "line", "posx", "mpoz", "vel", "feed", "raw_json", "spindle", "x_motor_A"]
    assert {*expected, "frame_r2.Ax", "y_bed__3.RMS", "gcode_line", "gcode_string"} <= set(table.columns)
    seconds = table["t_console"].str.to_time("%H:%M:%S%.f").cast(pl.Int64).diff().drop_nulls() / 1e9
    assert seconds.mean() == pytest.approx(0.26, abs=0.01)


def test_a_recording_opens_with_a_line_that_is_only_queued(tables):
    numbers = tables["pocket_001"]["gcode_line"].to_list()
    assert numbers[0] == 13 and min(numbers) < 6
    assert count_runs(numbers) == 1


def test_boards_are_missing_now_and_then_but_never_two_of_them():
    tables = dict(simulate(replace(SMALL, recordings_per_operation=12)))
    has = {
        board: [f"{board}.Ax" in t.columns for t in tables.values()]
        for board in ("frame_r2", "y_bed__3", "spindle2")
    }
    assert all(has["frame_r2"]) and all(has["y_bed__3"])
    assert any(has["spindle2"]) and not all(has["spindle2"])


def recorded(**day):
    """A pocket recorded by three boards on a plain day, but for `day`."""
    plain = Day(override=1.0, late=0, before=6, after=0, missing=frozenset(), clock=datetime(2026, 1, 1))
    boards = machine(SMALL.boards, np.random.default_rng(0))
    lines = program(CUTS["pocket"])
    return record(lines, boards, replace(plain, **day), np.random.default_rng(1))


def test_the_field_at_a_bed_board_tells_where_the_bed_is():
    table = recorded()
    field = table.select("^y_bed__3.M.$").with_columns(one=1.0).to_numpy()
    bed = table["mpoy"].to_numpy()
    error = bed - field @ np.linalg.lstsq(field, bed, rcond=None)[0]
    assert error.var() < 0.2 * bed.var()


def test_pressure_falls_with_height_on_a_board_that_rides_on_z():
    table = recorded()
    steps = np.diff(table["mpoz"].to_numpy())
    change = np.diff(table["spindle2.Pressure"].to_numpy())
    assert (change * steps)[np.abs(steps) > 5].sum() < 0


def test_the_spindle_motor_draws_more_under_load():
    table = recorded()
    cutting = (table["mpoz"] < -24).to_numpy()
    assert table["spindle"].to_numpy()[cutting].mean() > table["spindle"].to_numpy()[~cutting].mean()


def test_late_boards_show_what_the_controller_did_rows_before():
    prompt, late = (recorded(late=rows)["spindle"].to_numpy() for rows in (0, 9))
    assert np.corrcoef(prompt[20:-9], late[29:])[0, 1] > np.corrcoef(prompt[20:], late[20:])[0, 1]


def test_rows_after_the_program_have_no_line():
    lines = recorded(after=4)["gcode_string"].to_list()
    assert lines[-5:] == ["M30", None, None, None, None]


def test_offsets_between_recordings_are_as_large_as_the_signal(tables):
    channel = [t["y_bed__3.Mx"].to_numpy() for name, t in tables.items() if name.startswith("pocket")]
    assert np.std([values.mean() for values in channel]) > 0.3 * np.mean([values.std() for values in channel])


def test_an_unknown_operation_or_board_is_named_with_the_nearest():
    with pytest.raises(InputError, match="unknown operation 'pockt'; did you mean 'pocket'"):
        Simulation(operations=("pockt",))
    with pytest.raises(InputError, match="unknown board 'frame_r9'"):
        Simulation(boards=("frame_r9",))
