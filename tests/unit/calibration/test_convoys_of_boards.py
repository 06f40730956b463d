"""Boards' own logs as recorded convoys: who drives where, when, and how far apart."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.recorded_convoys import CAR_M, Convoy

from ml.calibration.convoys.cases import cut_cases
from ml.calibration.convoys.folder import files_in, is_for_training, read_folder
from ml.cli import main
from ml.errors import LogError
from ml.espnow_emulator import GeoReference

if TYPE_CHECKING:
    from pathlib import Path

HEAD = (
    "timestamp_local_ms,msg_timestamp,vehicle_id,lat,lon,speed,heading,"
    "accel_x,accel_y,accel_z,hop_count,source_mac"
)
PLANE = GeoReference.at(50.0, 8.0)
TURN, BEND_M = 1.4, 40.0
NAMES = ("lead", "mid", "tail")
OFFSETS_MS = (0, 5000, 900_000)
LATENCY_MS = 2


def _on_road(along_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay places along a road that bends left and right, as tightly as 29 m."""
    fine_m = np.arange(along_m.min() - 10.0, along_m.max() + 10.0, 0.05)
    turned = TURN * np.sin(fine_m / BEND_M)
    axes = (np.cumsum(f(turned)) * 0.05 for f in (np.sin, np.cos))
    east_m, north_m = (np.interp(along_m, fine_m, axis) for axis in axes)
    return east_m, north_m


