"""From logs to links, on small logs whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration.logs.links import read_drive
from ml.calibration.logs.reader import read_log
from ml.errors import LogError
from tests.support import small_logs

ROWS = 3000


def drive_of(folder, tables):
    """Write tables as logs of one drive, and read them."""
    return read_drive([read_log(path) for path in small_logs.write_all(folder, tables)])


def test_cars_between_are_counted_where_clocks_met_only_at_the_receiver(tmp_path):
    """Three cars in a row, one RX log: of the outer pair's frames all had the middle car between.

    The clocks of the two senders are an hour apart, and never met but at the receiver.
    """
    place = 12.0 * np.arange(ROWS) * 0.1
    tables = small_logs.drive(
        {"a": place + 30.0, "b": place + 15.0, "c": place}, receivers=["c"], fix_every=10
    )
    drive = drive_of(tmp_path, tables)
    links = {(link.source, link.receiver): link for link in drive.links}
    assert set(links) == {("a", "c"), ("b", "c")}
    outer, inner = links["a", "c"], links["b", "c"]
    assert outer.scored.sum() > ROWS - 20
    assert (outer.between[outer.scored] == 1).all()
    assert (inner.between[inner.scored] == 0).all()
    # One common clock: both links were driven at the same time.
    assert inner.time_s[0] == pytest.approx(outer.time_s[0], abs=0.1)
    assert outer.distance_m[outer.scored] == pytest.approx(30.0, abs=1.0)


def fixed(table, every, *columns):
    """Let columns keep their first value where `every` says so."""
    for name in columns:
        values = table[name]
        first = values[int(np.argmax(every))]
        table[name] = [first if on else value for value, on in zip(values, every, strict=True)]


def test_a_standing_car_whose_fix_is_frozen_keeps_its_position(tmp_path):
    """Static hold: both cars stand for 100 s at one fix; none of their frames goes."""
    place = np.concatenate([np.zeros(1000), np.arange(2000) * 1.5])
    tables = small_logs.drive({"a": place + 20.0, "b": place})
    drive = drive_of(tmp_path, tables)
    for link in drive.links:
        assert np.count_nonzero(~link.scored) < 20
        assert link.distance_m[link.scored] == pytest.approx(20.0, abs=1.0)


def test_a_parked_board_with_one_constant_fix_has_that_position(tmp_path):
    """Half an hour of pings to a board that stands at a typed-in fix: all can be judged.

    The echo says nothing of that board's speed.
    """
    here = small_logs.to_and_fro(6000, 10.0, 280.0)
    lost = np.arange(6000) % 7 == 0
    path = small_logs.write(
        tmp_path / "a-rtt.csv", small_logs.round_trips(here, np.zeros(6000), lost)
    )
    (link,) = read_drive([read_log(path)]).round_trips
    assert np.count_nonzero(link.scored) == 6000
    assert link.distance_m == pytest.approx(here, abs=1.0)


def test_a_fix_that_stays_while_the_car_drives_is_no_position(tmp_path):
    """The GPS hangs for 60 s at 15 m/s: those frames go, and are counted with their reason."""
    place = np.arange(3000) * 1.5
    tables = small_logs.drive({"a": place + 20.0, "b": place})
    hung = (np.arange(3000) >= 1000) & (np.arange(3000) < 1600)
    fixed(tables["a-tx"], hung, "lat", "lon")
    drive = drive_of(tmp_path, tables)
    (link,) = (link for link in drive.links if link.source == "a")
    gone = drive.dropped[str(tmp_path / "a-tx.csv")]["no position of one of the two (b)"]
    assert gone == pytest.approx(600, abs=20)
    assert np.count_nonzero(~link.scored) == pytest.approx(gone, abs=20)


def test_without_any_position_losses_still_count(tmp_path):
    """No GPS at all: bursts, latency and time are there; distance and speed are not."""
    lost = np.isin(np.arange(ROWS) % 50, [10, 11, 12])
    tables = small_logs.drive({"a": np.zeros(ROWS), "b": np.zeros(ROWS)}, lost={("a", "b"): lost})
    for table in tables.values():
        for name in ("lat", "lon", "speed", "heading"):
            table[name] = [""] * len(table[name])
    drive = drive_of(tmp_path, tables)
    (link,) = (link for link in drive.links if link.source == "a")
    assert np.count_nonzero(link.scored) > ROWS - 20
    assert link.lost[link.scored].mean() == pytest.approx(0.06, abs=0.001)
    assert np.isnan(link.distance_m).all()
    assert not link.speed_known
    late = link.latency_ms[np.isfinite(link.latency_ms)]
    assert sorted(set(late.round(1))) == [0.0, 1.0, 2.0]
    assert "No log holds a position" in drive.notes[0]


def test_across_180_degrees_east_the_result_is_the_same(tmp_path):
    """A drive from 179.98° E to 179.98° W has the distances that it has anywhere."""
    place = np.arange(ROWS) * 1.5
    links = []
    for number, lon in enumerate((11.0, 179.98)):
        tables = small_logs.drive({"a": place + 20.0, "b": place}, lon_deg=lon)
        links.append(drive_of(tmp_path / str(number), tables).links[0])
    assert any("-179.9" in x for x in tables["a-tx"]["lon"])
    assert any(x.startswith("179.9") for x in tables["a-tx"]["lon"])
    assert np.count_nonzero(links[0].scored) > ROWS - 20
    np.testing.assert_array_equal(links[1].scored, links[0].scored)
    np.testing.assert_allclose(links[1].distance_m, links[0].distance_m, atol=0.05)


def test_rounded_timestamps_are_an_error_with_a_row_of_each_log(tmp_path):
    """Three digits in one log and two in the other: both files, both rows, and the guess."""
    tables = small_logs.drive({"a": np.zeros(500), "b": np.zeros(500)})
    stamps = tables["a-tx"]["msg_timestamp"]
    tables["a-tx"]["msg_timestamp"] = [
        f"{float(t) + k % 10 / 1000.0:.3f}" for k, t in enumerate(stamps)
    ]
    tables["b-rx"]["msg_timestamp"] = [f"{float(t):.2f}" for t in tables["a-tx"]["msg_timestamp"]]
    with pytest.raises(LogError) as caught:
        drive_of(tmp_path, tables)
    said = str(caught.value)
    assert f"{tmp_path / 'b-rx.csv'}: 449 rows received straight from 'a'" in said
    assert f"{tmp_path / 'a-tx.csv'} does not have, such as 1100 in line 3" in said
    assert "nearest is 1100.001 in line 3 there" in said
    assert "rounded in one of the two, to hundredths" in said


def test_a_few_rows_that_the_senders_log_lacks_are_left_out(tmp_path):
    """One of 50 rows of the sender's log is torn: below 5 %, counted, and no error."""
    tables = small_logs.drive({"a": np.zeros(500), "b": np.zeros(500)})
    kept = np.arange(500) % 50 != 7
    tables["a-tx"] = {
        name: [v for v, on in zip(values, kept, strict=True) if on]
        for name, values in tables["a-tx"].items()
    }
    drive = drive_of(tmp_path, tables)
    assert drive.dropped[str(tmp_path / "b-rx.csv")]["not in the sender's log"] == 10


