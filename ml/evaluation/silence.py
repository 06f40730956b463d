"""What a policy would observe if its radio were off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.envs.observation_spec import EGO_HIGH, EGO_INDEX, EGO_SCALE

if TYPE_CHECKING:
    from ml.envs.observation import Observation

_NOBODY_GAP_M = 150.0
_SLOWEST_MPS = 2.0
_OF_NOBODY = {
    "peers_heard": 0.0,
    "silence": 10.0,
    "nearest_gap": _NOBODY_GAP_M,
    "nearest_closing": 0.0,
    "hardest_braking": 0.0,
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
    speed_mps = ego[:, EGO_INDEX["speed"]] * EGO_SCALE[EGO_INDEX["speed"]]
    at = EGO_INDEX["nearest_time_gap"]
    time_gap = _NOBODY_GAP_M / np.maximum(speed_mps, _SLOWEST_MPS) / EGO_SCALE[at]
    ego[:, at] = np.minimum(time_gap, EGO_HIGH[at])
    return {
        "ego": ego,
        "peers": np.zeros_like(observation["peers"]),
        "peer_mask": np.zeros_like(observation["peer_mask"]),
    }
