"""An environment that does nothing, with the spaces of the real one: the learner's ceiling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from ml.envs.observation_spec import observation_space
from ml.errors import EnvironmentStateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn


class NoOpVecEnv(VecEnv):
    """Returns the same observation, reward 0 and no end, at no cost."""

    def __init__(self, num_envs: int) -> None:
        space = observation_space()
        self.render_mode: str | None = None
        super().__init__(num_envs, space, spaces.Box(-1.0, 1.0, (1,), dtype=np.float32))
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

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """Return an attribute, once per index."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(
        self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None
    ) -> None:
        """Refuse: there is nothing to set."""
        raise EnvironmentStateError(f"cannot set {attr_name!r} to {value!r} ({indices!r})")

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: int | Iterable[int] | None = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method once; its result, once per index."""
        result = getattr(self, method_name)(*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[Any], indices: int | Iterable[int] | None = None
    ) -> list[bool]:
        """Nothing is wrapped."""
        del wrapper_class
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return no pictures."""
        return [None] * self.num_envs