@pytest.mark.parametrize("turn_ms", [2.0**32 / 1000.0, 2.0**32])
def test_a_clock_that_starts_at_0_again_is_read_on(tmp_path, turn_ms):
    """Board a's clock of 32 bits turns over in mid-drive; the links are those of a drive without."""
    place = np.arange(ROWS) * 1.5
    cars = {"a": place + 20.0, "b": place}
    lost = {("a", "b"): np.arange(ROWS) % 5 == 0, ("b", "a"): np.arange(ROWS) % 9 == 0}
    links = []
    for number, offset in enumerate((1000.0, turn_ms - 150_000.0)):
        tables = small_logs.drive(cars, lost=lost, offsets_ms={"a": offset, "b": 5000.0})
        for column in ("timestamp_local_ms", "msg_timestamp"):
            for name, table in tables.items():
                if column == "msg_timestamp" or name.startswith("a"):
                    table[column] = [f"{float(v) % turn_ms:.3f}" for v in table[column]]
        assert number == 0 or min(map(float, tables["a-tx"]["msg_timestamp"])) < 100.0
        links.append(drive_of(tmp_path / str(number), tables).links)
    for plain, turned in zip(*links, strict=True):
        np.testing.assert_array_equal(turned.outcome, plain.outcome)
        np.testing.assert_allclose(np.diff(turned.time_s), np.diff(plain.time_s), atol=0.01)


def test_a_restarted_board_goes_into_two_folders_with_the_others_logs_in_both(tmp_path):
    """What the error of a restart advises gives two drives, each with its part's losses."""
    place = np.arange(ROWS) * 1.5
    lost = np.arange(ROWS) % 4 == 0
    tables = small_logs.drive({"a": place + 20.0, "b": place}, lost={("a", "b"): lost})
    again = 1500

    def restarted(stamp):
        return f"{float(stamp) - 150_037.0 if float(stamp) >= 1000.0 + 100.0 * again else float(stamp):.3f}"

    for name, column in (
        ("a-tx", "timestamp_local_ms"),
        ("a-tx", "msg_timestamp"),
        ("b-rx", "msg_timestamp"),
    ):
        tables[name][column] = [restarted(t) for t in tables[name][column]]
    whole = small_logs.write(tmp_path / "a-tx.csv", tables["a-tx"])
    with pytest.raises(LogError, match="line 1502.*a folder of its own, with the other boards'"):
        read_log(whole)
    for part, rows in (("one", slice(None, again)), ("two", slice(again, None))):
        cut = {name: values[rows] for name, values in tables["a-tx"].items()}
        drive = drive_of(
            tmp_path / part, {"a-tx": cut, "b-tx": tables["b-tx"], "b-rx": tables["b-rx"]}
        )
        (link,) = drive.links
        assert link.outcome.size == again
        assert link.lost[link.scored].mean() == pytest.approx(0.25, abs=0.001)
        gone = drive.dropped[str(tmp_path / part / "b-rx.csv")]
        assert gone["of another start of the sender"] == pytest.approx(0.75 * again, abs=5)
