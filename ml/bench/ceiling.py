"""An environment that does nothing, with the spaces of the real one: the learner's ceiling."""

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from ml.envs.convoy_vec_env import BatchVecEnv
from ml.envs.spaces import observation_space


class NoOpVecEnv(BatchVecEnv):
    """Returns the same observation, reward 0 and no end, at no cost."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs)
        space = observation_space()
        self._obs = {
            key: np.zeros((num_envs, *box.shape), dtype=np.float32)  # type: ignore[misc]
            for key, box in space.spaces.items()
        }
        self._rewards = np.zeros(num_envs, dtype=np.float32)
        self._dones = np.zeros(num_envs, dtype=bool)
        self._infos: list[dict[str, Any]] = [{} for _ in range(num_envs)]

    def reset(self) -> VecEnvObs:
        """Return the one observation."""
        return self._obs

    def step_async(self, actions: np.ndarray) -> None:
        """Ignore the actions."""

    def step_wait(self) -> VecEnvStepReturn:
        """Return the one observation again."""
        return self._obs, self._rewards, self._dones, self._infos

    def close(self) -> None:
        """Nothing to end."""
