"""The observation space, as Gymnasium has it."""

import numpy as np
from gymnasium import spaces

from ml.onboard.observation.spec import EGO_LIMITS, MAX_PEERS, PEER_LIMITS


def observation_space() -> spaces.Dict:
    """Build the observation space.

    Returns:
        `Dict(ego (21,), peers (8, 23), peer_mask (8,))`, float32 with finite bounds.
    """
    (_, *ego), (_, low, high) = EGO_LIMITS.astype(np.float32), PEER_LIMITS.astype(np.float32)
    return spaces.Dict(
        {
            "ego": spaces.Box(*ego),
            "peers": spaces.Box(np.tile(low, (MAX_PEERS, 1)), np.tile(high, (MAX_PEERS, 1))),
            "peer_mask": spaces.Box(0.0, 1.0, (MAX_PEERS,)),
        }
    )
