"""The convoy environment, as a batch and as a single Gymnasium environment.

Importing this package registers `RoadSense-Convoy-v0`. The Stable-Baselines3 side is in
`ml.envs.convoy_vec_env`, which needs torch; nothing else here does.
"""

import gymnasium as gym

from ml.envs.config import EnvConfig, EpisodeMix, RewardWeights
from ml.envs.convoy_env import ConvoyEnv

ENV_ID = "RoadSense-Convoy-v0"

if ENV_ID not in gym.registry:
    # Episodes have a time limit of their own, so that the config decides; no TimeLimit wrapper.
    gym.register(ENV_ID, entry_point="ml.envs.convoy_env:ConvoyEnv")

__all__ = ["ENV_ID", "ConvoyEnv", "EnvConfig", "EpisodeMix", "RewardWeights"]
