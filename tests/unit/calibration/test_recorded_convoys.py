"""Recorded convoys: what is read, what is refused with which words, and which cases are cut."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.random_edits import damaged_bytes, fuzz, require_one_screen
from support.recorded_convoys import Convoy

from ml.calibration.convoys.cases import TICKS, cut_cases, follow, nearest_cars
from ml.calibration.convoys.folder import cut_all, is_for_training, read_folder
from ml.calibration.convoys.openacc import is_openacc, read_openacc
from ml.envs.episodes.recorded import REAL_HEADWAY, manoeuvre
from ml.errors import LogError
from ml.vehicle import HEADWAY_SPEED_MPS

if TYPE_CHECKING:
    from pathlib import Path


def test_the_last_car_comes_first(tmp_path: Path):
    """Columns, names and gaps of a file are those of the convoy, from the last car on."""
    made = Convoy(cars=4)
    file = made.write(tmp_path / "a.csv")
    assert is_openacc(file)
    read = read_openacc(file)
    assert read.names == ("car-4", "car-3", "car-2", "car-1")
    np.testing.assert_array_equal(read.speed_mps, made.speed_mps[:, ::-1])
    np.testing.assert_allclose(read.gap_m, made.gap_m[:, ::-1], atol=1e-9)
    assert read.duration_s == pytest.approx(100.0)


def test_cars_without_columns_are_not_there(tmp_path: Path):
    """Without Speed1 and Speed4, the gap behind car 3 is that to car 5."""
    made = Convoy(cars=5)
    read = read_openacc(made.write(tmp_path / "a.csv", without=(1, 4)))
    assert read.names == ("car-5", "car-3", "car-2")
    np.testing.assert_array_equal(read.speed_mps, made.speed_mps[:, [4, 2, 1]])
    far_m = made.place_m[:, 2] - made.place_m[:, 4] - 4.5
    np.testing.assert_allclose(read.gap_m[:, 0], far_m, atol=1e-9)


def test_an_empty_cell_is_unknown(tmp_path: Path):
    """It is no 0, and only that cell is unknown."""
    read = read_openacc(Convoy().write(tmp_path / "a.csv", holes=[(50.0, "Speed2")]))
    assert np.argwhere(np.isnan(read.speed_mps)).tolist() == [[500, 1]]


@pytest.mark.parametrize(
    ("cruise_mps", "factor", "positions", "unit"),
    [
        (30.0, 3.6, True, "km/h: divide the speeds by 3.6"),
        (15.0, 3.6, True, "km/h: divide the speeds by 3.6"),
        (15.0, 3.6, False, "km/h: divide the speeds by 3.6"),
        (15.0, 1.944, True, "knots: divide the speeds by 1.944"),
        (15.0, 1.944, False, "knots: divide the speeds by 1.944"),
    ],
)
def test_speeds_in_another_unit_are_refused(
    tmp_path: Path, cruise_mps: float, factor: float, unit: str, *, positions: bool
):
    """Held against positions, or against how gaps change: file, line, value and what to do."""
    made = Convoy(cruise_mps=cruise_mps, brakes_s=(40.0, 60.0, 80.0))
    file = made.write(tmp_path / "a.csv", factor=factor, positions=positions)
    with pytest.raises(LogError, match=unit) as refused:
        read_openacc(file)
    highest = float(factor * made.speed_mps[:, 0].max())
    line = 7 + int(made.speed_mps[:, 0].argmax())
    assert f"{file}, line {line}, column Speed1: {highest:g}" in str(refused.value)


def test_the_same_speeds_in_metres_are_read(tmp_path: Path):
    """What the test above refuses is the unit alone."""
    for positions in (True, False):
        made = Convoy(cruise_mps=15.0, brakes_s=(40.0, 60.0, 80.0))
        read_openacc(made.write(tmp_path / "a.csv", positions=positions))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("Time,Speed1", "Zeit,Speed1", "none of its first 50 lines is a header"),
        ("IVS1", "Gap1", "the column IVS1 is missing, the gap behind car 1"),
        ("\n1.0,", "\n0.7,", r"line 17, column Time: 0.7, after 0.9: time must run on"),
        (",Human\n", ",Human,1\n", r"cells, allowed are the"),
        ("car-1,car-2", "car-1,car-2", ""),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, before: str, after: str, words: str):
    """A wrong file is refused with what and where."""
    file = Convoy(cars=2, duration_s=60.0, brakes_s=(30.0,)).write(tmp_path / "a.csv")
    lines = [",".join([*line.split(",")[:-1]]) for line in file.read_text().splitlines()]
    text = file.read_text() if before != ",Human\n" else "\n".join(lines) + "\n"
    file.write_text(text.replace(before, after, 1))
    if not words:
        read_openacc(file)
        return
    with pytest.raises(LogError, match=words):
        read_openacc(file)


def test_milliseconds_and_text_are_refused(tmp_path: Path):
    """Time in ms, and a cell that is no number: line, column and value."""
    file = Convoy(cars=2).write(tmp_path / "a.csv")
    head, *rows = file.read_text().split("Time,", 1)[1].splitlines()
    scaled = [f"{1000.0 * float(row.split(',', 1)[0])!r},{row.split(',', 1)[1]}" for row in rows]
    file.write_text("\n".join([f"Time,{head}", *scaled]))
    with pytest.raises(LogError, match="milliseconds: divide by 1000"):
        read_openacc(file)
    rows[3] = "x" + rows[3]
    file.write_text("\n".join([f"Time,{head}", *rows]))
    with pytest.raises(LogError, match=r"line 5, column Time: 'x0.30"):
        read_openacc(file)


def test_a_case_is_cut_around_a_hard_braking(tmp_path: Path):
    """20 s before a braking ahead to 25 s after it: who, until when, and the follower's own."""
    made = Convoy(cars=3, brakes_s=(40.0,))
    (case,), refused = cut_cases(read_openacc(made.write(tmp_path / "a.csv")))
    assert not refused
    begins_s = case.start_row * 0.1
    assert begins_s + 20.0 == pytest.approx(40.0, abs=0.3)
    assert case.speed_mps.shape == (TICKS + 1, 3)
    assert (case.brake_car, case.onset_tick) == (2, 200)
    assert 215 < case.release_tick < 260
    assert case.hardest_mps2 == pytest.approx(-5.0, abs=0.1)
    rows = slice(case.start_row, case.start_row + TICKS + 1)
    gap_m, speed_mps = made.gap_m[rows, 1], made.speed_mps[rows, 2]
    assert case.least_gap_m == pytest.approx(gap_m.min())
    assert case.headway_s == pytest.approx((gap_m / speed_mps).mean())


