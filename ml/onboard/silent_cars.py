"""What a car does that is not heard: it follows the car ahead of it, as people do.

A car whose newest message is old is driven on by a car-following model behind what is known of
the car ahead of it. When a convoy brakes, the braking runs from car to car and takes a second or
more for each; this tells when it reaches a silent one, and how far back that will stop. To expect
full braking at once of everybody who is silent would be safe, too, but leaves needless gaps.

The model is the Intelligent Driver Model (Treiber, Hennecke and Helbing, Phys. Rev. E 62, 1805,
2000) with usual values. Who drives differently shows it in the message: the model's pull at the
time when the car falls silent is taken off.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ml.compiled import compiled
from ml.espnow_emulator import PayloadField
from ml.onboard.prediction import BRAKING_MPS2, HORIZON_S, along, travel, turned
from ml.vehicle import CAR_LENGTH_M, DT_S, MAX_BRAKING_MPS2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SILENT_S = 0.3
"""Age of the newest message from which a car is driven on."""
CERTAIN_M = 2.0
"""Distance between two cars from which their order is certain."""
_ACCEL_MPS2, _COMFORT_MPS2 = 1.5, 2.5
_TIME_GAP_S, _STANDSTILL_M = 1.2, 2.0
_LEAST_GAP_M = 0.5
_UNDISTURBED_MPS2 = 0.2
_X, _Y, _SPEED, _HEADING, _ACCEL = (
    int(field)
    for field in (
        PayloadField.X_M,
        PayloadField.Y_M,
        PayloadField.SPEED_MPS,
        PayloadField.HEADING_DEG,
        PayloadField.ACCEL_MPS2,
    )
)


@compiled
def pull_mps2(speed_mps: float, ahead_mps: float, gap_m: float) -> float:
    """How hard the car ahead makes a driver brake, by the IDM's interaction term; −8 to 0.

    Args:
        speed_mps: Own.
        ahead_mps: Of the car ahead.
        gap_m: Between them.
    """
    braking = speed_mps * (speed_mps - ahead_mps) / (2.0 * math.sqrt(_ACCEL_MPS2 * _COMFORT_MPS2))
    wanted = _STANDSTILL_M + max(speed_mps * _TIME_GAP_S + braking, 0.0)
    share = wanted / max(gap_m, _LEAST_GAP_M)
    return -min(_ACCEL_MPS2 * share * share, MAX_BRAKING_MPS2)


@compiled
def _car_ahead(heard: NDArray[np.bool_], ahead_m: NDArray[np.float64], s: int) -> int:
    """The nearest heard car that is known to drive ahead of s; −1 where none is."""
    nearest = -1
    for o in range(heard.size):
        if not heard[o] or ahead_m[s, o] < CERTAIN_M:
            continue
        if nearest < 0 or ahead_m[s, o] < ahead_m[s, nearest]:
            nearest = o
    return nearest


@compiled
def _distance_m(here: NDArray[np.float64], there: NDArray[np.float64]) -> float:
    """From one message's place to another's, along the road."""
    heading = math.radians(here[_HEADING])
    turn = turned(math.radians(there[_HEADING]), heading)
    return along(there[_X] - here[_X], there[_Y] - here[_Y], heading, turn)


@compiled
def follow_on(
    heard: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    age_ms: NDArray[np.float64],
    payload: NDArray[np.float64],
    ahead_m: NDArray[np.float64],
    known: NDArray[np.int64],
    usual_mps2: NDArray[np.float64],
    travelled_m: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    accel_mps2: NDArray[np.float64],
) -> None:
    """Move every peer on by a tick: from a fresh message by itself, else behind the car ahead.

    Args:
        heard: (E, 1, S).
        sequence: (E, 1, S), of the newest message.
        age_ms: (E, 1, S), its estimated age.
        payload: (E, 1, S, F).
        ahead_m: (E, S, S), see `PeerOrder`.
        known: (E, S), sequence of the message from which a silent peer is driven on, −1 for none;
            changed.
        usual_mps2: (E, S), the model's pull when it fell silent; changed.
        travelled_m: (E, S), since the newest message; changed.
        speed_mps: (E, S), now; changed.
        accel_mps2: (E, S), as it said, for what is taken to last; changed.
    """
    for e in range(heard.shape[0]):
        for s in range(heard.shape[2]):
            if not heard[e, 0, s] or sequence[e, 0, s] == known[e, s]:
                continue
            said = payload[e, 0, s]
            age_s = age_ms[e, 0, s] / 1000.0
            travelled_m[e, s], speed_mps[e, s], accel_mps2[e, s] = travel(
                said[_SPEED], said[_ACCEL], age_s
            )
        for s in range(heard.shape[2]):
            age_s = age_ms[e, 0, s] / 1000.0
            if not heard[e, 0, s] or age_s <= SILENT_S:
                continue
            said = payload[e, 0, s]
            new = sequence[e, 0, s] != known[e, s]
            o = _car_ahead(heard[e, 0], ahead_m[e], s)
            pull = 0.0
            if o >= 0:
                apart = _distance_m(said, payload[e, 0, o]) + travelled_m[e, o] - travelled_m[e, s]
                pull = pull_mps2(speed_mps[e, s], speed_mps[e, o], apart - CAR_LENGTH_M)
            if new:
                known[e, s] = sequence[e, 0, s]
                # In steady driving the pull is never stronger than the wish to speed up.
                usual_mps2[e, s] = max(pull, -_ACCEL_MPS2)
                continue
            disturbance = min(pull - usual_mps2[e, s], 0.0)
            accel = _accel_of_silent(
                said[_SPEED], said[_ACCEL], age_s, speed_mps[e, s], disturbance
            )
            before = speed_mps[e, s]
            now = max(before + accel * DT_S, 0.0)
            travelled_m[e, s] += 0.5 * (before + now) * DT_S
            speed_mps[e, s] = now


@compiled
def _accel_of_silent(
    said_mps: float, said_mps2: float, age_s: float, speed_mps: float, disturbance_mps2: float
) -> float:
    """Acceleration of a silent car, m/s²: as it said, and as what happens ahead makes it."""
    brakes = said_mps2 < -BRAKING_MPS2
    accel = said_mps2 if brakes or age_s <= HORIZON_S else 0.0
    if not brakes and speed_mps < said_mps and disturbance_mps2 > -_UNDISTURBED_MPS2:
        accel = max(accel, _ACCEL_MPS2 * (1.0 - (speed_mps / said_mps) ** 4))
    return max(accel + disturbance_mps2, -MAX_BRAKING_MPS2)
