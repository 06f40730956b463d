"""The training environment and the learner, built from a configuration."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from ml.console import silent_console
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.envs.recorded_vec_env import RecordedVecEnv
from ml.errors import EnvironmentStateError
from ml.keyed_random import fold
from ml.onboard.observation.spec import columns_of
from ml.policies.deep_set_policy import create_deep_set_policy_kwargs, studied
from ml.policies.gradient import Layout
from ml.training.checkpoints import ConvoyPPO
from ml.training.config import RecordingConfig, TrainConfig
from ml.training.deployment import Deployment, servers
from ml.training.imitation import taught_arrays
from ml.training.rollouts import (
    HelpingWorkers,
    RolloutMemory,
    exchange_in,
    rollout_arrays,
    update_arrays,
)
from ml.training.update import SharedGradients
from ml.training.workers import WorkersVecEnv

_SEEDS = 2**32


def build_environment(config: TrainConfig, deployment: Deployment, seed: int) -> WorkersVecEnv:
    """Build the workers with their convoys, live or of recorded traffic.

    They and SUMO start at the first reset.

    Raises:
        UsageError: The scenario, the radio or the backend cannot be used.
    """
    remote = config.env.backend == "traci" and bool(deployment.sumo_hosts)
    make: Callable[..., ConvoyVecEnv] = ConvoyVecEnv
    if config.recording.episodes:
        make = partial(_record_share, config.recording, config.num_envs)
    return WorkersVecEnv(
        config.num_envs,
        config.env,
        make=make,
        workers=config.workers,
        seed=seed,
        sumo=servers(deployment.sumo_hosts) if remote else None,
        # Docker does not restart what `docker kill` has ended; the night's training goes on.
        embedded_spare=remote,
    )


def _record_share(
    recording: RecordingConfig, whole: int, num_envs: int, *arguments: Any, **options: Any
) -> RecordedVecEnv:
    """Make a worker's part of a recording, for `num_envs` of `whole` convoys."""
    each = -(-recording.episodes // whole)
    first = options.get("first_env_index", 0) == 0
    return RecordedVecEnv(
        num_envs,
        *arguments,
        episodes=each * num_envs,
        memory_mb=recording.memory_mb * num_envs / whole,
        # One bar is enough: workers are done at about the same time.
        console=None if first else silent_console(),
        **options,
    )


def seed_from(seed: int, start_step: int) -> int:
    """Seed of a part of a run that starts at a step.

    A resumed run must not meet again the episodes that it has already learnt from, so each part
    has a seed of its own; that of the first part is the run's.
    """
    if start_step == 0:
        return seed
    return int(fold(seed, start_step)[0]) % _SEEDS


def build_learner(config: TrainConfig, environment: VecEnv, seed: int) -> ConvoyPPO:
    """Build PPO with a fresh policy, on the CPU and one thread.

    The networks are so small that further threads cost more than they bring.
    """
    torch.set_num_threads(1)
    ppo = config.ppo
    rate: float | LinearSchedule = ppo.learning_rate
    if ppo.learning_rate_schedule == "linear":
        rate = LinearSchedule(ppo.learning_rate, 0.0, 1.0)
    policy = config.policy
    policy_kwargs = create_deep_set_policy_kwargs(
        policy.peer_embed_dim, log_std_init=policy.log_std_init
    )
    if policy.hidden or policy.pooling != "max and mean":
        policy_kwargs = studied(
            policy_kwargs,
            hidden_ego=columns_of("ego", policy.hidden),
            hidden_peers=columns_of("peers", policy.hidden),
            pooling=policy.pooling,
        )
    model = ConvoyPPO(
        "MultiInputPolicy",
        environment if isinstance(environment, WorkersVecEnv) else VecMonitor(environment),
        learning_rate=rate,
        n_steps=config.steps_per_env,
        # All others of the section have SB3's names.
        **ppo.model_dump(exclude={"learning_rate", "learning_rate_schedule", "n_steps"}),
        policy_kwargs=policy_kwargs,
        seed=seed,
        device="cpu",
    )
    if isinstance(environment, WorkersVecEnv):
        _share(config, model, environment)
    model.interface = config.interface
    return model


def _share(config: TrainConfig, model: ConvoyPPO, environment: WorkersVecEnv) -> None:
    """Put what the workers fill and compute where they see it."""
    layout = Layout.of(model.policy)
    if layout is None:
        raise EnvironmentStateError("the policy's gradient is not one that workers can compute")
    arrays = environment.arrays
    arrays.add(rollout_arrays(config.steps_per_env, config.num_envs))
    arrays.add(update_arrays(layout, config.ppo.n_steps))
    if config.imitation_rounds:
        arrays.add(taught_arrays(config.imitation.ticks, config.num_envs))
    ppo = config.ppo
    model.rollout_buffer = RolloutMemory(arrays, gamma=ppo.gamma, gae_lambda=ppo.gae_lambda)
    helpers = HelpingWorkers(environment, layout) if environment.num_workers > 1 else None
    model.gradients = SharedGradients(layout, exchange_in(arrays), helpers)
