"""The observation space, as Gymnasium has it."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from ml.onboard.observation.spec import EGO_HIGH, EGO_LOW, MAX_PEERS, PEER_HIGH, PEER_LOW


def observation_space() -> spaces.Dict:
    """Build the observation space.

    Returns:
        `Dict(ego (21,), peers (8, 23), peer_mask (8,))`, float32 with finite bounds.
    """
    # Absent peers are rows of zeros, so zero lies within every bound of a peer's row.
    low = np.minimum(PEER_LOW, 0.0).astype(np.float32)
    high = np.maximum(PEER_HIGH, 0.0).astype(np.float32)
    return spaces.Dict(
        {
            "ego": spaces.Box(EGO_LOW.astype(np.float32), EGO_HIGH.astype(np.float32)),
            "peers": spaces.Box(np.tile(low, (MAX_PEERS, 1)), np.tile(high, (MAX_PEERS, 1))),
            "peer_mask": spaces.Box(0.0, 1.0, (MAX_PEERS,)),
        }
    )
