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


def test_the_return_is_the_sum_of_the_rewards_whatever_the_weights_were():
    """Weights change every few ticks: an episode's return, and its terms, are what was paid."""
    env = ConvoyVecEnv(2, EnvConfig(radio="ideal", episode_s=5.0), seed=4)
    env.reset()
    earned, ended = np.zeros(2), {}
    for tick in range(50):
        if tick % 7 == 0:
            weight = 0.1 * (tick % 3)
            env.set_reward_weights(RewardWeights(comfort=weight, false_braking=1.0 - weight))
        action = np.full((2, 1), 0.3 if tick % 2 else -0.4, np.float32)
        _, reward, done, infos = env.step(action)
        earned += reward
        ended |= {row: infos[row]["episode_summary"] for row in np.flatnonzero(done)}
    env.close()
    assert ended.keys() == {0, 1}
    for row, summary in ended.items():
        assert summary["return"] == pytest.approx(earned[row], abs=1e-4)
        terms = sum(value for name, value in summary.items() if name.startswith("reward_"))
        assert terms == pytest.approx(earned[row], abs=1e-4)
