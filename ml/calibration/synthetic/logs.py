"""Write synthetic logs as boards write them, with everything that goes wrong on boards."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from ml import __version__
from ml.arrays import Ints
from ml.atomic_files import write_atomically
from ml.calibration.synthetic.recording import Recording
from ml.espnow_emulator import GeoReference
from ml.keyed_random import Stream, fold, normal, uniform
from ml.parameters import Parameters
from ml.vehicle import TICK_US

TX_HEADER: Final = (
    "timestamp_local_ms,msg_timestamp,vehicle_id,lat,lon,speed,heading,"
    "accel_x,accel_y,accel_z,hop_count,source_mac"
)
RX_HEADER: Final = TX_HEADER.replace("vehicle_id", "from_vehicle_id")
RTT_HEADER: Final = (
    "sequence,send_time_ms,recv_time_ms,rtt_ms,lat,lon,speed,heading,accel_x,peer_lat,peer_lon,lost"
)
NAMES: Final = ("a", "b", "c")
_GRAVITY_MPS2: Final = 9.81
_NO_FIX_TICKS: Final = 50
_GLITCH_EVERY_S, _GLITCH_TICKS, _GLITCH_M = 240.0, 12, 900.0
_DUPLICATES: Final = 0.003
_KEPT_IN_STALL: Final = 3
_Y_NOISE, _Z_NOISE, _GLITCH_WHEN, _GLITCH_WHERE, _DOUBLE = range(10, 15)


def write_logs(
    recording: Recording, parameters: Parameters, folder: Path, *, seed: int, artefacts: bool = True
) -> list[Path]:
    """Write the TX and RX log of every board, the RTT log if there were pings, and the truth.

    Args:
        recording: What happened.
        parameters: What it was made with.
        folder: Where the files go; it exists.
        seed: Of the logging artefacts.
        artefacts: Duplicates, GPS glitches and missing fixes, relayed rows in TX logs, and a board
            whose accelerometer is mounted backwards. Clocks, stalls and noise are in the recording.

    Returns:
        The logs, without the truth.
    """
    reference = GeoReference.of(parameters.radio.wire)
    rows = [
        _Board(recording, n, reference, seed, artefacts=artefacts)
        for n in range(recording.sent.shape[1])
    ]
    files = {}
    for n, name in enumerate(NAMES[: len(rows)]):
        files[f"{name}-tx.csv"] = _tx_lines(recording, rows, n, artefacts=artefacts)
        files[f"{name}-rx.csv"] = _rx_lines(recording, rows, n, seed, artefacts=artefacts)
    if recording.round_trip_us is not None:
        files["a-rtt.csv"] = _rtt_lines(recording, rows)
    for name, lines in files.items():
        write_atomically(folder / name, "\n".join(lines) + "\n")
    truth = {
        "made_by": f"roadsense {__version__} logs synth",
        "seed": seed,
        "boards": list(NAMES[: len(rows)]),
        "backwards": NAMES[len(rows) - 1] if artefacts else None,
        "stalls_s": [(spells / 1e6).tolist() for spells in recording.stalls],
        "parameters": json.loads(parameters.model_dump_json()),
    }
    write_atomically(folder / "truth.json", json.dumps(truth, indent=1) + "\n")
    return [folder / name for name in files]


class _Board:
    """What one board writes of itself, by tick."""

    def __init__(
        self, recording: Recording, n: int, reference: GeoReference, seed: int, *, artefacts: bool
    ) -> None:
        key = fold(seed, Stream.SYNTHETIC_LOGS, n)[0]
        ticks = np.arange(len(recording.slot_us))
        x_m, y_m, speed, heading, accel = recording.measured[:, n].T
        lat = (reference.lat_deg + y_m / reference.north_m_per_deg).astype(np.float32)
        lon = (reference.lon_deg + x_m / reference.east_m_per_deg).astype(np.float32)
        if artefacts:
            count = int(len(ticks) * TICK_US / 1e6 / _GLITCH_EVERY_S)
            when = (uniform(fold(key, _GLITCH_WHEN, np.arange(count))) * len(ticks)).astype(int)
            where = normal(fold(key, _GLITCH_WHERE, np.arange(count))) * _GLITCH_M
            for begin, metres in zip(when, where, strict=True):
                part = slice(begin, begin + _GLITCH_TICKS)
                lat[part] += np.float32(metres / reference.north_m_per_deg)
            lat[:_NO_FIX_TICKS] = lon[:_NO_FIX_TICKS] = 0.0
            if n == recording.sent.shape[1] - 1:
                accel = -accel
        noise = normal(fold(key, _Y_NOISE, ticks)) * 0.15
        down = _GRAVITY_MPS2 + normal(fold(key, _Z_NOISE, ticks)) * 0.15
        self.name = NAMES[n]
        self.mac = f"02:00:00:00:00:{n + 1:02x}"
        self.timestamp_ms = recording.local_ms(n, recording.slot_us[:, n])
        self.lat, self.lon = lat, lon
        self.pose = [
            f"{la:.7f},{lo:.7f},{v:.2f},{h:.1f}"
            for la, lo, v, h in zip(lat, lon, speed, heading, strict=True)
        ]
        self.accel_x = [f"{a:.3f}" for a in accel]
        self.state = [
            f"{p},{a},{y:.3f},{z:.3f}"
            for p, a, y, z in zip(self.pose, self.accel_x, noise, down, strict=True)
        ]

    def message(self, tick: int, hops: int) -> str:
        """Return what a log says of one of its messages."""
        return f"{self.timestamp_ms[tick]},{self.name},{self.state[tick]},{hops},{self.mac}"


def _tx_lines(
    recording: Recording, boards: list[_Board], n: int, *, artefacts: bool
) -> Iterable[str]:
    board = boards[n]
    own = np.flatnonzero(recording.sent[:, n])
    entries = [(int(board.timestamp_ms[k]), 0, board.message(k, 0)) for k in own.tolist()]
    if artefacts:
        entries += _relayed(recording, boards, n, own)
    entries.sort(key=lambda entry: entry[:2])
    return [TX_HEADER, *(f"{time},{rest}" for time, _, rest in entries)]


def _relayed(
    recording: Recording, boards: list[_Board], n: int, own: Ints
) -> list[tuple[int, int, str]]:
    """What a board sends on in its own slots, unless it is idle: what it has heard from ahead."""
    entries = []
    slots_us, works = recording.slot_us[own, n], recording.relays[own, n]
    for receiver, source, tick, hops, received_us in recording.receptions.tolist():
        next_slot = int(np.searchsorted(slots_us, received_us))
        if receiver == n and source > n and next_slot < own.size and works[next_slot]:
            time_ms = int(boards[n].timestamp_ms[own[next_slot]])
            entries.append((time_ms, 1 + source, boards[source].message(tick, hops + 1)))
    return entries


def _rx_lines(
    recording: Recording, boards: list[_Board], n: int, seed: int, *, artefacts: bool
) -> Iterable[str]:
    mine = recording.receptions[recording.receptions[:, 0] == n]
    mine = mine[np.argsort(mine[:, 4], kind="stable")]
    logged_us = mine[:, 4].copy()
    kept = np.ones(len(mine), dtype=bool)
    for begin, end in recording.stalls[n]:
        # The driver's queue holds the first few; they are logged when the board goes on.
        inside = np.flatnonzero((mine[:, 4] >= begin) & (mine[:, 4] < end))
        kept[inside[_KEPT_IN_STALL:]] = False
        logged_us[inside] = end
    local_ms = recording.local_ms(n, logged_us)
    double = np.zeros(len(mine), dtype=bool)
    if artefacts:
        key = fold(seed, Stream.SYNTHETIC_LOGS, n, _DOUBLE)[0]
        double = uniform(fold(key, np.arange(len(mine)))) < _DUPLICATES
    lines = [RX_HEADER]
    for k in np.flatnonzero(kept):
        _, source, tick, hops, _ = mine[k].tolist()
        lines += [f"{local_ms[k]},{boards[source].message(tick, hops)}"] * (2 if double[k] else 1)
    return lines


def _rtt_lines(recording: Recording, boards: list[_Board]) -> Iterable[str]:
    assert recording.round_trip_us is not None  # noqa: S101 - the caller has looked
    me, peer = boards[0], boards[1]
    lines = [RTT_HEADER]
    for k in np.flatnonzero(recording.sent[:, 0]):
        sent_ms, back_us = int(me.timestamp_ms[k]), int(recording.round_trip_us[k])
        start = f"{k},{sent_ms}"
        if back_us > 0:
            back = recording.local_ms(0, recording.slot_us[k : k + 1, 0] + back_us)
            times = f"{back[0]},{back[0] - sent_ms}"
            there = f"{peer.lat[k]:.7f},{peer.lon[k]:.7f}"
            lines.append(f"{start},{times},{me.pose[k]},{me.accel_x[k]},{there},0")
        else:
            lines.append(f"{start},,,{me.pose[k]},{me.accel_x[k]},,,1")
    return lines
