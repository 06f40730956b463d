"""One ego's board, to which messages are given by hand, on a straight road to the east."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from ml.espnow_emulator import PayloadField
from ml.onboard.board import Board

TICK_MS = 100.0
EAST_DEG = 90.0


class HandFed:
    """A board of one ego at the origin, and what its radio and its sensors bring it.

    Args:
        sources: How many peers there may be.
        speed_mps: Measured of the ego; may be changed between ticks.
        sd_m: Standard deviation that it believes its position has.
        **how: Of the board.
    """

    def __init__(self, sources=2, speed_mps=20.0, sd_m=0.0, **how):
        links = (1, 1, sources)
        self.table = SimpleNamespace(
            heard=np.zeros(links, dtype=bool),
            sequence=np.zeros(links, dtype=np.int64),
            timestamp_ms=np.zeros(links, dtype=np.int64),
            hops=np.zeros(links, dtype=np.int64),
            payload=np.zeros((*links, len(PayloadField))),
        )
        self.age_ms = np.zeros(links)
        self.speed_mps, self.sd_m = speed_mps, sd_m
        ranging = SimpleNamespace(range_m=np.zeros(1), is_valid=np.zeros(1, dtype=bool))
        self.board = Board(self.table, ranging, time_to_live_ms=5000.0, **how)
        self.reset()

    def measured(self):
        """What the ego believes of itself."""
        nothing = np.zeros((1, 1))
        return SimpleNamespace(
            x_m=nothing,
            y_m=nothing,
            speed_mps=np.full((1, 1), self.speed_mps),
            heading_deg=np.full((1, 1), EAST_DEG),
            accel_mps2=nothing,
            position_sd_m=np.full((1, 1), self.sd_m),
        )

    def reset(self, time_gap_s=1.0):
        """Begin an episode."""
        self.table.heard[:] = False
        self.board.start(np.array([0]), self.measured(), np.array([time_gap_s]))

    def message(
        self,
        peer,
        x_m=0.0,
        speed_mps=0.0,
        accel_mps2=0.0,
        age_s=0.0,
        sd_m=0.0,
        y_m=0.0,
        heading_deg=EAST_DEG,
    ):
        """Put a new message into the table."""
        sent = self.table.payload[0, 0, peer]
        sent[PayloadField.X_M], sent[PayloadField.HEADING_DEG] = x_m, heading_deg
        sent[PayloadField.Y_M] = y_m
        sent[PayloadField.SPEED_MPS], sent[PayloadField.ACCEL_MPS2] = speed_mps, accel_mps2
        sent[PayloadField.POSITION_SD_M] = sd_m
        self.table.heard[0, 0, peer] = True
        self.table.sequence[0, 0, peer] += 1
        self.table.timestamp_ms[0, 0, peer] += TICK_MS
        self.age_ms[0, 0, peer] = 1000.0 * age_s

    def tick(self, ticks=1):
        """Let the board hear, and time go by."""
        for _ in range(ticks):
            self.board.hear(self.age_ms, self.measured())
            self.age_ms += TICK_MS
