"""A recorded episode as the board in the loop knew it, and not as Python's board would have."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ml.espnow_emulator.wire import mac_of_name
from ml.evaluation.recording import Recording
from ml.hil.inputs import name_of_slot
from ml.hil.protocol import Answer
from ml.sumo.road import Road

_UM = 1e6


def as_answered(recording: Recording, answers: Sequence[Answer | None], road: Road) -> Recording:
    """Return a recording with what the board answered: wish, bounds, and what it knew of each car.

    Where no answer came in time the wish is not a number; the rest of that row, as of the last one,
    is what Python's board makes of what the board was handed.

    Args:
        recording: Of the episode, T rows: one per tick, and one of its end.
        answers: Of its ticks, T − 1 at most.
        road: On which the board believes to be at a place east and north.

    Returns:
        A copy.
    """
    slots = {mac_of_name(name_of_slot(slot)): slot for slot in range(1, recording.num_peers + 1)}
    own = {
        name: getattr(recording, name).copy()
        for name in (
            *("floor_mps2", "soft_mps2", "hard_mps2", "wish_mps2", "own_error_m", "own_sd_m"),
            *("heard", "age_s", "believed_gap_m", "believed_speed_mps", "believed_accel_mps2"),
            *("needed_mps2", "position_sd_m"),
        )
    }
    x_m, y_m, heading_deg = road.pose(recording.route_pos_m[:, 0])
    heading = np.radians(heading_deg)
    for row, answer in enumerate(answers):
        if answer is None:
            own["wish_mps2"][row] = np.nan
            continue
        for name in ("floor_mps2", "soft_mps2", "hard_mps2", "wish_mps2", "own_sd_m"):
            own[name][row] = getattr(answer, name)
        east_m, north_m = answer.x_um / _UM - x_m[row], answer.y_um / _UM - y_m[row]
        ahead_m = east_m * np.sin(heading[row]) + north_m * np.cos(heading[row])
        own["own_error_m"][row] = ahead_m
        own["heard"][row] = False
        own["believed_gap_m"][row] = np.inf
        own["believed_speed_mps"][row] = own["believed_accel_mps2"][row] = 0.0
        own["position_sd_m"][row] = own["needed_mps2"][row] = 0.0
        for peer in answer.peers:
            if (slot := slots.get(peer.mac)) is None:
                continue
            own["heard"][row, slot - 1] = True
            own["age_s"][row, slot - 1] = peer.age_s
            own["believed_gap_m"][row, slot - 1] = peer.gap_m
            own["believed_speed_mps"][row, slot - 1] = peer.speed_mps
            own["believed_accel_mps2"][row, slot - 1] = peer.accel_mps2
            own["needed_mps2"][row, slot - 1] = peer.needed_mps2
            own["position_sd_m"][row, slot - 1] = peer.sd_m
    return replace(recording, **own, safety_layer=np.array(True))  # noqa: FBT003 (a value)