def test_the_real_followers_headway_counts_above_the_speed_of_the_drivers_metric(tmp_path: Path):
    """5 m/s: half of the ticks of a case whose speeds lie around it are left out of its label."""
    (case,), _ = cut_cases(read_openacc(Convoy(cars=2, brakes_s=(40.0,)).write(tmp_path / "a.csv")))
    rows = slice(case.start_row, case.start_row + TICKS + 1)
    convoy = case.convoy
    slower = convoy.speed_mps - np.median(convoy.speed_mps[rows, 0]) + HEADWAY_SPEED_MPS
    slow = replace(case, convoy=replace(convoy, speed_mps=slower))
    speed_mps, gap_m = slower[rows, 0], slow.gap_m[:, 0]
    moving = speed_mps > 5.0
    expected = (gap_m[moving] / speed_mps[moving]).mean()
    label = manoeuvre(slow).labels[REAL_HEADWAY]
    assert label == pytest.approx(expected, abs=1e-3)
    assert label != pytest.approx((gap_m / speed_mps)[speed_mps > 1.0].mean(), abs=1e-2)


def test_a_braking_that_flickers_is_cut_as_one(tmp_path: Path):
    """Braking gently first, off the pedal for 0.4 s, then hard: the case begins with the first."""
    read = read_openacc(Convoy(cars=2, brakes_s=(40.0,)).write(tmp_path / "a.csv"))
    accel = np.zeros(read.time_s.size - 1)
    accel[400:412], accel[416:440], accel[470:520] = -2.0, -4.0, 1.5
    lead = 20.0 + np.concatenate([[0.0], np.cumsum(accel) * 0.1])
    speed = np.stack([np.full(lead.size, 20.0), lead], axis=1)
    gap = 300.0 + np.cumsum(lead - 20.0)[:, None] * 0.1
    (case,), refused = cut_cases(replace(read, speed_mps=speed, gap_m=gap))
    assert not refused
    assert case.start_row + case.onset_tick == pytest.approx(400, abs=3)
    assert case.start_row + case.release_tick == pytest.approx(440, abs=3)


def test_gentle_braking_and_that_of_the_last_car_make_no_case(tmp_path: Path):
    """The last car's place is the driver's under test."""
    read = read_openacc(Convoy(cars=2, brakes_s=(40.0,)).write(tmp_path / "a.csv"))
    steady = np.full_like(read.speed_mps[:, 1:], 20.0)
    of_last = replace(read, speed_mps=np.hstack([read.speed_mps[:, :1], steady]))
    assert cut_cases(of_last) == ([], {})
    gentle = 20.0 + 0.5 * (read.speed_mps - 20.0)
    assert cut_cases(replace(read, speed_mps=gentle)) == ([], {})


