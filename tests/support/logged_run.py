"""The logs that the boards of a simulated run would have written, at full precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.espnow_emulator import GeoReference
from ml.parameters import load_parameters

if TYPE_CHECKING:
    from pathlib import Path

    from ml.envs.convoy_batch import ConvoyBatch

HEAD = (
    "timestamp_local_ms,msg_timestamp,vehicle_id,lat,lon,speed,heading,"
    "accel_x,accel_y,accel_z,hop_count,source_mac,position_sd_m"
)


class LoggedRun:
    """Watches one convoy whose nodes send at the beginning of each tick, by clocks without drift.

    Args:
        radio: The parameters' file.
        start: The ego's place on the road and its speed before the first tick.
    """

    def __init__(self, radio: str, start: tuple[float, float]) -> None:
        self._reference = GeoReference.of(load_parameters(radio).radio.wire)
        self._own = (start[0], 0.0, start[1], 90.0, 0.0, 0.0)
        self._tx: dict[int, list[str]] = {}
        self._rx: list[tuple[int, str]] = []
        self._newest: dict[int, int] = {}

    def watch(self, batch: ConvoyBatch) -> None:
        """Take note of a tick that has been driven."""
        tick = int(batch.tick[0])
        offset_ms = batch.stack.channel.node_clocks.offset_ms[0]
        measured = [getattr(batch.stack.measured, name)[0] for name in _NAMES]
        for node in range(1 + int(batch.plan.num_peers[0])):
            said = self._own if node == 0 else tuple(column[node] for column in measured)
            stamp = int(offset_ms[node]) + (tick - 1) * 100
            line = self._line(str(stamp), stamp, node, said, 0)
            self._tx.setdefault(node, []).append(line)
        self._own = tuple(column[0] for column in measured)
        table = batch.peer_table
        for source in np.flatnonzero(table.heard[0, 0]).tolist():
            if self._newest.get(source) == table.sequence[0, 0, source]:
                continue
            self._newest[source] = int(table.sequence[0, 0, source])
            received_us = int(table.received_us[0, 0, source])
            at = f"{int(offset_ms[0]) + received_us // 1000}.{received_us % 1000:03d}"
            stamp, hops = int(table.timestamp_ms[0, 0, source]), int(table.hops[0, 0, source])
            said = tuple(table.payload[0, 0, source])
            self._rx.append((received_us, self._line(at, stamp, source + 1, said, hops)))

    def _line(self, at: str, stamp: int, node: int, said: tuple, hops: int) -> str:
        x_m, y_m, *rest, sd_m = map(float, said)
        lat = self._reference.lat_deg + y_m / self._reference.north_m_per_deg
        lon = self._reference.lon_deg + x_m / self._reference.east_m_per_deg
        numbers = ",".join(map(repr, (lat, lon, *rest)))
        return f"{at},{stamp},{name_of(node)},{numbers},0.0,9.81,{hops},m{node},{sd_m!r}"

    def write(self, folder: Path) -> list[Path]:
        """Write the TX log of every board and the RX log of the ego's."""
        files = {folder / f"{name_of(node)}-tx.csv": lines for node, lines in self._tx.items()}
        heard = [line for _, line in sorted(self._rx)]
        files[folder / f"{name_of(0)}-rx.csv"] = heard
        for file, lines in files.items():
            head = (
                HEAD if file.stem.endswith("tx") else HEAD.replace("vehicle_id", "from_vehicle_id")
            )
            file.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
        return list(files)


def name_of(node: int) -> str:
    """Name the board of a node, so that names are in the order of nodes."""
    return f"car{node}"


_NAMES = ("x_m", "y_m", "speed_mps", "heading_deg", "accel_mps2", "position_sd_m")
