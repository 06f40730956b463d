# ruff: noqa: D102, ARG002 (the methods are those of SB3's VecEnv)
"""A small environment with the convoy's spaces and a signal that a set policy can learn.

Every peer that is heard tells the wanted action in its first feature; rows that are masked tell
something else. A constant action returns 5 at most, the best policy 10.
It is for fast tests of the training loop; whether the convoys themselves are right is tested
against SUMO.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from ml.envs.spaces import observation_space
from ml.keyed_random import fold, uniform
from ml.training.checkpoints import load_model
from ml.training.evaluated import Evaluated
from ml.vehicle import DT_S

if TYPE_CHECKING:
    from ml.envs.config import RewardWeights
    from ml.training.config import TrainConfig
    from ml.training.deployment import Deployment

EPISODE_TICKS = 10
KINDS = ("hazard", "benign", "free")


class TinyConvoys(VecEnv):
    """A batch of `num_envs` games of ten ticks; every other episode ends as a crash."""

    render_mode: ClassVar[str | None] = None
    weights: ClassVar[list[RewardWeights]] = []
    """What a curriculum has set, of all batches; this game's own reward heeds none."""

    def __init__(self, num_envs: int = 4, seed: int = 0) -> None:
        super().__init__(num_envs, observation_space(), spaces.Box(-1.0, 1.0, (1,)))
        self.game_seed = seed
        self.closed = False
        self._tick = np.zeros(num_envs, dtype=np.int64)
        self._episode = np.zeros(num_envs, dtype=np.int64)
        self._return = np.zeros(num_envs)
        self._action = np.zeros(num_envs)

    def _observe(self) -> dict[str, np.ndarray]:
        key = fold(self.game_seed, np.arange(self.num_envs), self._episode, self._tick)
        observation = {}
        for what, (name, box) in enumerate(self.observation_space.spaces.items()):
            cells = np.arange(np.prod(box.shape)).reshape(box.shape)
            share = uniform(fold(key.reshape(-1, *[1] * len(box.shape)), what, cells))
            observation[name] = (share * box.high).astype(np.float32)
        heard = observation["peer_mask"] > 0.5
        observation["peer_mask"] = heard.astype(np.float32)
        told = uniform(fold(key, len(KINDS))).astype(np.float32)[:, None]
        first, high = observation["peers"][:, :, 0], self.observation_space["peers"].high[0, 0]
        observation["peers"][:, :, 0] = np.where(heard, told * high, first)
        return observation

    def set_reward_weights(self, weights: RewardWeights) -> None:
        self.weights.append(weights)

    def _wanted(self) -> np.ndarray:
        key = fold(self.game_seed, np.arange(self.num_envs), self._episode, self._tick)
        return 2.0 * uniform(fold(key, len(KINDS))) - 1.0

    def reset(self) -> dict[str, np.ndarray]:
        self._tick[:] = 0
        self._episode += 1
        self._return[:] = 0.0
        return self._observe()

    def step_async(self, actions: np.ndarray) -> None:
        self._action = actions[:, 0].astype(np.float64)

    def step_wait(self):
        rewards = (1.0 - np.abs(self._action - self._wanted())).astype(np.float32)
        self._return += rewards
        self._tick += 1
        dones = self._tick == EPISODE_TICKS
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if dones.any():
            last = self._observe()
            for index in np.flatnonzero(dones):
                crash = bool(self._episode[index] % 2)
                infos[index] = {
                    "terminal_observation": {k: v[index] for k, v in last.items()},
                    "TimeLimit.truncated": not crash,
                    "episode_summary": {
                        "kind": KINDS[self._episode[index] % 3],
                        "collision": crash,
                        "invalid": False,
                        "return": float(self._return[index]),
                        "duration_s": EPISODE_TICKS * DT_S,
                    },
                }
            self._tick[dones] = 0
            self._episode[dones] += 1
            self._return[dones] = 0.0
        return self._observe(), rewards, dones, infos

    def tick_metrics(self) -> dict[str, float]:
        return {"reward/headway": 0.5, "radio/age_p50_s": 0.066, "radio/delivery_ratio": 0.9}

    def close(self) -> None:
        self.closed = True

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        return [getattr(self, method_name)(*args, **kwargs)] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None):
        return [False] * self.num_envs


def build_tiny(config: TrainConfig, deployment: Deployment, seed: int) -> TinyConvoys:
    """Stand in for the environment builder of a training."""
    del deployment
    return TinyConvoys(config.num_envs, seed)


def evaluate_tiny(content: bytes, config: TrainConfig) -> Evaluated:
    """Play the game with a model; runs in the evaluation child."""
    model = load_model(io.BytesIO(content))
    env = TinyConvoys(config.evaluation.episodes, config.evaluation.seed)
    obs, total = env.reset(), 0.0
    for _ in range(EPISODE_TICKS):
        obs, rewards, _, _ = env.step(model.predict(obs, deterministic=True)[0])
        total += float(rewards.mean())
    score = total / 10.0
    unknown = {"hazard_collision_rate": float("nan")}
    by_case = (score,) * config.evaluation.episodes
    return Evaluated({"mean_return": total, "safety_score": score, **unknown}, by_case)
