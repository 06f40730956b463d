"""`ConvoyVecEnv`: the batch as a Stable-Baselines3 vectorised environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml.envs.batch_vec_env import BatchVecEnv
from ml.envs.config import EnvConfig, EpisodeKind
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.termination import EpisodeStatus
from ml.errors import EnvironmentStateError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn


class ConvoyVecEnv(BatchVecEnv):
    """Many convoys on one SUMO process, reset one by one as their episodes end.

    Observation and action spaces are those of `ml.envs.convoy_env.ConvoyEnv`. At an episode's end
    `info["episode_summary"]` holds what happened, `info["terminal_observation"]` the last
    observation and `info["TimeLimit.truncated"]` whether the end was not the policy's doing.
    Between ends `info` is empty, for speed: read `batch.truth` for ground truth in arrays.

    Args:
        num_envs: Convoys in the batch.
        config: What an episode is like; None for the defaults.
        seed: Seed of every draw.
        first_env_index: Number of the first convoy, to run part of a larger batch.
        forced_kind: Draw only episodes of this kind.
        sumo_host: Host of a running SUMO (backend `traci`); None starts one.
        sumo_port: Its TraCI port.
    """

    def __init__(
        self,
        num_envs: int = 64,
        config: EnvConfig | None = None,
        *,
        seed: int = 0,
        first_env_index: int = 0,
        forced_kind: EpisodeKind | None = None,
        sumo_host: str | None = None,
        sumo_port: int | None = None,
    ) -> None:
        self.batch = ConvoyBatch(
            config or EnvConfig(),
            num_envs=num_envs,
            seed=seed,
            first_env_index=first_env_index,
            sumo_host=sumo_host,
            sumo_port=sumo_port,
        )
        self.forced_kind = forced_kind
        self._actions: NDArray[np.float32] | None = None
        super().__init__(num_envs)

    def reset(self) -> VecEnvObs:
        """Begin the next episode of every convoy; after `seed`, the first of the new seed."""
        seed = self._seeds[0]
        if seed is not None:
            self.batch.reseed(seed)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        observation = self.batch.reset(kind=self.forced_kind)
        return dict(observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions, (num_envs, 1), for the next `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Simulate a tick; convoys whose episode ends begin their next one."""
        if self._actions is None:
            raise EnvironmentStateError("step_wait without step_async: call step(actions)")
        batch = self.batch
        batch.advance(self._actions)
        self._actions = None
        batch.transmit(batch.truth)
        batch.receive(batch.now_us)
        observation = batch.observe()
        reward = batch.judge()
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = batch.status != EpisodeStatus.RUNNING
        rows = np.flatnonzero(ended)
        if rows.size:
            for row in rows:
                infos[row] = {
                    "terminal_observation": {k: v[row].copy() for k, v in observation.items()},
                    "TimeLimit.truncated": batch.status[row] != EpisodeStatus.COLLISION,
                    "episode_summary": batch.summary(int(row)),
                }
            for key, first in batch.reset(rows, self.forced_kind).items():
                observation[key][rows] = first
        return dict(observation), reward.astype(np.float32), ended, infos

    def tick_metrics(self) -> dict[str, float]:
        """Means over the batch since the last call, named as in TensorBoard."""
        return self.batch.drain_metrics()

    def close(self) -> None:
        """End SUMO; may be called twice."""
        self.batch.close()
