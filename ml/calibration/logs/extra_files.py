"""Files of other programs beside logs: GPS receivers' NMEA or UBX, and captures of a sniffer.

They need the packages of the extra `logs`.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np

from ml.arrays import Floats
from ml.calibration.logs.reader import Log
from ml.calibration.logs.schema import KIND_IN_NAME, TIME_COLUMN, LogKind
from ml.calibration.logs.trajectories import BRIDGED_MS, is_somewhere
from ml.errors import LogError

FIXES: Final = (".nmea", ".ubx")
CAPTURES: Final = (".pcap", ".pcapng")
_SINCE_1970_MS: Final = 1e11
_KNOT_MPS: Final = 1852.0 / 3600.0
_ESP_NOW: Final = bytes([127, 0x18, 0xFE, 0x34])  # a vendor's action frame, of Espressif
_ACTION: Final = 0xD0
_ACKNOWLEDGEMENT: Final = b"\xd4" + bytes(9)
_HEADER: Final = 24
_LOOKED_AT: Final = 5


class Fixes(NamedTuple):
    """What a GPS receiver said, in order."""

    path: Path  # Where it was read
    time_ms: Floats  # (K,) UTC since 1970
    lat_deg: Floats  # (K,)
    lon_deg: Floats  # (K,)
    speed_mps: Floats  # (K,)
    heading_deg: Floats  # (K,), NaN where the receiver does not tell


def read_fixes(path: Path) -> Fixes:
    """Read the fixes of an NMEA (RMC) or UBX (NAV-PVT) file; what is torn is passed over.

    Raises:
        LogError: The file cannot be read or holds no fix, or the packages are not installed.
    """
    pyubx2 = _library("pyubx2", path)
    rows = []
    with _opened(path) as file:
        reader = pyubx2.UBXReader(
            file,
            protfilter=pyubx2.NMEA_PROTOCOL | pyubx2.UBX_PROTOCOL,
            quitonerror=pyubx2.ERR_IGNORE,
        )
        for _, message in reader:
            row = _fix_of(message)
            if row is not None:
                rows.append(row)
    if not rows:
        raise LogError(
            f"{path}: no fix with a date in it: neither an NMEA sentence RMC that is valid, nor a "
            "UBX message NAV-PVT. Switch one of them on in the receiver."
        )
    table = np.array(rows)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return Fixes(path, *table.T)


def _fix_of(message: Any) -> tuple[float, float, float, float, float] | None:
    identity = str(getattr(message, "identity", ""))
    if identity.endswith("RMC") and message.status == "A" and message.date:
        moment = datetime.combine(message.date, message.time, tzinfo=UTC)
        course = float(message.cog) if message.cog != "" else np.nan
        speed = _KNOT_MPS * float(message.spd or 0.0)
        return 1000.0 * moment.timestamp(), message.lat, message.lon, speed, course
    if identity == "NAV-PVT" and message.gnssFixOk and message.validDate and message.validTime:
        date = message.year, message.month, message.day
        moment = datetime(*date, message.hour, message.min, tzinfo=UTC)
        at_ms = 1000.0 * (moment.timestamp() + message.second) + message.nano / 1e6
        return at_ms, message.lat, message.lon, message.gSpeed / 1000.0, message.headMot
    return None


def with_fixes(logs: Sequence[Log], fixes: Sequence[Fixes]) -> list[Log]:
    """Put fixes into the logs of the same name that hold no positions.

    `car1.nmea` or `car1-gps.ubx` is of `car1-tx.csv`, else of `car1-rx.csv` or `car1-rtt.csv`.

    Raises:
        LogError: No log of that name lacks positions, its clock does not count since 1970, or it
            was written at another time.
    """
    logs = list(logs)
    for found in fixes:
        name = found.path.stem.removesuffix("-gps").removesuffix("_gps")
        mine = [
            k
            for k, log in enumerate(logs)
            if _without_kind(log.path) == name and log.path.parent == found.path.parent
        ]
        of_board = [k for k in mine if logs[k].kind is not LogKind.RX] or mine
        if not of_board:
            raise LogError(
                f"{found.path}: no log beside it has this name, such as {name}-tx.csv. Rename it."
            )
        for k in of_board:
            logs[k] = _placed(logs[k], found)
    return logs


def _without_kind(path: Path) -> str:
    return KIND_IN_NAME.sub("", path.stem).strip("-_. ") or path.stem


def _placed(log: Log, fixes: Fixes) -> Log:
    prefix = "receiver_" if log.kind is LogKind.RX else ""
    nothing = np.full(log.rows, np.nan)
    lat, lon = (log.columns.get(prefix + axis, nothing) for axis in ("lat", "lon"))
    if is_somewhere(lat, lon).any():
        raise LogError(
            f"{log.path} has positions of its own: leave {fixes.path} out, or empty its columns "
            f"{prefix}lat and {prefix}lon."
        )
    time_ms = log.time_ms
    if time_ms[0] < _SINCE_1970_MS:
        raise LogError(
            f"{log.path}, line {int(log.lines[0])}, column {TIME_COLUMN[log.kind]}: "
            f"{time_ms[0]:.10g} does not count since 1970, so it cannot be held against the UTC of "
            f"{fixes.path}. Say with a map when its clock was 0: "
            'clock-start = "2031-05-02T10:00:00Z".'
        )
    # A row says what its board knew: the newest fix, never what lies between it and the next one.
    newest = np.searchsorted(fixes.time_ms, time_ms, side="right") - 1
    age_ms = time_ms - fixes.time_ms[newest]
    known = (newest >= 0) & (age_ms <= BRIDGED_MS)
    if not known.any():
        raise LogError(
            f"{fixes.path}: its fixes are from {_said(fixes.time_ms[0])} to "
            f"{_said(fixes.time_ms[-1])}, the rows of {log.path} from {_said(time_ms[0])} to "
            f"{_said(time_ms[-1])}. Name the files of one drive."
        )
    said = {"lat": fixes.lat_deg, "lon": fixes.lon_deg, "speed": fixes.speed_mps}
    if not prefix:
        said["heading"] = fixes.heading_deg
    columns = dict(log.columns)
    for name, values in said.items():
        columns[prefix + name] = np.where(known, values[newest], np.nan)
    if not prefix:
        columns["fix_age_ms"] = np.where(known, age_ms, np.nan)
    return replace(log, columns=columns)


def _said(time_ms: float) -> str:
    return datetime.fromtimestamp(time_ms / 1000.0, tz=UTC).isoformat(timespec="seconds")


def read_capture(path: Path) -> Log:
    """Read the ESP-NOW frames of a capture in monitor mode as an RX log.

    A sender is called by its address; `sequence` is that of IEEE 802.11, which counts all that a
    sender sends, up to 4,095. Lines are frames of the file.

    Args:
        path: pcap or pcapng with radiotap headers.

    Raises:
        LogError: It is no such file or holds no ESP-NOW frame, or the packages are not installed.
    """
    dpkt = _library("dpkt", path)
    digest, kinds = hashlib.sha256(), Counter[str]()
    rows: list[tuple[int, float, float, float, float]] = []
    names = []
    with _opened(path) as file:
        digest.update(file.read())
        file.seek(0)
        for number, (at_s, data) in enumerate(_frames(dpkt, path, file), start=1):
            length = int.from_bytes(data[2:4], "little")
            frame = data[length:]
            kind = f"0x{frame[0]:02x}" if frame else "none"
            kinds[kind] += 1
            if len(frame) < _HEADER + 4 or frame[0] != _ACTION or frame[_HEADER:][:4] != _ESP_NOW:
                continue
            radio = dpkt.radiotap.Radiotap(data[:length] + _ACKNOWLEDGEMENT)
            rssi = radio.ant_sig.db if radio.ant_sig_present else np.nan
            rate = 500.0 * radio.rate.val if radio.rate_present else np.nan
            sequence = int.from_bytes(frame[22:24], "little") >> 4
            rows.append((number, 1000.0 * at_s, sequence, rssi, rate))
            names.append(sys.intern(frame[10:16].hex(":")))
    if not rows:
        seen = ", ".join(f"{count:,} of {kind}" for kind, count in kinds.most_common(_LOOKED_AT))
        raise LogError(
            f"{path}: no ESP-NOW frame in it, but by the first byte of frames {seen or 'nothing'}. "
            "Capture in monitor mode on the boards' channel."
        )
    table = np.array(rows)
    table, sources = table[np.argsort(table[:, 1], kind="stable")], np.array(names, dtype=object)
    sources = sources[np.argsort([row[1] for row in rows], kind="stable")]
    nothing = np.full(len(rows), np.nan)
    columns = {
        "timestamp_local_ms": table[:, 1],
        "sequence": table[:, 2],
        "rssi_dbm": table[:, 3],
        "rate_kbps": table[:, 4],
        "hop_count": np.zeros(len(rows)),
        **dict.fromkeys(("lat", "lon", "speed", "heading"), nothing),
    }
    lines = table[:, 0].astype(np.int64)
    lacks = frozenset({"msg_timestamp", "vehicle_id"})
    return Log(
        path, LogKind.RX, digest.hexdigest(), columns, {"from_vehicle_id": sources}, lines, lacks
    )


def _frames(dpkt: Any, path: Path, file: BinaryIO) -> Iterator[tuple[float, bytes]]:
    try:
        reader = dpkt.pcap.UniversalReader(file)
    except (ValueError, dpkt.UnpackError) as error:
        raise LogError(
            f"{path}: neither pcap nor pcapng ({error}). Save the capture so."
        ) from error
    if reader.datalink() != dpkt.pcap.DLT_IEEE802_11_RADIO:
        raise LogError(
            f"{path}: link type {reader.datalink()}, allowed is {dpkt.pcap.DLT_IEEE802_11_RADIO} "
            "(radiotap headers). Capture in monitor mode."
        )
    try:
        yield from reader
    except dpkt.UnpackError as error:
        raise LogError(f"{path}: the capture is cut off ({error}). Save it again.") from error


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise LogError(
            f"{path}: cannot be read ({error.strerror}). Check the name and its permissions."
        ) from error


def _library(name: str, path: Path) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise LogError(
            f"{path}: to read it, {name} is needed: pip install -r requirements-logs.txt, or "
            "roadsense[logs]."
        ) from error
