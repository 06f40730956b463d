"""GPS receivers' files give positions to logs without, and captures are RX logs."""

from __future__ import annotations

import struct
import sys
from datetime import UTC, datetime

import dpkt
import numpy as np
import pytest
import pyubx2

from ml.calibration.logs.log_map import read_log_map
from ml.calibration.logs.reading import read_logs
from ml.errors import LogError
from tests.support import small_logs

ROWS = 600
START_MS = 1000.0 * datetime(2031, 5, 2, 9, 59, 30, tzinfo=UTC).timestamp()
PLACE_M = np.cumsum(np.where(np.arange(ROWS) < 100, 0.0, 1.5))


def nmea(at_ms, lat, lon, speed_mps):
    """An RMC sentence."""
    moment = datetime.fromtimestamp(at_ms / 1000.0, tz=UTC)
    body = (
        f"GNRMC,{moment:%H%M%S}.{moment.microsecond // 10000:02d},A,"
        f"{int(lat):02d}{lat % 1 * 60.0:09.6f},N,{int(lon):03d}{lon % 1 * 60.0:09.6f},E,"
        f"{speed_mps * 3600.0 / 1852.0:.3f},90.0,{moment:%d%m%y},,,A"
    )
    check = 0
    for character in body.encode():
        check ^= character
    return f"${body}*{check:02X}\r\n".encode()


def ubx(at_ms, lat, lon, speed_mps):
    """A NAV-PVT message."""
    moment = datetime.fromtimestamp(at_ms / 1000.0, tz=UTC)
    return pyubx2.UBXMessage(
        "NAV",
        "NAV-PVT",
        pyubx2.GET,
        year=moment.year,
        month=moment.month,
        day=moment.day,
        hour=moment.hour,
        min=moment.minute,
        second=moment.second,
        nano=moment.microsecond * 1000,
        validDate=1,
        validTime=1,
        fixType=3,
        gnssFixOk=1,
        lat=lat,
        lon=lon,
        gSpeed=round(speed_mps * 1000.0),
        headMot=90.0,
    ).serialize()


def pair_without_positions(folder, zero_ms=START_MS):
    """TX and RX logs of two cars, b 20 m behind a, that say nothing of where they are."""
    tables = small_logs.drive(
        {"a": PLACE_M + 20.0, "b": PLACE_M}, offsets_ms={"a": zero_ms, "b": zero_ms}
    )
    where = {name: (tables[f"{name}-tx"]["lat"], tables[f"{name}-tx"]["lon"]) for name in "ab"}
    for table in tables.values():
        for name in ("lat", "lon", "speed", "heading"):
            del table[name]
    return small_logs.write_all(folder, tables), where


def gps_file(path, where, message):
    """A receiver's file at 1 Hz, with noise of other programs between."""
    lat, lon = (np.array(values, dtype=float) for values in where)
    with path.open("wb") as file:
        for k in range(0, ROWS, 10):
            speed = 0.0 if k < 100 else 15.0
            file.write(b"$GNTXT,noise\r\n\x00\x17")
            file.write(message(START_MS + 100.0 * k, lat[k], lon[k], speed))
    return path


@pytest.mark.parametrize(("message", "ending"), [(nmea, ".nmea"), (ubx, ".ubx")])
def test_a_receivers_file_gives_its_board_positions(tmp_path, message, ending):
    """Two boards with one each: 20 m apart, and the speed that the receiver says."""
    paths, where = pair_without_positions(tmp_path)
    files = [gps_file(tmp_path / f"{name}{ending}", where[name], message) for name in "ab"]
    _, (drive,) = read_logs([*paths, *files])
    assert len(drive.links) == 2
    for link in drive.links:
        assert np.count_nonzero(link.scored) > ROWS - 30
        assert link.distance_m[link.scored] == pytest.approx(20.0, abs=1.2)
    assert drive.ways["a"].speed_mps[300] == pytest.approx(15.0, abs=0.01)
    assert drive.ways["a"].speed_mps[50] == 0.0


def test_a_row_holds_what_its_board_knew_and_how_old_that_was(tmp_path):
    """Between a fix at 0 m/s and the next one at 15 m/s a row says 0, and nothing of the next."""
    paths, where = pair_without_positions(tmp_path)
    files = [gps_file(tmp_path / f"{name}.nmea", where[name], nmea) for name in "ab"]
    logs, _ = read_logs([*paths, *files])
    (log,) = (log for log in logs if log.path.name == "a-tx.csv")
    rows = slice(90, 101)
    assert log.columns["speed"][rows].tolist() == [0.0] * 10 + [pytest.approx(15.0, abs=0.01)]
    assert log.columns["fix_age_ms"][rows].tolist() == [*np.arange(0.0, 1000.0, 100.0), 0.0]
    assert np.unique(log.columns["lon"][rows]).size == 2


