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


@pytest.mark.parametrize("ahead_ms", [0.0, 7e6], ids=["one clock", "stamps of another clock"])
def test_cars_between_are_counted_where_clocks_met_only_at_the_receiver(tmp_path, ahead_ms):
    """Three cars in a row, one RX log: of the outer pair's frames all had the middle car between.

    The clocks of the two senders are an hour apart, and never met but at the receiver; one of them
    may stamp its beacons by another clock than it logs them by.
    """
    place = 12.0 * np.arange(ROWS) * 0.1
    tables = small_logs.drive(
        {"a": place + 30.0, "b": place + 15.0, "c": place}, receivers=["c"], fix_every=10
    )
    for name, sender in (("b-tx", "vehicle_id"), ("c-rx", "from_vehicle_id")):
        stamps = zip(tables[name]["msg_timestamp"], tables[name][sender], strict=True)
        tables[name]["msg_timestamp"] = [
            f"{float(at) + ahead_ms:.3f}" if who == "b" else at for at, who in stamps
        ]
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
    """Board a's clock of 32 bits turns over in mid-drive; the links are as without that."""
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


def test_boards_that_first_hear_one_another_after_a_clock_began_again_are_aligned(tmp_path):
    """Nothing is heard for the 150 s before board a's clock is at 0 again, nor in 50 s after."""
    turn_ms, place = 2.0**32 / 1000.0, np.arange(ROWS) * 1.5
    lost = np.arange(ROWS) < 2000
    tables = small_logs.drive(
        {"a": place + 20.0, "b": place},
        lost={("a", "b"): lost, ("b", "a"): lost},
        offsets_ms={"a": turn_ms - 150_000.0, "b": 5000.0},
    )
    for name, table in tables.items():
        for column in ("timestamp_local_ms", "msg_timestamp"):
            if column == "msg_timestamp" or name.startswith("a"):
                table[column] = [f"{float(v) % turn_ms:.3f}" for v in table[column]]
    drive = drive_of(tmp_path, tables)
    assert len(drive.links) == 2
    for link in drive.links:
        np.testing.assert_array_equal(link.lost[10:-10], lost[10:-10])
        assert link.distance_m[link.scored] == pytest.approx(20.0, abs=1.0)


def test_a_restarted_board_goes_into_two_folders_with_the_others_logs_in_both(tmp_path):
    """What the error of a restart advises gives two drives, each with its part's losses."""
    place = np.arange(ROWS) * 1.5
    lost = np.arange(ROWS) % 4 == 0
    tables = small_logs.drive({"a": place + 20.0, "b": place}, lost={("a", "b"): lost})
    again = 1500

    def restarted(stamp):
        later = float(stamp) >= 1000.0 + 100.0 * again
        return f"{float(stamp) - (150_037.0 if later else 0.0):.3f}"

    for name, column in (
        ("a-tx", "timestamp_local_ms"),
        ("a-tx", "msg_timestamp"),
        ("b-rx", "msg_timestamp"),
    ):
        tables[name][column] = [restarted(t) for t in tables[name][column]]
    whole = small_logs.write(tmp_path / "a-tx.csv", tables["a-tx"])
    with pytest.raises(LogError, match=r"line 1502.*a folder of its own, with the other boards'"):
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


def heard_alone(tables, *names):
    """Leave RX logs only, with a sequence that counts each sender's beacons from 7 on."""
    left = {}
    for name in names:
        table = dict(tables[f"{name}-rx"])
        sent = {}
        for other in set(table["from_vehicle_id"]):
            stamps = tables[f"{other}-tx"]["msg_timestamp"]
            sent[other] = {stamp: 7 + k for k, stamp in enumerate(stamps)}
        pairs = zip(table["from_vehicle_id"], table["msg_timestamp"], strict=True)
        table["sequence"] = [str(sent[other][stamp]) for other, stamp in pairs]
        left[f"{name}-rx"] = table
    return left


def test_an_rx_log_alone_counts_losses_by_its_sequence(tmp_path):
    """No TX log at all: losses, bursts, latency and cars between of two senders, at the right rows.

    What is missing costs only itself: the receiver's own position, so distance and cars between.
    """
    lost = np.isin(np.arange(ROWS) % 50, [10, 11, 12])
    lost[0] = True  # the log begins with a frame that was slower than the fastest
    place = np.arange(ROWS) * 1.0
    tables = small_logs.drive(
        {"a": place + 30.0, "b": place + 15.0, "c": place},
        lost={("a", "c"): lost, ("b", "c"): np.arange(ROWS) == 0},
    )
    drive = drive_of(tmp_path, heard_alone(tables, "c"))
    links = {(link.source, link.receiver): link for link in drive.links}
    assert set(links) == {("a", "c"), ("b", "c")}
    link = links["a", "c"]
    np.testing.assert_array_equal(link.lost, lost[1:])
    assert link.scored.all()
    assert np.diff(link.receiver_s) == pytest.approx(0.1, abs=1e-3)
    late = link.latency_ms[np.isfinite(link.latency_ms)]
    assert sorted(set(late.round(1))) == [0.0, 1.0, 2.0]
    assert np.isnan(link.distance_m).all()
    assert link.speed_known  # the sender says how fast it is
    assert links["b", "c"].lost.sum() == 0
    # The senders' clocks are an hour apart; both links were driven at the same time.
    assert links["b", "c"].time_s[0] == pytest.approx(link.time_s[0], abs=0.1)


