"""Small synthetic logs whose right answer is known: cars on a straight road, and what they lose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ml.espnow_emulator import GeoReference

PERIOD_MS = 100.0
LAT_DEG, LON_DEG = 48.0, 11.0
LATENCY_MS = 2.5
Table = dict[str, list[str]]


def to_and_fro(rows: int, nearest_m: float = 10.0, farthest_m: float = 50.0) -> np.ndarray:
    """Places of a car that falls back and closes up at 8 m/s, (rows,) in m."""
    swing = farthest_m - nearest_m
    gone = np.arange(rows) * 0.8 % (2.0 * swing)
    return nearest_m + np.minimum(gone, 2.0 * swing - gone)


def write(path: Path, table: Mapping[str, Sequence[str]], delimiter: str = ",") -> Path:
    """Write a table as a log."""
    lines = [delimiter.join(table), *map(delimiter.join, zip(*table.values(), strict=True))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def write_all(folder: Path, tables: Mapping[str, Table]) -> list[Path]:
    """Write tables under their names, and return the files."""
    return [write(folder / f"{name}.csv", table) for name, table in tables.items()]


def drive(
    places_m: Mapping[str, np.ndarray],
    *,
    receivers: Iterable[str] | None = None,
    lost: Mapping[tuple[str, str], np.ndarray] | None = None,
    offsets_ms: Mapping[str, float] | None = None,
    lon_deg: float = LON_DEG,
    fix_every: int = 1,
) -> dict[str, Table]:
    """Make the TX log of every car and the RX logs of some: `a-tx`, `a-rx`, as tables.

    Args:
        places_m: Name to where a car is along the road, (rows,) in m, every 100 ms.
        receivers: Who logs receptions; everybody by default.
        lost: Sender and receiver to what is lost, (rows,) bool; nothing by default.
        offsets_ms: What each board's clock shows at the beginning; an hour apart by default.
        lon_deg: Where the road begins.
        fix_every: Rows for which a fix is held.
    """
    names = list(places_m)
    rows = len(places_m[names[0]])
    phases = {name: 30.0 * k for k, name in enumerate(names)}
    offsets = offsets_ms or {name: 1000.0 + 3.6e6 * k for k, name in enumerate(names)}
    states = {n: _state(places_m[n], lon_deg, fix_every) for n in names}
    tables: dict[str, Table] = {}
    for name in names:
        at = np.arange(rows) * PERIOD_MS + phases[name] + offsets[name]
        tables[f"{name}-tx"] = {
            "timestamp_local_ms": _numbers(at),
            "msg_timestamp": _numbers(at),
            "vehicle_id": [name] * rows,
            **states[name],
        }
    for name in names if receivers is None else receivers:
        heard = []
        for other in names:
            if other == name:
                continue
            gone = (lost or {}).get((other, name), np.zeros(rows, dtype=bool))
            sent = np.arange(rows) * PERIOD_MS + phases[other]
            heard += [
                (sent[k] + LATENCY_MS + k % 3 + offsets[name], other, k)
                for k in np.flatnonzero(~gone)
            ]
        heard.sort()
        table: Table = {
            "timestamp_local_ms": _numbers([at for at, _, _ in heard]),
            "msg_timestamp": [tables[f"{o}-tx"]["msg_timestamp"][k] for _, o, k in heard],
            "from_vehicle_id": [o for _, o, _ in heard],
        }
        for column in states[name]:
            table[column] = [states[o][column][k] for _, o, k in heard]
        tables[f"{name}-rx"] = table
    return tables


def round_trips(
    here_m: np.ndarray,
    there_m: np.ndarray,
    lost: np.ndarray,
    rtt_ms: np.ndarray | float = 7.0,
) -> Table:
    """Make the RTT log of a board whose echo says where it is; positions (rows,) in m."""
    rows = len(here_m)
    sent = 1000.0 + PERIOD_MS * np.arange(rows)
    trips = np.broadcast_to(rtt_ms, (rows,))
    mine, other = (_state(x, LON_DEG, 1) for x in (here_m, there_m))

    def back(values: Sequence[str]) -> list[str]:
        return ["" if gone else value for value, gone in zip(values, lost, strict=True)]

    return {
        "sequence": [str(k) for k in range(rows)],
        "send_time_ms": _numbers(sent),
        "recv_time_ms": back(_numbers(sent + trips)),
        "rtt_ms": back(_numbers(trips)),
        **{name: mine[name] for name in ("lat", "lon", "speed", "heading")},
        "peer_lat": back(other["lat"]),
        "peer_lon": back(other["lon"]),
        "lost": [str(int(gone)) for gone in lost],
    }


def _state(place_m: np.ndarray, lon_deg: float, fix_every: int) -> Table:
    reference = GeoReference.at(LAT_DEG, 0.0)
    rows = len(place_m)
    held = place_m[np.arange(rows) // fix_every * fix_every]
    speed = np.abs(np.gradient(place_m)) / (PERIOD_MS / 1000.0)
    ahead = np.gradient(place_m) >= 0.0
    lon = lon_deg + held / reference.east_m_per_deg
    lon = np.where(lon > 180.0, lon - 360.0, lon)
    return {
        "lat": [f"{LAT_DEG:.7f}"] * rows,
        "lon": [f"{x:.7f}" for x in lon],
        "speed": [f"{v:.2f}" for v in speed],
        "heading": ["90.0" if on else "270.0" for on in ahead],
        "accel_x": ["0.01", "-0.01"] * (rows // 2) + ["0.00"] * (rows % 2),
        "accel_y": ["0.00"] * rows,
        "accel_z": ["9.81"] * rows,
        "hop_count": ["0"] * rows,
        "source_mac": ["02:00:00:00:00:01"] * rows,
    }


def _numbers(values: Iterable[float]) -> list[str]:
    return [f"{value:.3f}" for value in values]
