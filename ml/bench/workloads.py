"""What the bench measures: each workload runs a slice of work and says how many steps it did.

Letters are those of the report: (a) SUMO with its necessary traffic, (b) the environment, (c)
training by workers, as `roadsense train` does it, (d) Stable-Baselines3's PPO on an environment
that does nothing, in one process; (e) b and c over TraCI; (f) the naive baseline, in
`ml.bench.naive_baseline`; (g, h) as c and d with everything on; (i, j) b with its radio by the
reference ego, live and recorded; (k) b and c by 1, 2, 4 … workers; (l) b as
`gymnasium.make_vec` makes it. The radio alone is in `ml.bench.radio_alone`.
"""

import importlib
from typing import Any, Protocol, cast

import gymnasium
import numpy as np
from pydantic import ValidationError
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from ml.envs.config import EnvConfig
from ml.envs.convoy_vec_env import BatchVecEnv, ConvoyVecEnv
from ml.envs.convoy_vector_env import ConvoyVectorEnv
from ml.envs.spaces import observation_space
from ml.errors import ConfigError
from ml.policies.deep_set_policy import create_deep_set_policy_kwargs
from ml.sumo.factory import Backend
from ml.sumo.names import vehicle_id
from ml.training.config import EvaluationConfig, PpoConfig, TrainConfig
from ml.training.config_files import Layers
from ml.training.workers import Share, WorkersVecEnv

STEPS_PER_ENV = 128


class Workload(Protocol):
    """Something, called `name` in the report, that can be run for a while, again and again."""

    name: str

    def prepare(self) -> None:
        """Get ready, untimed."""

    def run(self) -> int:
        """Do a slice of work and return how many environment steps it was."""


class BareSumo:
    """(a) Step, one speed command per convoy, lane position and speed of every car read.

    The smallest work that any environment must have SUMO do, as plain libsumo calls on the
    simulation that an environment has just reset; nothing is computed from what is read.
    """

    name = "a: SUMO with its necessary traffic"

    def __init__(self, env: ConvoyVecEnv) -> None:
        self._env = env
        # The compiled functions under libsumo's Python wrappers, the fastest there are.
        self._native: Any = importlib.import_module("libsumo._libsumo")

    def prepare(self) -> None:
        """Put every convoy at the start of an episode."""
        self._env.reset()

    def run(self) -> int:
        """Drive the egos at their speeds for a while, behind the environment's back."""
        env, native = self._env, self._native
        batch = env.batch
        present = np.argwhere(batch.truth.present)
        names = [vehicle_id(int(convoy), int(slot)) for convoy, slot in present]
        egos = [vehicle_id(convoy, 0) for convoy in range(env.num_envs)]
        speeds = batch.truth.speed_mps[:, 0].tolist()
        step, command = native.simulation_step, native.vehicle_setSpeed
        position, speed = native.vehicle_getLanePosition, native.vehicle_getSpeed
        for _ in range(STEPS_PER_ENV):
            for name, value in zip(egos, speeds, strict=True):
                command(name, value)
            step()
            for name in names:
                position(name)
            for name in names:
                speed(name)
        return STEPS_PER_ENV * env.num_envs


class Driving:
    """(b, l) The environment, stepped with small random actions."""

    def __init__(
        self, env: ConvoyVecEnv | ConvoyVectorEnv, name: str = "b: the environment"
    ) -> None:
        self.name = name
        self._env = env
        rng = np.random.default_rng(0)
        size = (STEPS_PER_ENV, env.num_envs, 1)
        self._actions = rng.uniform(-0.2, 0.2, size).astype(np.float32)

    def prepare(self) -> None:
        """Begin anew: another workload may have moved the cars."""
        self._env.reset()

    def run(self) -> int:
        """Drive for a while, through the resets that fall due."""
        for action in self._actions:
            self._env.step(action)
        return STEPS_PER_ENV * self._env.num_envs


class DrivingWorkers:
    """The environment in worker processes, stepped with small random actions; nothing learns."""

    def __init__(self, env: WorkersVecEnv, name: str) -> None:
        self.name = name
        self._env = env

    def prepare(self) -> None:
        """Begin anew."""
        self._env.reset()

    def run(self) -> int:
        """Drive for a while, each worker by itself."""
        self._env.run(_drive_share, STEPS_PER_ENV)
        return STEPS_PER_ENV * self._env.num_envs


