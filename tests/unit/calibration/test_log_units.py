"""A column in another unit than its name says is refused, with the unit that would fit."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration.logs.links import read_drive
from ml.calibration.logs.log_map import read_log_map
from ml.calibration.logs.reader import read_log
from ml.calibration.logs.reading import read_logs
from ml.errors import LogError
from tests.support import small_logs

ROWS = 1200
CLOCKS = ("timestamp_local_ms", "msg_timestamp")


PLACE_M = np.cumsum(1.5 + 0.5 * np.sin(np.arange(ROWS) / 80.0))


def pair():
    """Logs of two cars that speed up and slow down, at 10 to 20 m/s."""
    return small_logs.drive({"a": PLACE_M + 20.0, "b": PLACE_M}, fix_every=10)


def scaled(factor, *columns, logs=("a-tx", "b-tx", "a-rx", "b-rx"), digits=6):
    """Return a change of tables: columns times a factor."""

    def change(tables):
        for name in logs:
            for column in columns:
                values = tables[name][column]
                tables[name][column] = [f"{float(v) * factor:.{digits}f}" for v in values]

    return change


@pytest.mark.parametrize(
    ("change", "column", "unit"),
    [
        (scaled(3.6, "speed"), "speed", "km/h"),
        (scaled(1.0 / 0.514444, "speed"), "speed", "knots"),
        (scaled(1.0 / 0.44704, "speed"), "speed", "mph"),
        (scaled(3.6, "speed", logs=("b-tx",)), "speed", "km/h"),
        (scaled(0.001, *CLOCKS), "timestamp_local_ms", "s"),
        (scaled(1000.0, *CLOCKS), "msg_timestamp", "us"),
        (scaled(1000.0, "msg_timestamp"), "msg_timestamp", "us"),
        (scaled(0.001, "msg_timestamp"), "msg_timestamp", "s"),
        (scaled(np.pi / 180.0, "lat", "lon", digits=10), "lat", "radians"),
        (scaled(1e7, "lat", "lon", digits=0), "lat", "1e-7 degrees"),
        (scaled(np.pi / 180.0, "heading"), "heading", "radians"),
        (scaled(1.0 / 9.80665, "accel_x", "accel_y", "accel_z"), "accel_z", "g"),
    ],
    ids=[
        "km/h",
        "knots",
        "mph",
        "km/h in one log",
        "seconds",
        "microseconds",
        "stamps in us",
        "stamps in s",
        "radians",
        "1e-7 degrees",
        "heading in radians",
        "g",
    ],
)
def test_a_wrong_unit_is_named_with_file_line_and_column(tmp_path, change, column, unit):
    """Held against another column or against physics; the right logs are read."""
    tables = pair()
    files = small_logs.write_all(tmp_path / "right", tables)
    assert len(read_drive([read_log(path) for path in files]).links) == 2
    change(tables)
    with pytest.raises(LogError) as caught:
        read_drive([read_log(path) for path in small_logs.write_all(tmp_path / "wrong", tables)])
    said = str(caught.value)
    assert f"{tmp_path / 'wrong'}" in said
    assert ", line " in said
    named = (
        "msg_timestamp" if column == "timestamp_local_ms" and "msg_timestamp" in said else column
    )
    assert f", column {named}" in said
    assert f"It would fit as {unit}." in said
    assert "roadsense logs map FILE" in said


@pytest.mark.parametrize(
    ("factor", "unit"), [(1.0 / 3.6, "km/h"), (0.514444, "knots"), (0.44704, "mph")]
)
def test_a_speed_that_was_converted_though_it_was_in_mps_is_refused(tmp_path, factor, unit):
    """On the way to the log, where nothing fits; or by a map, which then says m/s."""
    tables = pair()
    right = small_logs.write_all(tmp_path / "right", tables)
    form = tmp_path / "map.toml"
    entries = [
        f'[[log]]\nkind = "{kind.upper()}"\nfiles = "*-{kind}.csv"\n[log.columns]\n'
        + "".join(f'{name} = "{name}"\n' for name in tables[f"a-{kind}"])
        + f'[log.units]\nspeed = "{unit}"\n'
        for kind in ("tx", "rx")
    ]
    form.write_text("".join(entries))
    said = f"times the way between fixes, as if m/s were {unit}"
    with pytest.raises(LogError, match=rf"column speed: .*{said}.* would fit as m/s\."):
        read_logs(right, log_map=read_log_map(form))
    scaled(factor, "speed")(tables)
    with pytest.raises(LogError, match=f"column speed: .*{said}"):
        read_logs(small_logs.write_all(tmp_path / "wrong", tables))


@pytest.mark.parametrize(("factor", "unit"), [(1000.0, "us"), (0.001, "s")])
def test_round_trips_are_held_against_the_two_clocks(tmp_path, factor, unit):
    """recv_time_ms less send_time_ms says how long a round trip took."""
    table = small_logs.round_trips(np.zeros(300), np.zeros(300), np.arange(300) % 9 == 0)
    path = small_logs.write(tmp_path / "a-rtt.csv", table)
    read_drive([read_log(path)])
    table["rtt_ms"] = [v and f"{float(v) * factor:g}" for v in table["rtt_ms"]]
    small_logs.write(path, table)
    with pytest.raises(LogError, match=f"column rtt_ms.*would fit as {unit}"):
        read_drive([read_log(path)])


def test_a_parked_car_with_a_wandering_fix_is_no_wrong_unit(tmp_path):
    """GPS that wanders by metres, and shows 0.3 m/s, says nothing about units."""
    rng = np.random.Generator(np.random.PCG64(3))
    wander = np.cumsum(rng.normal(0.0, 0.05, ROWS))
    tables = small_logs.drive({"a": wander + 20.0, "b": wander * 0.0})
    for table in tables.values():
        table["speed"] = [f"{v:.2f}" for v in rng.uniform(0.0, 0.5, len(table["speed"]))]
    read_drive([read_log(path) for path in small_logs.write_all(tmp_path, tables)])


def test_a_speed_that_is_logged_as_0_while_the_fixes_move_is_refused(tmp_path):
    """Nobody drives at 0 m/s; an empty column is read, and the fixes then say how fast."""
    tables = pair()
    for table in tables.values():
        table["speed"] = ["0.0"] * len(table["speed"])
    with pytest.raises(LogError, match="column speed: 0, but the fixes move on: leave the column"):
        read_drive([read_log(path) for path in small_logs.write_all(tmp_path / "0", tables)])
    for table in tables.values():
        table["speed"] = [""] * len(table["speed"])
    drive = read_drive([read_log(path) for path in small_logs.write_all(tmp_path / "no", tables)])
    travelled = drive.links[0].travel_m.sum()
    assert travelled == pytest.approx(PLACE_M[-1], rel=0.02)
