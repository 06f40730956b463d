"""PPO's rollouts, collected where the convoys are: a worker acts, simulates and records by itself.

So all cores simulate and act at once and nobody waits for anybody within a rollout. An action's
noise is drawn by convoy and step, and the policy's forward pass goes row by row: a rollout is the
same, bit for bit, whatever the number of workers.
"""

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import DTypeLike
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback

from ml.envs.spaces import observation_space
from ml.keyed_random import Stream, fold, normal
from ml.policies.compiled_policy import CompiledPolicy, Float32s
from ml.policies.gradient import Layout
from ml.training.update import Exchange, GradientParts, Rollout, exchanged
from ml.training.workers import Share, SharedArrays, WorkersVecEnv

_LOG_ROOT_TAU = 0.5 * math.log(2.0 * math.pi)
_NAMES = tuple(observation_space().spaces)

Ends = list[tuple[int, int, dict[str, Any]]]


def rollout_arrays(ticks: int, num_envs: int) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
    """Shapes and dtypes of what a rollout of so many ticks records, for `WorkersVecEnv`.

    A row further than the ticks have observations, values and starts of episodes: those after the
    last step.
    """
    steps, states = (ticks, num_envs), (ticks + 1, num_envs)
    seen = {
        f"rollout/{name}": ((*states, *(box.shape or ())), np.float32)
        for name, box in observation_space().spaces.items()
    }
    return {
        **seen,
        "rollout/actions": ((*steps, 1), np.float32),
        "rollout/rewards": (steps, np.float32),
        "rollout/log_probs": (steps, np.float32),
        "rollout/natural_weights": (steps, np.float64),
        "rollout/advantages": (steps, np.float32),
        "rollout/returns": (steps, np.float32),
        "rollout/values": (states, np.float32),
        "rollout/starts": (states, np.float32),
    }


class RolloutMemory(DictRolloutBuffer):
    """A rollout buffer of Stable-Baselines3 over arrays that workers fill.

    Args:
        arrays: Among them those of `rollout_arrays`.
        gamma: Discount per tick.
        gae_lambda: Bias against variance in the advantage estimate.

    Attributes:
        natural_weights: (ticks, num_envs) float64; see `ConvoyBatch.natural_weight`.
    """

    def __init__(self, arrays: SharedArrays, *, gamma: float, gae_lambda: float) -> None:
        self._arrays = arrays
        self.natural_weights = arrays["rollout/natural_weights"]
        ticks, num_envs = self.natural_weights.shape
        super().__init__(
            ticks,
            observation_space(),
            spaces.Box(-1.0, 1.0, (1,), dtype=np.float32),
            device="cpu",
            gamma=gamma,
            gae_lambda=gae_lambda,
            n_envs=num_envs,
        )

    def reset(self) -> None:
        """View the arrays; what was recorded stays until it is written over."""
        of, ticks = self._arrays, self.buffer_size
        self.observations = {name: of[f"rollout/{name}"][:ticks] for name in _NAMES}
        self.actions, self.rewards = of["rollout/actions"], of["rollout/rewards"]
        self.log_probs = of["rollout/log_probs"]
        self.values, self.episode_starts = (
            of[f"rollout/{name}"][:ticks] for name in ("values", "starts")
        )
        self.returns, self.advantages = of["rollout/returns"], of["rollout/advantages"]
        self.pos, self.full, self.generator_ready = 0, False, False


def collect(
    model: PPO, workers: WorkersVecEnv, callback: BaseCallback, memory: RolloutMemory
) -> bool:
    """Collect a rollout as `OnPolicyAlgorithm.collect_rollouts` does.

    The callback's steps are called afterwards, one by one.

    Returns:
        False where a callback has ended the training.
    """
    memory.reset()
    callback.on_rollout_start()
    ticks, num_envs = memory.buffer_size, workers.num_envs
    policy = CompiledPolicy(model.policy)
    tick = model.num_timesteps // num_envs
    ends = workers.run(roll_out, policy, float(model.gamma), int(model.seed or 0), tick)
    infos: list[list[dict[str, Any]]] = [[{}] * num_envs for _ in range(ticks)]
    for of_worker in ends:
        for at, row, info in of_worker:
            infos[at][row] = info
    starts = workers.arrays["rollout/starts"]
    scope = {"self": model, "env": workers, "rollout_buffer": memory, "callback": callback}
    for at in range(ticks):
        model.num_timesteps += num_envs
        dones = starts[at + 1] > 0.0
        callback.update_locals({**scope, "dones": dones, "infos": infos[at]})
        if not callback.on_step():
            return False
    memory.pos, memory.full = ticks, True
    last = torch.as_tensor(workers.arrays["rollout/values"][ticks])
    memory.compute_returns_and_advantage(last_values=last, dones=starts[ticks] > 0.0)
    callback.on_rollout_end()
    return True