def _write(
    folder: Path,
    made: Convoy,
    *,
    hears: tuple[str, ...] = ("tail",),
    held: int = 1,
    stall_s: tuple[float, float] = (0.0, 0.0),
    stamps_ahead_ms: tuple[int, ...] = (0, 0, 0),
) -> None:
    """Write the logs of three boards on a road that turns all along.

    Each board sends at its tenths of a second; a speed is held for `held` rows, and in `stall_s`
    the middle one logs nothing. Its stamps may be of another clock than its rows.
    """
    folder.mkdir(exist_ok=True)
    east_m, north_m = _on_road(made.place_m)
    lat = PLANE.lat_deg + north_m / PLANE.north_m_per_deg
    lon = PLANE.lon_deg + east_m / PLANE.east_m_per_deg
    heading = np.degrees(TURN * np.sin(made.place_m / BEND_M)) % 360.0
    rows = np.arange(made.time_s.size)
    speed = made.speed_mps[rows // held * held]
    sent = {}
    for k, name in enumerate(NAMES):
        times = [int(100 * row + OFFSETS_MS[k]) for row in rows]
        stamps = [at + stamps_ahead_ms[k] for at in times]
        sent[name] = [
            f"{stamp},{name},{lat[row, k]:.12f},{lon[row, k]:.12f},{speed[row, k]:.12f},"
            f"{heading[row, k]:.12f},0.0,0.0,9.81,0,m{k}"
            for row, stamp in zip(rows, stamps, strict=True)
        ]
        logs = (name != "mid") | (made.time_s < stall_s[0]) | (made.time_s >= stall_s[1])
        lines = [f"{times[row]},{sent[name][row]}" for row in rows if logs[row]]
        (folder / f"{name}-tx.csv").write_text("\n".join([HEAD, *lines]) + "\n")
    for name in hears:
        offset = OFFSETS_MS[NAMES.index(name)]
        lines = [
            f"{100 * row + offset + LATENCY_MS},{sent[other][row]}"
            for row in rows
            for other in NAMES
            if other != name
        ]
        head = HEAD.replace("vehicle_id", "from_vehicle_id")
        (folder / f"{name}-rx.csv").write_text("\n".join([head, *lines]) + "\n")


def test_gaps_are_along_the_road_and_speeds_of_the_same_moment(tmp_path: Path):
    """On bends of 29 m, with clocks minutes apart: the last board first, gaps within 0.3 m."""
    made = Convoy(cars=3, cruise_mps=14.0)
    _write(tmp_path, made)
    (read,) = read_folder(tmp_path)
    assert read.names == ("tail", "mid", "lead")
    assert read.source == tmp_path
    rows = read.time_s.size
    assert rows > made.time_s.size - 5
    np.testing.assert_allclose(read.speed_mps, made.speed_mps[:rows, ::-1], atol=0.05)
    np.testing.assert_allclose(read.gap_m, made.gap_m[:rows, ::-1], atol=0.3)
    straight_m = np.hypot(*(np.diff(axis, axis=1) for axis in _on_road(made.place_m))) - CAR_M
    assert np.abs(straight_m - made.gap_m).max() > 0.5, "a straight line would not do"
    (case,) = cut_cases(read)[0]
    assert case.hardest_mps2 == pytest.approx(-5.0, abs=0.3)


def test_rows_of_other_clocks_than_their_stamps_are_of_the_same_moments(tmp_path: Path):
    """A board that stamps by its GPS and counts its rows from its start is where it was."""
    made = Convoy(cars=3, cruise_mps=14.0)
    _write(tmp_path, made, stamps_ahead_ms=(7_000_000, 40_000, -800_000))
    (read,) = read_folder(tmp_path)
    rows = read.time_s.size
    assert rows > made.time_s.size - 5
    np.testing.assert_allclose(read.gap_m, made.gap_m[:rows, ::-1], atol=0.3)
    np.testing.assert_allclose(read.speed_mps, made.speed_mps[:rows, ::-1], atol=0.05)


def test_a_speed_that_is_held_for_a_second_is_no_staircase(tmp_path: Path):
    """The braking is as hard as it was, not ten times as hard once a second."""
    _write(tmp_path, Convoy(cars=3, cruise_mps=14.0), held=10)
    (case,) = cut_cases(read_folder(tmp_path)[0])[0]
    assert -6.0 < case.hardest_mps2 < -3.5


def test_a_logger_that_stalls_leaves_a_hole_only_if_it_stalls_long(tmp_path: Path):
    """Two seconds are bridged, three are not."""
    made = Convoy(cars=3, cruise_mps=14.0)
    for stall_s, why in (((30.0, 32.0), {}), ((30.0, 33.0), {"missing cells": 1})):
        _write(tmp_path, made, stall_s=stall_s)
        cases, refused = cut_cases(read_folder(tmp_path)[0])
        assert dict(refused) == why
        assert len(cases) == 1 - len(why)


def test_logs_of_a_folder_are_one_recording(tmp_path: Path):
    """Each folder of logs, each file in OpenACC's layout; by content, wherever it lies."""
    _write(tmp_path / "monday", Convoy(cars=3, cruise_mps=14.0))
    Convoy(seed=1).write(tmp_path / "platoon.csv")
    assert [len(files) for files in files_in(tmp_path)] == [1, 4]
    first, second = read_folder(tmp_path)
    assert (first.source.name, second.source.name) == ("platoon.csv", "monday")
    (tmp_path / "monday").rename(tmp_path / "a")
    again = {convoy.sha256 for convoy in read_folder(tmp_path)}
    assert again == {first.sha256, second.sha256}
    assert is_for_training(second.sha256) in (True, False)


def test_logs_in_another_format_are_read_by_the_map_in_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """With semicolons and km/h; by a map that says something else it is another recording."""
    made = Convoy(cars=3, cruise_mps=14.0)
    _write(tmp_path / "monday", made)
    (plain,) = read_folder(tmp_path)
    for file in (tmp_path / "monday").glob("*.csv"):
        head, *rows = (line.split(",") for line in file.read_text().splitlines())
        speed = head.index("speed")
        for row in rows:
            row[speed] = f"{3.6 * float(row[speed]):.10f}"
        file.write_text("\n".join(";".join(row) for row in [head, *rows]) + "\n")
    with pytest.raises(LogError, match=r"separated by semicolons.*map\.toml in a folder"):
        read_folder(tmp_path)
    tables = []
    for kind in ("TX", "RX"):
        columns = HEAD if kind == "TX" else HEAD.replace("vehicle_id", "from_vehicle_id")
        named = "\n".join(f'{name} = "{name}"' for name in columns.split(","))
        tables.append(
            f'[[log]]\nfiles = "*-{kind.lower()}.csv"\nkind = "{kind}"\ndelimiter = ";"\n'
            f'[log.columns]\n{named}\n[log.units]\nspeed = "km/h"\n'
        )
    (tmp_path / "map.toml").write_text("\n".join(tables))
    (mapped,) = read_folder(tmp_path)
    assert main(["drives", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "1 recording; " in said
    assert re.search(r"(1 case|0 cases) for training, [01] held out", said)
    np.testing.assert_allclose(mapped.speed_mps, plain.speed_mps, atol=1e-6)
    np.testing.assert_allclose(mapped.gap_m, plain.gap_m, atol=1e-6)
    text = (tmp_path / "map.toml").read_text()
    turned = text.replace('kind = "TX"', 'kind = "TX"\nforward-axis = "-x"')
    (tmp_path / "map.toml").write_text(turned)
    (other,) = read_folder(tmp_path)
    assert other.sha256 != mapped.sha256


def test_clocks_that_never_meet_are_refused(tmp_path: Path):
    """Without any RX log nobody knows which moments belong together."""
    _write(tmp_path, Convoy(cars=3), hears=())
    with pytest.raises(LogError, match="the clocks of lead, mid, tail never meet"):
        read_folder(tmp_path)


def test_cars_that_overtake_are_refused(tmp_path: Path):
    """Who, and how often."""
    made = Convoy(cars=3, cruise_mps=14.0)
    made.place_m[500:, 1] += 100.0
    _write(tmp_path, made)
    with pytest.raises(LogError, match=r"drives ahead of .* of the time: they overtake"):
        read_folder(tmp_path)


def test_one_board_alone_is_no_convoy(tmp_path: Path):
    """It takes the TX logs of two."""
    _write(tmp_path, Convoy(cars=3))
    for name in ("mid-tx", "tail-tx", "tail-rx"):
        (tmp_path / f"{name}.csv").unlink()
    with pytest.raises(LogError, match="1 board with a TX log"):
        read_folder(tmp_path)
