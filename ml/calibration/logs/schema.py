"""The logs that boards write: which columns each kind has, and what may stand in them.

* RTT: one row per ping of the board that sends them, with its own position.
* TX: one row per beacon that a board has sent; those that it relayed may stand among them.
* RX: one row per beacon that a board has received.

Times are milliseconds of the writing board's clock since its start, whole or with a fraction; but
`msg_timestamp` is the clock of the board whose state the message carries. Columns that are not
named here are allowed and not read.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from math import inf, nan
from typing import Final


class LogKind(StrEnum):
    """What a log holds."""

    RTT = "RTT"
    TX = "TX"
    RX = "RX"


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str  # In the header
    low: float = -inf  # Least value allowed
    high: float = inf  # Largest
    required: bool = True  # Whether a log without it is refused
    may_be_empty: bool = False  # Whether a field may be empty, which means unknown
    text: bool = False  # It holds a name, not a number
    filled: float | None = None  # What all rows have in a log without it; None: it is absent there


_G_LIMIT: Final = 200.0


_time: Final = partial(Column, low=-1.0, high=1e15)  # also milliseconds since 1970
_optional: Final = partial(Column, required=False, may_be_empty=True)
_POSE: Final = (
    Column("lat", -90.0, 90.0, may_be_empty=True),
    Column("lon", -180.0, 180.0, may_be_empty=True),
    Column("speed", 0.0, 150.0, may_be_empty=True),
    Column("heading", -360.0, 360.0, may_be_empty=True),
)
_EXTRAS: Final = (
    _optional("rssi_dbm", -160.0, 20.0),
    _optional("rate_kbps", 0.0, 100_000.0),
    _optional("fix_age_ms", 0.0, 1e9),
    _optional("position_sd_m", 0.0, 1e5),
)
_ACCEL: Final = tuple(Column(f"accel_{axis}", -_G_LIMIT, _G_LIMIT) for axis in "xyz")
_HOPS: Final = Column("hop_count", 0.0, 255.0)
_MAC: Final = Column("source_mac", text=True)
_SEQUENCE: Final = _optional("sequence", 0.0, 2.0**53)


def _or_else(columns: Iterable[Column], filled: float | None = nan) -> tuple[Column, ...]:
    """Let a log lack columns."""
    return tuple(replace(column, required=False, filled=filled) for column in columns)


SCHEMAS: Final[dict[LogKind, tuple[Column, ...]]] = {
    LogKind.RTT: (
        *_or_else([Column("sequence", 0.0, 2.0**53)], None),
        _time("send_time_ms"),
        _time("recv_time_ms", may_be_empty=True, required=False, filled=nan),
        Column("rtt_ms", -1.0, 60_000.0, required=False, may_be_empty=True, filled=nan),
        *_or_else(_POSE),
        *_or_else([Column("lost", 0.0, 1.0)], None),
        _optional("accel_x", -_G_LIMIT, _G_LIMIT),
        _optional("peer_lat", -90.0, 90.0),
        _optional("peer_lon", -180.0, 180.0),
        _optional("peer_fix_age_ms", 0.0, 1e9),
        Column("vehicle_id", required=False, text=True),
        *_EXTRAS,
    ),
    LogKind.TX: (
        Column("vehicle_id", text=True),
        _time("timestamp_local_ms"),
        _time("msg_timestamp"),
        *_or_else(_POSE),
        *_ACCEL,
        *_or_else([_HOPS], 0.0),
        *_or_else([_MAC], None),
        *_EXTRAS,
        _SEQUENCE,
    ),
    LogKind.RX: (
        Column("from_vehicle_id", text=True),
        _time("timestamp_local_ms"),
        _time("msg_timestamp", required=False),
        *_or_else(_POSE),
        *_or_else(_ACCEL, None),
        *_or_else([_HOPS], 0.0),
        *_or_else([_MAC], None),
        Column("vehicle_id", required=False, text=True),
        *_EXTRAS,
        _SEQUENCE,
        _optional("receiver_lat", -90.0, 90.0),
        _optional("receiver_lon", -180.0, 180.0),
        _optional("receiver_speed", 0.0, 150.0),
    ),
}
CLOCK_TURNS_MS: Final = (2.0**32 / 1000.0, 2.0**32)
"""Where the clocks of boards start at 0 again: µs or ms in 32 bits, after 71.6 min or 49.7 days."""
# What tells the kinds apart; a header without any of these is none of them.
MARKS: Final = {LogKind.RTT: "rtt_ms", LogKind.RX: "from_vehicle_id", LogKind.TX: "vehicle_id"}
TIME_COLUMN: Final = dict.fromkeys(LogKind, "timestamp_local_ms") | {LogKind.RTT: "send_time_ms"}
KIND_IN_NAME: Final = re.compile(r"(?i)(^|[^a-z])(rx|tx|rtt)(?=$|[^a-z])")
"""The kind in a file's name: `car1-tx.csv`."""