def roll_out(share: Share, policy: CompiledPolicy, gamma: float, seed: int, first: int) -> Ends:
    """Drive a share's convoys for a rollout and record it; a worker's part of `collect`.

    Args:
        share: The convoys.
        policy: How they drive.
        gamma: Discount per tick.
        seed: Of the noise on the actions.
        first: Number of the rollout's first tick since the training began.

    Returns:
        Where episodes ended: tick, convoy and info.
    """
    convoys = share.convoys
    out = {
        name.removeprefix("rollout/"): array[:, convoys]
        for name, array in share.arrays.items()
        if name.startswith("rollout/")
    }
    ticks = out["rewards"].shape[0]
    begun = share.progress
    if begun == 0:
        for name in _NAMES:
            out[name][0] = share.seen[name]
        out["starts"][0] = share.starts
    numbers = np.arange(convoys.start, convoys.stop)
    noise_key = fold(seed, Stream.EXPLORATION, numbers[None, :])
    noise = normal(fold(noise_key, first + np.arange(ticks)[:, None])).astype(np.float32)
    std = np.float32(math.exp(policy.log_std))
    log_probs = -0.5 * noise**2 - np.float32(policy.log_std + _LOG_ROOT_TAU)
    out["log_probs"][begun:] = log_probs[begun:]
    ends: Ends = []
    for tick in range(begun, ticks):
        now = {name: out[name][tick] for name in _NAMES}
        mean, out["values"][tick] = policy.forward(now)
        actions = (mean + std * noise[tick])[:, None]
        out["actions"][tick] = actions
        out["natural_weights"][tick] = share.env.batch.natural_weight
        seen, rewards, ended, infos = share.step(np.clip(actions, -1.0, 1.0), now)
        for name in _NAMES:
            out[name][tick + 1] = seen[name]
        out["rewards"][tick], out["starts"][tick + 1] = rewards, ended
        for row in np.flatnonzero(ended).tolist():
            info = infos[row]
            if info["TimeLimit.truncated"]:
                out["rewards"][tick, row] += gamma * _value(policy, info["terminal_observation"])
            kept = {name: of for name, of in info.items() if name != "terminal_observation"}
            ends.append((tick, convoys.start + row, kept))
        share.progress = tick + 1
    _, out["values"][ticks] = policy.forward({name: out[name][ticks] for name in _NAMES})
    return ends


def _value(policy: CompiledPolicy, seen: dict[str, Float32s]) -> np.float32:
    """Return the critic's value of one observation."""
    _, value = policy.forward({name: row[None] for name, row in seen.items()})
    return np.float32(value[0])


def update_arrays(layout: Layout, rows: int) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
    """Shapes and dtypes by which an update is shared, for `WorkersVecEnv`."""
    return {f"update/{name}": of for name, of in exchanged(layout, rows).items()}


def exchange_in(arrays: SharedArrays) -> Exchange:
    """View shared arrays, those of `rollout_arrays` and `update_arrays`, as an exchange."""
    ticks, num_envs = arrays["rollout/rewards"].shape
    flat = {
        name: arrays[f"rollout/{name}"][:ticks].reshape(ticks * num_envs, *shape)
        for name in Rollout._fields
        for shape in [arrays[f"rollout/{name}"].shape[2:]]
    }
    own = {name: arrays[f"update/{name}"] for name in Exchange._fields if name != "rollout"}
    return Exchange(**own, rollout=Rollout(**flat))


class HelpingWorkers:
    """All workers but one compute parts of gradients beside this process; see `Helpers`.

    Args:
        workers: More than one.
        layout: Of the policy.
    """

    def __init__(self, workers: WorkersVecEnv, layout: Layout) -> None:
        self.members = workers.num_workers
        self._workers, self._layout = workers, layout

    def begin(self) -> None:
        """Let each compute its parts."""
        for member in range(1, self.members):
            self._workers.begin([member], (compute_parts, (self._layout, member, self.members)))

    def end(self) -> list[int]:
        """Wait for them; return those that were lost, whose parts are missing."""
        return [member for member in range(1, self.members) if not self._workers.end(member)]


def compute_parts(share: Share, layout: Layout, member: int, members: int) -> None:
    """Compute a member's parts of the minibatch that is in the shared arrays."""
    if "parts" not in share.kept:
        share.kept["parts"] = GradientParts(layout, exchange_in(share.arrays))
    with torch.inference_mode():
        share.kept["parts"].compute(member, members)
