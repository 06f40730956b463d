"""Who drives ahead of whom: what fresh messages said once still holds when one falls silent.

Cars of one lane do not overtake. So a car that has not been heard for long, and would by now be
predicted to have driven through the car ahead of it, has queued up behind that: knowing the order
keeps a silent car in front from being forgotten just when the convoy stops.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.espnow_emulator import PayloadField
from ml.onboard.prediction import along, turned
from ml.onboard.silent_cars import CERTAIN_M, follow_on
from ml.vehicle import CAR_LENGTH_M, STANDSTILL_GAP_M

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.espnow_emulator import PeerTable


_FRESH_MS = 1500.0
_STALE_MS, _APART_M = 10_000.0, 10.0
_SHARE = 0.1
_STALER_S = 0.3
_X, _Y, _HEADING = (
    int(field)
    for field in (
        PayloadField.X_M,
        PayloadField.Y_M,
        PayloadField.HEADING_DEG,
    )
)


class PeerOrder:
    """The order of the peers of each ego, learnt while pairs of them are heard afresh.

    A pair of which one is silent, and that was never heard afresh together, is ordered by where the
    silent one is predicted, if the two are far enough apart.

    Args:
        num_envs: E.
        num_sources: S.

    Attributes:
        ahead_m: (E, S, S) float64, how far peer [.., o] drives ahead of peer [.., s], smoothed over
            the ticks in which both were fresh; 0 where that never was.
        travelled_m: (E, S) float64, predicted of each peer since its newest message.
        speed_mps: (E, S) float64, predicted to now.
        accel_mps2: (E, S) float64, as it said: what it is taken to go on with where it brakes.
    """

    def __init__(self, num_envs: int, num_sources: int) -> None:
        self.ahead_m = np.zeros((num_envs, num_sources, num_sources))
        self.travelled_m, self.speed_mps, self.accel_mps2 = np.zeros((3, num_envs, num_sources))
        self._known = np.full((num_envs, num_sources), -1, dtype=np.int64)
        self._usual_mps2 = np.zeros((num_envs, num_sources))

    def reset(self, rows: NDArray[np.int64]) -> None:
        """Forget the peers of some egos."""
        self.ahead_m[rows] = 0.0
        self._known[rows] = -1

    def update(self, table: PeerTable, age_ms: NDArray[np.float64]) -> None:
        """Move all peers on by a tick, and compare all pairs that are fresh.

        Args:
            table: The egos' peer table, (E, 1, S).
            age_ms: (E, 1, S) float64, estimated.
        """
        follow_on(
            table.heard,
            table.sequence,
            age_ms,
            table.payload,
            self.ahead_m,
            self._known,
            self._usual_mps2,
            self.travelled_m,
            self.speed_mps,
            self.accel_mps2,
        )
        _update(table.heard, age_ms, table.payload, self.travelled_m, self.ahead_m)


@compiled
def _update(
    heard: NDArray[np.bool_],
    age_ms: NDArray[np.float64],
    payload: NDArray[np.float64],
    travelled_m: NDArray[np.float64],
    ahead_m: NDArray[np.float64],
) -> None:
    for e in range(heard.shape[0]):
        for s in range(heard.shape[2]):
            if not heard[e, 0, s] or age_ms[e, 0, s] > _STALE_MS:
                continue
            here = payload[e, 0, s]
            heading = math.radians(here[_HEADING])
            for o in range(s + 1, heard.shape[2]):
                known = ahead_m[e, s, o] != 0.0
                limit_ms = _FRESH_MS if known else _STALE_MS
                older_ms = max(age_ms[e, 0, s], age_ms[e, 0, o])
                if not heard[e, 0, o] or older_ms > limit_ms:
                    continue
                there = payload[e, 0, o]
                turn = turned(math.radians(there[_HEADING]), heading)
                east, north = there[_X] - here[_X], there[_Y] - here[_Y]
                ahead = along(east, north, heading, turn) + travelled_m[e, o] - travelled_m[e, s]
                if known:
                    ahead = ahead_m[e, s, o] + _SHARE * (ahead - ahead_m[e, s, o])
                elif older_ms > _FRESH_MS and abs(ahead) < _APART_M:
                    continue
                ahead_m[e, s, o], ahead_m[e, o, s] = ahead, -ahead


@compiled
def queue_up(
    heard: NDArray[np.bool_],
    age_s: NDArray[np.float64],
    ahead_m: NDArray[np.float64],
    gap_m: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    accel_mps2: NDArray[np.float64],
) -> None:
    """Hold predictions to the order: nobody is where somebody ahead of them is, or beyond.

    Args:
        heard: (S,), of one ego.
        age_s: (S,), estimated ages; the word of the fresher of two peers counts.
        ahead_m: (S, S), see `PeerOrder`.
        gap_m: (S,) predicted; changed.
        speed_mps: (S,) predicted; changed.
        accel_mps2: (S,) predicted; changed.
    """
    for _ in range(heard.size):
        changed = False
        for s in range(heard.size):
            for o in range(heard.size):
                if not (heard[s] and heard[o]) or ahead_m[s, o] < CERTAIN_M:
                    continue
                behind_m = gap_m[o] - CAR_LENGTH_M - STANDSTILL_GAP_M
                if age_s[s] > age_s[o] + _STALER_S and gap_m[s] > behind_m:
                    gap_m[s] = behind_m
                    speed_mps[s] = min(speed_mps[s], speed_mps[o])
                    accel_mps2[s] = min(accel_mps2[s], accel_mps2[o])
                    changed = True
        if not changed:
            return