def test_a_sequence_in_both_logs_stands_for_timestamps(tmp_path):
    """An RX log without the sender's clock: held against the TX log by number, link for link."""
    lost = np.arange(ROWS) % 8 == 2
    place = np.arange(ROWS) * 1.0
    tables = small_logs.drive({"a": place + 30.0, "c": place}, lost={("a", "c"): lost})
    logs = {name: tables[name] for name in ("a-tx", "c-tx", "c-rx")}
    logs["a-tx"]["sequence"] = [str(7 + k) for k in range(ROWS)]
    plain = drive_of(tmp_path / "plain", logs).links[0]
    logs["c-rx"] = heard_alone(tables, "c")["c-rx"]
    del logs["c-rx"]["msg_timestamp"]
    (link,) = drive_of(tmp_path / "numbers", logs).links
    np.testing.assert_array_equal(link.outcome, plain.outcome)
    np.testing.assert_array_equal(link.distance_m, plain.distance_m)
    np.testing.assert_array_equal(link.latency_ms, plain.latency_ms)
    del logs["a-tx"]["sequence"]
    with pytest.raises(LogError, match="does not have its sequence 7, so that the two cannot"):
        drive_of(tmp_path / "neither", logs)


def test_the_receivers_tx_log_adds_its_positions(tmp_path):
    """With it the distance is known, though no sender's log is there."""
    place = np.arange(ROWS) * 1.0
    tables = small_logs.drive({"a": place + 30.0, "c": place})
    logs = heard_alone(tables, "c") | {"c-tx": tables["c-tx"]}
    (link,) = drive_of(tmp_path, logs).links
    assert link.distance_m[link.scored] == pytest.approx(30.0, abs=1.0)
    assert np.count_nonzero(link.scored) > ROWS - 20


def test_three_rx_logs_alone_make_six_links_with_cars_between(tmp_path):
    """Each board is placed by what the others heard of it."""
    place = np.arange(ROWS) * 1.0
    tables = small_logs.drive({"a": place + 30.0, "b": place + 15.0, "c": place})
    drive = drive_of(tmp_path, heard_alone(tables, "a", "b", "c"))
    assert len(drive.links) == 6
    for link in drive.links:
        apart = abs(ord(link.source) - ord(link.receiver))
        assert (link.between[link.scored] == apart - 1).all()
        assert link.distance_m[link.scored] == pytest.approx(15.0 * apart, abs=1.0)


def test_a_counter_alone_is_enough(tmp_path):
    """A sniffer's log: local time, a name, and a counter of 8 bits in steps of two; no more.

    Losses are right across the places where the counter is full; latency is unknown.
    """
    lost = np.arange(ROWS) % 10 == 3
    heard = np.flatnonzero(~lost)
    table = {
        "timestamp_local_ms": [f"{5000 + 50 * k}" for k in heard],
        "from_vehicle_id": ["keyfob"] * heard.size,
        "sequence": [f"{2 * k % 256}" for k in heard],
    }
    (link,) = drive_of(tmp_path, {"sniffer": table}).links
    assert (link.source, link.receiver) == ("keyfob", "sniffer")
    assert link.outcome.size == ROWS
    np.testing.assert_array_equal(link.lost, lost)
    assert link.time_s[[0, -1]] == pytest.approx([5.0, 5.0 + 0.05 * (ROWS - 1)])
    assert np.isnan(link.latency_ms).all()
    assert not link.speed_known


@pytest.mark.parametrize(
    ("sequence", "says"),
    [
        (lambda k: k % 70, "line 72, column sequence: it falls from 69 to 0"),
        (
            lambda k: 1000 * k * k + (k % 7 == 0),
            "line 201, column sequence: of 'keyfob' it goes from",
        ),
    ],
    ids=["starts anew", "no counter"],
)
def test_a_sequence_that_counts_nothing_is_refused(tmp_path, sequence, says):
    """With file, line, and what to do."""
    table = {
        "timestamp_local_ms": [f"{5000 + 50 * k}" for k in range(200)],
        "from_vehicle_id": ["keyfob"] * 200,
        "sequence": [f"{sequence(k):d}" for k in range(200)],
    }
    with pytest.raises(LogError) as caught:
        drive_of(tmp_path, {"sniffer": table})
    assert str(tmp_path / "sniffer.csv") in str(caught.value)
    assert says in str(caught.value)


def test_a_given_distance_stands_for_positions(tmp_path):
    """Two boards on tripods: every frame counts, at 20 m, with nothing travelled."""
    lost = np.arange(ROWS) % 3 == 0
    tables = small_logs.drive({"a": np.zeros(ROWS), "b": np.zeros(ROWS)}, lost={("a", "b"): lost})
    for table in tables.values():
        table["lat"] = table["lon"] = ["0"] * len(table["lat"])
    logs = [read_log(path) for path in small_logs.write_all(tmp_path, tables)]
    drive = read_drive(logs, distance_m=20.0)
    for link in drive.links:
        assert (link.distance_m == 20.0).all()
        assert (link.travel_m == 0.0).all()
        assert np.count_nonzero(link.scored) > ROWS - 20
    assert drive.notes == []


def test_a_given_distance_is_refused_for_cars_that_moved(tmp_path):
    """The fixes say otherwise; so do three boards."""
    place = np.arange(ROWS) * 1.0
    tables = small_logs.drive({"a": place + 20.0, "b": place})
    logs = [read_log(path) for path in small_logs.write_all(tmp_path / "moved", tables)]
    with pytest.raises(LogError, match=r"'a' moved, its fixes lie 2[34].. m apart"):
        read_drive(logs, distance_m=20.0)
    tables = small_logs.drive(dict.fromkeys("abc", np.zeros(ROWS)))
    logs = [read_log(path) for path in small_logs.write_all(tmp_path / "three", tables)]
    with pytest.raises(LogError, match="these logs hold a, b, c"):
        read_drive(logs, distance_m=20.0)
