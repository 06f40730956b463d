"""What Stable-Baselines3 asks of a vectorised environment that is one thing, not a list of many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from ml.envs.observation_spec import observation_space
from ml.errors import EnvironmentStateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class BatchVecEnv(VecEnv):
    """A vectorised environment with the spaces of a convoy, whose rows share one configuration."""

    def __init__(self, num_envs: int) -> None:
        self.render_mode: str | None = None
        action_space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)
        super().__init__(num_envs, observation_space(), action_space)

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """Return an attribute of the batch, once per index."""
        value = getattr(self, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(
        self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None
    ) -> None:
        """Refuse: convoys of a batch share one configuration."""
        raise EnvironmentStateError(
            f"cannot set {attr_name!r} (indices {indices!r}, value {value!r}): the convoys of a "
            "batch share one configuration; build another ConvoyVecEnv"
        )

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: int | Iterable[int] | None = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method of the batch environment once; its result, once per index."""
        result = getattr(self, method_name)(*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[Any], indices: int | Iterable[int] | None = None
    ) -> list[bool]:
        """Say that no convoy is wrapped by itself: `wrapper_class` cannot be found inside."""
        del wrapper_class
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return no pictures; SUMO's own window shows a single `ConvoyEnv`."""
        return [None] * self.num_envs