def _drive_share(share: Share, ticks: int) -> None:
    rng = np.random.default_rng(share.number)
    size = (ticks, share.starts.size, 1)
    for action in rng.uniform(-0.2, 0.2, size).astype(np.float32):
        share.step(action, share.seen)


class Learning:
    """(c to h) PPO end to end: rollouts, updates, all that Stable-Baselines3 does around them."""

    def __init__(self, model: PPO, name: str, rollouts: int = 2) -> None:
        self.name = name
        self.env: Any = model.env
        self._steps = rollouts * model.n_steps * model.n_envs
        self._model = model

    def prepare(self) -> None:
        """Nothing: learning goes on from where it was."""

    def run(self) -> int:
        """Learn on for some rollouts."""
        self._model.learn(self._steps, reset_num_timesteps=False)
        return self._steps


class NoOpVecEnv(BatchVecEnv):
    """Returns the same observation, reward 0 and no end, at no cost: the learner's ceiling."""

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


def environment(
    num_envs: int, num_peers: int, radio: str, backend: str = "libsumo"
) -> ConvoyVecEnv:
    """Open an environment and reset it.

    Raises:
        ConfigError: A number is out of range.
    """
    env = ConvoyVecEnv(num_envs, sized_config(num_peers, radio, backend=backend))
    env.reset()
    return env


def vector_environment(num_envs: int, num_peers: int, radio: str) -> ConvoyVectorEnv:
    """Open the environment by `gymnasium.make_vec`, on SUMO in this process, and reset it.

    Raises:
        ConfigError: A number is out of range.
    """
    config = sized_config(num_peers, radio)
    env = gymnasium.make_vec("ml.envs:RoadSense-Convoy-v0", num_envs=num_envs, config=config)
    env.reset()
    return cast("ConvoyVectorEnv", env)


def sized_config(num_peers: int, radio: str, **changes: str) -> EnvConfig:
    """Return the defaults with so many peers on a radio, and other changes.

    Raises:
        ConfigError: A number is out of range.
    """
    try:
        return EnvConfig.model_validate(
            {"num_peers": (num_peers, num_peers), "radio": radio, **changes}
        )
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise ConfigError(f"num_peers = {num_peers}: {message}") from error


def plain_learner(env: VecEnv, n_steps: int, batch_size: int, n_epochs: int) -> PPO:
    """Build PPO with so many steps per environment, Stable-Baselines3's defaults for the rest."""
    return PPO(
        "MultiInputPolicy",
        env,
        n_steps=n_steps,
        batch_size=min(batch_size, n_steps * env.num_envs),
        n_epochs=n_epochs,
        policy_kwargs=create_deep_set_policy_kwargs(),
        device="cpu",
        seed=0,
    )


def plain_config(num_envs: int, num_peers: int, radio: str, backend: Backend) -> TrainConfig:
    """Return what (c) trains with: 128 ticks of each convoy, minibatches of 1,024, 4 epochs.

    Raises:
        ConfigError: A number is out of range.
    """
    n_steps = STEPS_PER_ENV * num_envs
    return TrainConfig(
        num_envs=num_envs,
        env=sized_config(num_peers, radio, backend=backend),
        ppo=PpoConfig(n_steps=n_steps, batch_size=min(1024, n_steps), n_epochs=4),
        evaluation=EvaluationConfig(every_steps=0),
    )


def preset_config(num_envs: int, radio: str) -> TrainConfig:
    """Return what `roadsense train --preset ppo --domain-randomisation True` trains with.

    So many convoys with one to eight peers; a radio with contention and relays, sensors with their
    errors, all parameters drawn anew per episode. A rollout stays as long as the preset's for each
    convoy.

    Raises:
        ConfigError: A number is out of range.
    """
    layers = Layers()
    layers.put_preset("ppo")
    per_env = layers.build().steps_per_env
    layers.put(("num_envs",), num_envs, "--num-envs")
    layers.put(("env", "radio"), radio, "--radio")
    layers.put(("env", "domain_randomisation"), True, "--domain-randomisation")  # noqa: FBT003
    layers.put(("ppo", "n_steps"), per_env * num_envs, "the bench")
    config = layers.build()
    if config.ppo.n_steps % config.ppo.batch_size:
        layers.put(("ppo", "batch_size"), config.ppo.n_steps, "the bench")
        config = layers.build()
    return config
