"""The observation's bounds and space come from one specification."""

import numpy as np

from ml.envs.spaces import observation_space
from ml.onboard.observation.spec import EGO_FEATURES, MAX_PEERS, PEER_FEATURES


def test_the_space_is_float32_with_finite_bounds():
    """Every entry is bounded, and a row of padding lies within the bounds."""
    space = observation_space()
    assert space["ego"].shape == (len(EGO_FEATURES),)
    assert space["peers"].shape == (MAX_PEERS, len(PEER_FEATURES))
    assert space["peer_mask"].shape == (MAX_PEERS,)
    for box in space.spaces.values():
        assert box.dtype == np.float32
        assert np.isfinite(box.low).all()
        assert np.isfinite(box.high).all()
    assert space["peers"].contains(np.zeros((MAX_PEERS, len(PEER_FEATURES)), dtype=np.float32))


def test_feature_names_are_unique():
    """A name finds one column."""
    for features in (EGO_FEATURES, PEER_FEATURES):
        assert len({feature.name for feature in features}) == len(features)