@pytest.mark.parametrize(
    ("options", "brake_s", "why"),
    [
        ({"holes": [(30.0, "Speed2")]}, 40.0, "missing cells"),
        ({"holes": [(50.0, "IVS1")]}, 40.0, "missing cells"),
        ({"cut_s": (50.0, 50.5)}, 40.0, "time jumps"),
        ({}, 15.0, "begins less than 20 s before it"),
        ({}, 80.0, "ends less than 25 s after it"),
    ],
)
def test_windows_with_holes_are_counted(tmp_path: Path, options: dict, brake_s: float, why: str):
    """No case, and the reason."""
    file = Convoy(brakes_s=(brake_s,)).write(tmp_path / "a.csv", **options)
    cases, refused = cut_cases(read_openacc(file))
    assert (cases, dict(refused)) == ([], {why: 1})


def test_gaps_that_speeds_cannot_have_driven_are_refused(tmp_path: Path):
    """A gap that jumps by 3 m, and one that is below 0."""
    read = read_openacc(Convoy().write(tmp_path / "a.csv"))
    for change_m, why in ((3.0, "speeds and gaps disagree"), (-90.0, "a gap of 0 or less")):
        gap_m = read.gap_m.copy()
        gap_m[450:, 0] += change_m
        assert dict(cut_cases(replace(read, gap_m=gap_m))[1]) == {why: 1}


def test_cars_are_led_to_where_the_recording_has_them():
    """A speedometer that reads 0.15 m/s too much is corrected within half a metre."""
    made = Convoy(cars=3)
    speed_mps, gap_m = made.speed_mps[:, ::-1].copy(), made.gap_m[:, ::-1]
    same, off_m = follow(speed_mps, gap_m)
    assert off_m < 1e-9
    np.testing.assert_array_equal(same, speed_mps)
    speed_mps[:, 0] += 0.15
    found, off_m = follow(speed_mps, gap_m)
    assert 0.1 < off_m < 0.5
    driven_m = np.cumsum(0.5 * (found[1:] + found[:-1]), axis=0) * 0.1
    gaps = gap_m[0] + driven_m[:, 1:] - driven_m[:, :-1]
    assert np.abs(gaps - gap_m[1:]).max() == pytest.approx(off_m)


def test_far_cars_are_left_out(tmp_path: Path):
    """Of five, the nearest two to the last one; what the others did makes no case."""
    read = read_openacc(Convoy(cars=5).write(tmp_path / "a.csv"))
    near = nearest_cars(read, 2)
    assert near.names == ("car-5", "car-4", "car-3")
    assert near.gap_m.shape[1] == 2
    (case,) = cut_cases(near)[0]
    assert case.brake_car == 2


def test_halves_go_by_content(tmp_path: Path):
    """A file keeps its half under another name and in other company; both halves are all."""
    for k in range(6):
        Convoy(seed=k).write(tmp_path / f"{k}.csv")
    convoys = read_folder(tmp_path)
    halves = [cut_all(convoys, half=half) for half in ("train", "held out")]
    digests = [{cut.convoy.sha256 for cut in cuts} for cuts in halves]
    assert digests[0]
    assert digests[1]
    assert digests[0] | digests[1] == {convoy.sha256 for convoy in convoys}
    assert not digests[0] & digests[1]
    (tmp_path / "0.csv").rename(tmp_path / "other.csv")
    (tmp_path / "5.csv").unlink()
    for convoy in read_folder(tmp_path):
        assert is_for_training(convoy.sha256) == (convoy.sha256 in digests[0])


def test_a_recording_counts_once(tmp_path: Path):
    """A copy under another name is refused, with both names."""
    Convoy().write(tmp_path / "a.csv")
    Convoy().write(tmp_path / "b.csv")
    with pytest.raises(LogError, match=r"b\.csv and .*a\.csv are the same recording"):
        read_folder(tmp_path)


SMALL = Convoy(cars=2, duration_s=6.0, brakes_s=())


@fuzz
@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path_factory, data):
    """Whatever is in it: a convoy, or an error of one screen that names the file."""
    file = tmp_path_factory.mktemp("damaged") / "a.csv"
    content = SMALL.write(file).read_bytes()
    file.write_bytes(data.draw(damaged_bytes(content)))
    try:
        convoy = read_openacc(file)
    except LogError as error:
        require_one_screen(str(error), file.name)
    else:
        assert convoy.speed_mps.shape[1] == 1 + convoy.gap_m.shape[1]
        cut_cases(convoy)


def test_a_folder_without_recordings_is_refused(tmp_path: Path):
    """Missing, empty, or with a CSV file of another kind."""
    with pytest.raises(LogError, match="no such folder"):
        read_folder(tmp_path / "none")
    with pytest.raises(LogError, match=r"holds no \.csv file"):
        read_folder(tmp_path)
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LogError, match=r"x\.csv, line 1"):
        read_folder(tmp_path)
