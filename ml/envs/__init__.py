"""The convoy environment, as a batch and as a single Gymnasium environment.

Importing this package registers `RoadSense-Convoy-v0`, for `gymnasium.make` and, as a batch on one
SUMO, for `gymnasium.make_vec`. The Stable-Baselines3 side is in `ml.envs.convoy_vec_env`.
"""

from typing import TYPE_CHECKING, Any

import gymnasium as gym

from ml.envs.config import EnvConfig, EpisodeMix, RewardWeights

if TYPE_CHECKING:
    from ml.envs.convoy_env import ConvoyEnv

ENV_ID = "RoadSense-Convoy-v0"

if ENV_ID not in gym.registry:
    # Episodes have a time limit of their own, so that the config decides; no TimeLimit wrapper.
    gym.register(
        ENV_ID,
        entry_point="ml.envs.convoy_env:make",
        vector_entry_point="ml.envs.convoy_vector_env:ConvoyVectorEnv",
    )

__all__ = ["ENV_ID", "ConvoyEnv", "EnvConfig", "EpisodeMix", "RewardWeights"]


def __getattr__(name: str) -> Any:
    """Import the environment when it is asked for: its compiled loops take seconds to load."""
    if name != "ConvoyEnv":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ml.envs.convoy_env import ConvoyEnv  # noqa: PLC0415

    return ConvoyEnv
