"""What a policy would observe if its radio were off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.onboard.observation.spec import EGO_HIGH, EGO_INDEX, EGO_LOW, EGO_SCALE
from ml.onboard.spacing import wanted_gap_m

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.onboard.observation.spec import Observation

_NOBODY_GAP_M = 150.0
_SLOWEST_MPS = 2.0
_OF_NOBODY = {
    "peers_heard": 0.0,
    "silence": 10.0,
    "nearest_gap": _NOBODY_GAP_M,
    "nearest_closing": 0.0,
    "hardest_braking": 0.0,
    "nearest_accel": 0.0,
    "nearest_age": 10.0,
    "nearest_sd": 0.0,
    "needed_braking": 0.0,
    "missing_room": 0.0,
}
"""The features of the ego that come from its peers, as they are when nobody is heard (tested
against an environment's first tick)."""


def without_radio(observation: Observation) -> Observation:
    """Take away everything that came by radio, in the ego's own features, too.

    Args:
        observation: Of a batch; not changed.

    Returns:
        What the same vehicles would observe if they had heard nobody.
    """
    ego = observation["ego"].copy()
    for name, value in _OF_NOBODY.items():
        ego[:, EGO_INDEX[name]] = value / EGO_SCALE[EGO_INDEX[name]]
    speed_mps = _value(ego, "speed")
    time_gap_s = _NOBODY_GAP_M / np.maximum(speed_mps, _SLOWEST_MPS)
    _write(ego, "nearest_time_gap", time_gap_s)
    wanted_m = wanted_gap_m(speed_mps, _value(ego, "wanted_time_gap"))
    _write(ego, "gap_error", _NOBODY_GAP_M - wanted_m)
    return {
        "ego": ego,
        "peers": np.zeros_like(observation["peers"]),
        "peer_mask": np.zeros_like(observation["peer_mask"]),
    }


def _value(ego: NDArray[np.float32], name: str) -> NDArray[np.float64]:
    at = EGO_INDEX[name]
    value: NDArray[np.float64] = ego[:, at].astype(np.float64) * EGO_SCALE[at]
    return value


def _write(ego: NDArray[np.float32], name: str, value: NDArray[np.float64]) -> None:
    at = EGO_INDEX[name]
    ego[:, at] = np.clip(value / EGO_SCALE[at], EGO_LOW[at], EGO_HIGH[at])
