"""The options that SUMO runs with, the same for every backend, and its magic numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.vehicle import DT_S

if TYPE_CHECKING:
    from ml.sumo.tiling import TiledNetwork

# Bits of SUMO's speed mode: checks of gap, acceleration, deceleration, right of way, red light.
SPEED_MODE_UNCHECKED = 0
SPEED_MODE_DEFAULT = 31
LANE_CHANGE_NEVER = 0
ADD_AT = ("now", "first", "base")  # when and where to add a car; it is moved at once
LANE_KEPT_S = 1e4  # how long changeLane keeps a car in its new lane, in which we leave it anyway
SPEED_RELEASED = -1.0  # what setSpeed takes for "drive as you like"


def load_options(tiles: TiledNetwork) -> list[str]:
    """Return SUMO's options for a tiled network, without the program's name.

    Cars are moved by the trapezoidal rule, never teleported or removed, and nothing is random.
    """
    return [
        *("--net-file", str(tiles.net_file)),
        *("--additional-files", str(tiles.additional_file)),
        *("--step-length", str(DT_S)),
        *("--step-method.ballistic", "true"),
        *("--time-to-teleport", "-1"),
        *("--collision.action", "warn"),
        *("--collision.mingap-factor", "0"),
        *("--default.speeddev", "0"),
        *("--seed", "1"),
        *("--no-step-log", "true"),
        *("--no-warnings", "true"),
        *("--duration-log.disable", "true"),
        *("--xml-validation", "never"),
        *("--xml-validation.net", "never"),
    ]
