"""What the board in a simulated ego would get: bytes off the air, fixes, and samples.

The same that `ml.onboard.Board` is shown as numbers is told here as a board on the road gets it.
Of each car the newest message that arrived in a tick comes once, with its reception by the ego's
clock; fixes are whole 1e-7 degrees, and samples are float32.
"""

import math
import struct
from typing import Final, NamedTuple

import numpy as np

from ml.envs.convoy_batch import ConvoyBatch
from ml.espnow_emulator import PayloadField, V2VMessage
from ml.espnow_emulator.clock import elapsed_one_ms
from ml.espnow_emulator.wire import GeoReference, mac_of_name, pack
from ml.hil.protocol import BEGIN, FIX, FRAME
from ml.parameters import load_parameters
from ml.sensors.sensor_bank import Fix

EGO_NAME: Final = "v0"
_RELAY_NAME: Final = "relay"  # who relayed a message is not held
_E7: Final = 1e7
_WRAP_MS: Final = 2**32
_CIRCLE_DEG: Final = 360.0
_NONE: Final = -1.0


def name_of_slot(slot: int) -> str:
    """Return the name that the car in a slot has on the air."""
    return f"v{slot}"


class TickInputs(NamedTuple):
    """What a tick brings.

    Attributes:
        frames: Bodies of `protocol.FRAME`, in the order of reception.
        fix: Body of `protocol.FIX`; None where none was delivered.
        sample: The fields of `protocol.TICK` but the deadline.
    """

    frames: list[bytes]
    fix: bytes | None
    sample: tuple[int, float, float, float, float]


class EgoInputs:
    """Reads what the ego of a batch's first convoy would get.

    Args:
        batch: The batch.
    """

    def __init__(self, batch: ConvoyBatch) -> None:
        self._batch = batch
        self._reference = GeoReference.of(load_parameters(batch.config.radio).radio.wire)
        self._num_fixes = 0
        self._heard: dict[int, tuple[int, int]] = {}

    def begin(self, time_gap_s: float) -> bytes:
        """Begin an episode at its first tick; return the body of `protocol.BEGIN`."""
        self._num_fixes = 0
        self._heard.clear()
        return BEGIN.pack(
            self._clock_ms(0) % _WRAP_MS,
            EGO_NAME.encode(),
            mac_of_name(EGO_NAME),
            *self._degrees_e7(0.0, 0.0),
            time_gap_s,
        )

    def tick(self) -> TickInputs:
        """Return what has come since the last call; once a tick, from the first on."""
        batch = self._batch
        now_ms = self._clock_ms(int(batch.now_us[0]))
        handed = batch.stack.sensors.handed(0, 0, self._num_fixes)
        self._num_fixes = handed.num_fixes
        # Without a gyroscope and a mean, what the accelerometer says now.
        accel_mps2, turn_deg = handed.moved or (float(batch.stack.measured.accel_mps2[0, 0]), 0.0)
        ranging = batch.stack.ranging
        range_m = float(ranging.range_m[0]) if ranging.is_valid[0] else _NONE
        vehicle_mps = float(batch.truth.speed_mps[0, 0])
        fix = self._fix(handed.fixes[-1], now_ms) if handed.fixes else None
        sample = (now_ms % _WRAP_MS, accel_mps2, turn_deg, vehicle_mps, range_m)
        return TickInputs(self._frames(), fix, sample)

    def _frames(self) -> list[bytes]:
        table = self._batch.peer_table
        found: list[tuple[int, int, bytes]] = []
        for source in np.flatnonzero(table.heard[0, 0]).tolist():
            received_us = int(table.received_us[0, 0, source])
            newest = (received_us, int(table.timestamp_ms[0, 0, source]))
            if self._heard.get(source) == newest:
                continue
            self._heard[source] = newest
            received_ms = int(table.received_local_ms[0, 0, source]) % _WRAP_MS
            found.append((received_us, source, FRAME.pack(received_ms, self._frame(source))))
        return [body for _, _, body in sorted(found)]

    def _frame(self, source: int) -> bytes:
        table = self._batch.peer_table
        payload, hops = table.payload[0, 0, source], int(table.hops[0, 0, source])
        name = name_of_slot(source + 1)
        message = V2VMessage(
            vehicle_id=_RELAY_NAME if hops else name,
            source_id=name,
            timestamp_ms=int(table.timestamp_ms[0, 0, source]) % _WRAP_MS,
            x_m=float(payload[PayloadField.X_M]),
            y_m=float(payload[PayloadField.Y_M]),
            speed_mps=float(payload[PayloadField.SPEED_MPS]),
            heading_deg=float(payload[PayloadField.HEADING_DEG]),
            accel_mps2=float(payload[PayloadField.ACCEL_MPS2]),
            position_sd_m=float(payload[PayloadField.POSITION_SD_M]),
            hop_count=hops,
        )
        return pack(message, self._reference)

    def _fix(self, fix: Fix, now_ms: int) -> bytes:
        (heading_deg,) = struct.unpack("<f", struct.pack("<f", fix.heading_deg))
        if not 0.0 <= heading_deg < _CIRCLE_DEG or math.isnan(heading_deg):
            heading_deg = 0.0  # just below a full circle rounds up to it
        age_ms = max(now_ms - self._clock_ms(fix.fix_us), 0)
        place = self._degrees_e7(fix.x_m, fix.y_m)
        return FIX.pack(*place, fix.speed_mps, heading_deg, fix.has_heading, age_ms)

    def _degrees_e7(self, x_m: float, y_m: float) -> tuple[int, int]:
        """Return latitude and longitude of a place, 1e-7 degrees."""
        reference = self._reference
        return (
            round((reference.lat_deg + y_m / reference.north_m_per_deg) * _E7),
            round((reference.lon_deg + x_m / reference.east_m_per_deg) * _E7),
        )

    def _clock_ms(self, t_us: int) -> int:
        """Return what the ego's clock shows at a true time since reset."""
        clocks = self._batch.peer_table.arrays
        return elapsed_one_ms(t_us, clocks.clock_drift_ppm[0, 0]) + int(
            clocks.clock_offset_ms[0, 0]
        )
