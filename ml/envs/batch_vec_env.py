"""What Stable-Baselines3 asks of a vectorised environment that is one thing, not a list of many."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from ml.envs.spaces import observation_space
from ml.errors import EnvironmentStateError

_FOR_ALL = frozenset({"reset", "step", "step_async", "step_wait"})


class BatchVecEnv(VecEnv):
    """A vectorised environment with the spaces of a convoy, whose rows share one configuration."""

    def __init__(self, num_envs: int) -> None:
        self.render_mode: str | None = None
        action_space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)
        super().__init__(num_envs, observation_space(), action_space)

    def _get_indices(self, indices: int | Iterable[int] | None) -> list[int]:
        """Return the places in the batch that are meant, of which each must exist."""
        if indices is None:
            return list(range(self.num_envs))
        chosen = [int(indices)] if isinstance(indices, int | np.integer) else list(indices)
        for index in chosen:
            if not -self.num_envs <= index < self.num_envs:
                raise EnvironmentStateError(
                    f"index {index}: the batch has convoys 0 to {self.num_envs - 1}"
                )
        return chosen

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
        """Call a method of the batch environment once; its result, once per index.

        Raises:
            EnvironmentStateError: It was asked for some convoys only, or the method is one that
                returns something for each convoy already.
        """
        if method_name in _FOR_ALL:
            raise EnvironmentStateError(
                f"env_method({method_name!r}): the convoys of a batch are one environment; call "
                f"{method_name}() of the vectorised environment itself"
            )
        if {index % self.num_envs for index in self._get_indices(indices)} != set(
            range(self.num_envs)
        ):
            raise EnvironmentStateError(
                f"env_method({method_name!r}, indices={indices!r}): it would act on all "
                f"{self.num_envs} convoys of the batch; leave indices out"
            )
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