def test_a_board_that_counts_from_its_start_needs_to_say_when_that_was(tmp_path):
    """Refused with the remedy, which works: clock-start in a map."""
    paths, where = pair_without_positions(tmp_path, zero_ms=0.0)
    files = [gps_file(tmp_path / f"{name}-gps.nmea", where[name], nmea) for name in "ab"]
    with pytest.raises(
        LogError, match=r"column timestamp_local_ms: 0 does not count .* clock-star"
    ):
        read_logs([*paths, *files])
    columns = ("timestamp_local_ms", "msg_timestamp", "accel_x", "accel_y", "accel_z")
    entries = [
        f'[[log]]\nkind = "{kind.upper()}"\nfiles = "*-{kind}.csv"\n'
        'clock-start = "2031-05-02T09:59:30Z"\n[log.columns]\n'
        + "".join(f'{name} = "{name}"\n' for name in (board, *columns))
        for kind, board in (("tx", "vehicle_id"), ("rx", "from_vehicle_id"))
    ]
    (tmp_path / "map.toml").write_text("\n".join(entries))
    _, (drive,) = read_logs([*paths, *files], log_map=read_log_map(tmp_path / "map.toml"))
    assert drive.links[0].distance_m[drive.links[0].scored] == pytest.approx(20.0, abs=1.2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda path: path.rename(path.with_name("c.nmea")), "no log beside it has this name"),
        (lambda path: path.write_bytes(b"hello\n" * 50), "no fix with a date in it"),
        (
            lambda path: path.write_bytes(nmea(START_MS - 1e8, 48.0, 11.0, 0.0) * 2),
            "its fixes are from 2031-05-01T06:12:50",
        ),
    ],
    ids=["another name", "no fix", "another day"],
)
def test_a_file_that_does_not_belong_is_refused(tmp_path, change, says):
    """With its name and what to do."""
    paths, where = pair_without_positions(tmp_path)
    change(gps_file(tmp_path / "a.nmea", where["a"], nmea))
    with pytest.raises(LogError, match=says):
        read_logs([*paths, *tmp_path.glob("*.nmea")])


def test_positions_of_its_own_are_not_overwritten(tmp_path):
    """A log that has some, with a receiver's file beside it."""
    tables = small_logs.drive({"a": PLACE_M}, offsets_ms={"a": START_MS})
    where = tables["a-tx"]["lat"], tables["a-tx"]["lon"]
    path = small_logs.write(tmp_path / "a-tx.csv", tables["a-tx"])
    with pytest.raises(LogError, match="has positions of its own"):
        read_logs([path, gps_file(tmp_path / "a.nmea", where, nmea)])


def frame(number, address, *, first=0xD0, rssi=-61):
    """A frame in monitor mode: radiotap with rate and signal, and an ESP-NOW broadcast."""
    radiotap = struct.pack("<BBHI", 0, 0, 10, (1 << 2) | (1 << 5)) + bytes([2, 256 + rssi])
    header = bytes([first, 0, 0, 0]) + b"\xff" * 6 + address + b"\xff" * 6
    header += struct.pack("<H", (number % 4096) << 4)
    return radiotap + header + bytes([127, 0x18, 0xFE, 0x34]) + bytes(60)


def test_a_capture_counts_losses_by_the_sequence_of_ieee_80211(tmp_path):
    """Six hundred broadcasts of a board from 4,000 on, every seventh lost, beacons between."""
    address = bytes([2, 0, 0, 0, 0, 7])
    path = tmp_path / "sniffer.pcap"
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, linktype=dpkt.pcap.DLT_IEEE802_11_RADIO)
        for k in range(ROWS):
            writer.writepkt(frame(k, bytes(6), first=0x80), ts=1000.0 + 0.1 * k - 0.05)
            if k % 7 != 3:
                writer.writepkt(frame(4000 + k, address), ts=1000.0 + 0.1 * k)
    (log,), (drive,) = read_logs([path])
    assert log.columns["rssi_dbm"].tolist() == [-61.0] * log.rows
    assert log.columns["rate_kbps"][0] == 1000.0
    (link,) = drive.links
    assert (link.source, link.receiver) == ("02:00:00:00:00:07", "sniffer")
    np.testing.assert_array_equal(link.lost, np.arange(ROWS) % 7 == 3)


def test_a_capture_without_espnow_or_of_another_kind_is_refused(tmp_path):
    """What was seen instead is said."""
    path = tmp_path / "sniffer.pcap"
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, linktype=dpkt.pcap.DLT_IEEE802_11_RADIO)
        for k in range(9):
            writer.writepkt(frame(k, bytes(6), first=0x80), ts=1000.0 + k)
    with pytest.raises(LogError, match=r"no ESP-NOW frame in it, but .* 9 of 0x80"):
        read_logs([path])
    with path.open("wb") as file:
        dpkt.pcap.Writer(file).writepkt(bytes(60), ts=1.0)
    with pytest.raises(LogError, match="link type 1, allowed is 127"):
        read_logs([path])
    path.write_bytes(b"hello" * 40)
    with pytest.raises(LogError, match="neither pcap nor pcapng"):
        read_logs([path])


def test_without_the_packages_the_error_says_which_to_install(tmp_path, monkeypatch):
    """Those of the extra `logs`."""
    monkeypatch.setitem(sys.modules, "dpkt", None)
    with pytest.raises(LogError, match=r"dpkt is needed: pip install -r requirements-logs.txt"):
        read_logs([tmp_path / "a.pcap"])
