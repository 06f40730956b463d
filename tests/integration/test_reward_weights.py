"""The weights of the reward may change while a run learns."""

import numpy as np
import pytest

from ml.envs.config import EnvConfig, RewardWeights
from ml.envs.convoy_vec_env import ConvoyVecEnv

pytestmark = pytest.mark.sumo


def test_weights_count_from_the_tick_after_they_are_set():
    """The same jerks cost nothing at weight 0 and their full price later; nothing else changes."""
    silent = RewardWeights(comfort=0.0)
    rewards = []
    for later in (silent, silent.model_copy(update={"comfort": 1.0})):
        env = ConvoyVecEnv(4, EnvConfig(reward=silent, radio="ideal"), seed=3)
        env.reset()
        earned = []
        for tick in range(40):
            if tick == 20:
                env.set_reward_weights(later)
            action = np.full((4, 1), 0.2 if tick % 2 else -0.1, np.float32)
            earned.append(env.step(action)[1])
        rewards.append(np.array(earned))
        env.close()
    lost = rewards[0] - rewards[1]
    assert not lost[:20].any()
    assert (lost[20:] >= 0.0).all()
    assert (lost[20:].max(axis=0) > 0.5).all()
