"""`ConvoyVecEnv`: the batch as a Stable-Baselines3 vectorised environment."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from ml.arrays import Floats, Ints
from ml.envs.arguments import read_actions, read_config, read_kind, read_options
from ml.envs.config import EnvConfig, EpisodeKind, RewardWeights
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.scoring.termination import EpisodeStatus
from ml.envs.spaces import observation_space
from ml.envs.worlds.recovery import SUMO_LOST
from ml.errors import ConfigError, EnvironmentStateError
from ml.onboard.observation.spec import Observation
from ml.sumo.protocol import SumoAccess

_RUNNING, _COLLISION = int(EpisodeStatus.RUNNING), int(EpisodeStatus.COLLISION)


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
        """Return no pictures: who drives beside a SUMO has some."""
        return [None] * self.num_envs


class ConvoyVecEnv(BatchVecEnv):
    """Many convoys on one SUMO process, reset one by one as their episodes end.

    Observation and action spaces are those of `ml.envs.convoy_env.ConvoyEnv`. At an episode's end
    `info["episode_summary"]` holds what happened, `info["terminal_observation"]` the last
    observation and `info["TimeLimit.truncated"]` whether the end was not the policy's doing.
    Between ends `info` is empty, for speed: read `batch.truth` for ground truth in arrays.

    SUMO may be lost over TraCI (killed, frozen, its container gone). Then every running episode is
    truncated at the last observation that there is, and all convoys begin new episodes on a SUMO
    that was started or reached again (`ml.envs.worlds.recovery`). The tick that was lost counts as
    a step with reward 0.

    Args:
        num_envs: Convoys in the batch.
        config: What an episode is like, or its values as a mapping; None for the defaults.
        seed: Seed of every draw.
        first_env_index: Number of the first convoy, to run part of a larger batch.
        forced_kind: Draw only episodes of this kind.
        sumo_host: Host of a running SUMO (backend `traci`); None starts one.
        sumo_port: Its TraCI port.
        sumo_deadline_s: Longest wait for SUMO: to connect, to answer, to come back (`traci`).
        embedded_spare: Go on with an embedded SUMO where one that was lost does not come back.
    """

    def __init__(
        self,
        num_envs: int = 64,
        config: EnvConfig | Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        first_env_index: int = 0,
        forced_kind: EpisodeKind | None = None,
        sumo_host: str | None = None,
        sumo_port: int | None = None,
        sumo_deadline_s: float = 30.0,
        embedded_spare: bool = False,
    ) -> None:
        self.batch = ConvoyBatch(
            read_config(config),
            num_envs=num_envs,
            seed=seed,
            first_env_index=first_env_index,
            sumo=SumoAccess(
                sumo_host, sumo_port, deadline_s=sumo_deadline_s, embedded_spare=embedded_spare
            ),
        )
        self.forced_kind = (
            forced_kind if forced_kind is None else read_kind(forced_kind, "forced_kind")
        )
        self._accel_mps2: Floats | None = None
        self._seen: Observation = {}
        super().__init__(num_envs)
        self.render_mode = "rgb_array"  # which costs nothing until somebody asks for a picture

    def reset(self) -> VecEnvObs:
        """Begin the next episode of every convoy; after `seed`, the first of the new seed.

        After `set_options`, with `{"episode": kind}` for all convoys or one such mapping for each,
        the episodes that begin here are of those kinds, and the ones after them as before.

        Raises:
            ConfigError: An option is unknown, or there are not as many as convoys.
        """
        try:
            kinds = self._asked_kinds()
        finally:
            self._reset_options()  # wrong ones, too: the next reset is free of them
        if self._seeds[0] is not None:
            self.batch.reseed(self._seeds[0])
        self._reset_seeds()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self.batch.mend()
        self._seen = {
            key: np.empty((self.num_envs, *(box.shape or ())), box.dtype)
            for key, box in observation_space().spaces.items()
        }
        for kind in dict.fromkeys(kinds):
            rows = np.flatnonzero([wanted == kind for wanted in kinds])
            for key, first in self.batch.reset(rows, kind).items():
                self._seen[key][rows] = first
        return dict(self._seen)

    def _asked_kinds(self) -> list[EpisodeKind | None]:
        """Read the options of the next reset: the kind of each convoy's episode."""
        if len(self._options) != self.num_envs:
            raise ConfigError(
                f"set_options was given {len(self._options)} mappings for {self.num_envs} convoys; "
                "give one for all, or a list of one for each."
            )
        return [read_options(options) or self.forced_kind for options in self._options]

    def step_async(self, actions: object) -> None:
        """Take the actions, (num_envs, 1) numbers in [−1, 1], for the next `step_wait`.

        Raises:
            EnvironmentStateError: They are wrong.
        """
        self._accel_mps2 = None
        self._accel_mps2 = read_actions(actions, (self.num_envs, 1))

    def step_wait(self) -> VecEnvStepReturn:
        """Simulate a tick; convoys whose episode ends begin their next one.

        Raises:
            EnvironmentStateError: There are no actions.
            SimulatorError: SUMO failed, or was lost and did not come back.
        """
        if self._accel_mps2 is None:
            raise EnvironmentStateError("step_wait without step_async: call step(actions)")
        batch, accel_mps2, self._accel_mps2 = self.batch, self._accel_mps2, None
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        try:
            observation, reward, status, _ = batch.step(accel_mps2)
        except SUMO_LOST as error:
            self._begin_anew(error, self._seen, infos)
            everyone = np.ones(self.num_envs, dtype=bool)
            return dict(self._seen), np.zeros(self.num_envs, np.float32), everyone, infos
        ended = status != _RUNNING
        rows = np.flatnonzero(ended)
        if rows.size:
            self._describe_ends(rows, observation, infos)
            try:
                for key, first in batch.reset(rows, self.forced_kind).items():
                    observation[key][rows] = first
            except SUMO_LOST as error:
                self._begin_anew(error, observation, infos)
                ended[:] = True
                return dict(self._seen), reward.astype(np.float32), ended, infos
        self._seen = observation
        return dict(observation), reward.astype(np.float32), ended, infos

    def _describe_ends(self, rows: Ints, last: Observation, infos: list[dict[str, Any]]) -> None:
        """Fill the infos of convoys whose episode has ended, `last` being its last observation."""
        batch = self.batch
        for row in rows:
            infos[row] = {
                "terminal_observation": {k: v[row].copy() for k, v in last.items()},
                "TimeLimit.truncated": bool(batch.status[row] != _COLLISION),
                "episode_summary": batch.summary(int(row)),
            }

    def _begin_anew(self, loss: Exception, last: Observation, infos: list[dict[str, Any]]) -> None:
        """Truncate what ran on a lost SUMO and begin all convoys' next episodes on another."""
        self._describe_ends(self.batch.lose(loss), last, infos)
        while True:
            try:
                self._seen = self.batch.reset(kind=self.forced_kind)
            except SUMO_LOST as error:
                self.batch.lose(error)
            else:
                return

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return a picture of each convoy, (200, 800, 3) uint8, which `render()` tiles.

        Raises:
            EnvironmentStateError: No episode has begun, or the environment is closed.
        """
        return [self.batch.picture(row) for row in range(self.num_envs)]

    def set_reward_weights(self, weights: RewardWeights) -> None:
        """Weigh the reward's terms in another way from now on, as a curriculum does."""
        self.batch.set_reward_weights(weights)

    def tick_metrics(self) -> dict[str, float]:
        """Means over the batch since the last call, named as in TensorBoard."""
        return self.batch.drain_metrics()

    def close(self) -> None:
        """End SUMO; may be called twice."""
        self.batch.close()
