"""A warm start: the fresh policy learns from an analytic driver what it would take long to find.

The teacher drives like the calm layer of `ml.controllers.predictive`, at the time gap that the
driver has set, within the bounds of the safety layer: so a policy learns to brake by itself where
the layer would make it. Near its gap it follows gently, so that errors of positions do not make it
brake, and accelerates gently, so that it damps a swing of the speed ahead. Its pupil drives from
the second round on and is told what the teacher would have done, so that it also learns from where
its own mistakes lead (DAgger: Ross, Gordon and Bagnell, AISTATS 2011). At the end the critic learns
the returns of what the pupil does. PPO goes on from there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy

from ml.controllers.predictive import PredictiveHeadway
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.policy_interface import PolicyInterface
from ml.envs.spaces import observation_space
from ml.onboard.actuation import accel_from_action, action_from_accel
from ml.onboard.estimator import Lead
from ml.onboard.observation.spec import Observation
from ml.onboard.spacing import wanted_gap_m
from ml.policies.compiled_policy import CompiledPolicy
from ml.training.config import ImitationConfig, TrainConfig
from ml.training.workers import Share, WorkersVecEnv
from ml.vehicle import DT_S, MAX_ACCEL_MPS2

_GAP_GAIN, _FAR_GAP_GAIN, _GENTLE_M = 0.12, 0.22, 6.0
"""Of the gap's error, 1/s², up to so many metres, and of what is beyond: a small error may be one
of positions, and a large one has to go."""
_SPEED_GAIN, _FORWARD = 0.75, 0.5
"""Of the difference in speed, 1/s, and the share of the lead's acceleration."""
_POWER_WPKG = 36.0
"""Acceleration times speed that is spent near the wanted gap, m²/s³: 1.3 m/s² at 100 km/h."""
_NEAR_M, _FAR_M = 10.0, 25.0
"""Distance beyond the wanted gap up to which that holds, and from which on there is no limit."""
_NOISE_TAU_S = 1.0
_BATCH = 1024
_LEARNING_RATE = 1e-3
_LARGE_ERROR = 0.05
"""Of an action, from which on its size counts instead of its square (Huber, 1964)."""


def teacher_action(batch: ConvoyBatch) -> NDArray[np.float32]:
    """What the teacher would do now, (num_envs,) float32 in [−1, 1].

    It holds its speed where nobody is heard. Where the batch has no safety layer, it keeps to none.
    """
    ego = batch.board.ego
    lead = batch.board.estimate().lead()
    wanted_m = wanted_gap_m(ego.speed_mps, batch.wanted_time_gap_s)
    wish = teacher_wish_mps2(lead, ego.speed_mps, wanted_m)
    if batch.config.safety_layer:
        bounds = batch.board.bounds()
        wish = np.minimum(np.maximum(wish, bounds.floor), np.minimum(bounds.soft, bounds.hard))
    return action_from_accel(wish)


class TeacherDriver:
    """The teacher at the wheel, behind its safety layer, as a `Driver` of evaluations.

    Args:
        name: What tables call it.
        answers_silence: False lifts the bound with which the layer answers silence, and peers that
            may be there and were never heard.
    """

    ego_control: Literal["policy", "sumo"] = "policy"
    needs_observation = False

    def __init__(
        self, name: str, interface: PolicyInterface, *, answers_silence: bool = True
    ) -> None:
        self.name, self._answers_silence = name, answers_silence
        self.config_changes: Mapping[str, Any] = interface.config_changes()

    def accel(self, batch: ConvoyBatch, observation: Observation) -> NDArray[np.float64]:
        """Acceleration for the next tick, (num_envs,) float64 m/s²."""
        del observation
        if not self._answers_silence:
            batch.board.bounds().soft[:] = MAX_ACCEL_MPS2  # the bounds that this tick goes by
        return accel_from_action(teacher_action(batch))


def teacher_wish_mps2(
    lead: Lead, own_mps: NDArray[np.float64], wanted_m: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What the teacher wishes before the safety layer bounds it, m/s²; 0 where nobody is heard.

    Args:
        lead: The car in front.
        own_mps: (E,), own speed.
        wanted_m: (E,), the gap that it keeps.
    """
    beyond_m = np.where(lead.heard, lead.gap_m, 0.0) - wanted_m
    closing_mps = own_mps - lead.speed_mps
    wish = gap_pull_mps2(beyond_m) - _SPEED_GAIN * closing_mps + _FORWARD * lead.accel_mps2
    wish = np.maximum(wish, -PredictiveHeadway.CALM_MPS2)
    wish = np.minimum(wish, accel_limit_mps2(own_mps, beyond_m))
    return np.where(lead.heard, wish, 0.0)


def gap_pull_mps2(beyond_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Acceleration towards the wanted gap, m/s².

    Args:
        beyond_m: (E,), distance to the car in front beyond the wanted gap; negative where too near.
    """
    near_m = np.clip(beyond_m, -_GENTLE_M, _GENTLE_M)
    pull: NDArray[np.float64] = _GAP_GAIN * near_m + _FAR_GAP_GAIN * (beyond_m - near_m)
    return pull


def accel_limit_mps2(
    speed_mps: NDArray[np.float64], behind_m: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Hardest acceleration of the teacher: gentle at speed near its gap, all there is far behind.

    Args:
        speed_mps: (E,), own.
        behind_m: (E,), distance to the car in front beyond the wanted gap.

    Returns:
        (E,) float64, m/s².
    """
    gentle = np.minimum(_POWER_WPKG / np.maximum(speed_mps, 1.0), MAX_ACCEL_MPS2)
    hurry = np.clip((behind_m - _NEAR_M) / (_FAR_M - _NEAR_M), 0.0, 1.0)
    limit: NDArray[np.float64] = gentle + (MAX_ACCEL_MPS2 - gentle) * hurry
    return limit


_SEEN = tuple(observation_space().spaces)


def taught_arrays(ticks: int, num_envs: int) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
    """Shapes and dtypes of what a round of imitation records, for `WorkersVecEnv`."""
    size = (ticks, num_envs)
    seen = {
        f"taught/{name}": ((*size, *(box.shape or ())), np.float32)
        for name, box in observation_space().spaces.items()
    }
    return {
        **seen,
        "taught/noise": (size, np.float64),
        "taught/actions": (size, np.float32),
        "taught/rewards": (size, np.float32),
        "taught/ended": (size, np.bool_),
    }


@dataclass(slots=True)
class _Samples:
    """Rounds; arrays (ticks, num_envs, …)."""

    observations: list[Observation] = field(default_factory=list)
    actions: list[NDArray[np.float32]] = field(default_factory=list)
    rewards: list[NDArray[np.float32]] = field(default_factory=list)
    ended: list[NDArray[np.bool_]] = field(default_factory=list)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Observations, flat over ticks and convoys."""
        return {
            name: torch.as_tensor(np.concatenate([seen[name] for seen in self.observations]))
            for name in self.observations[0]
        }

    def add(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take a copy of what a round has recorded."""
        copies = {
            name: arrays[f"taught/{name}"].copy()
            for name in (*_SEEN, "actions", "rewards", "ended")
        }
        self.actions.append(copies.pop("actions").reshape(-1))
        self.rewards.append(copies.pop("rewards"))
        self.ended.append(copies.pop("ended"))
        self.observations.append({n: v.reshape(-1, *v.shape[2:]) for n, v in copies.items()})


def imitate(
    model: PPO,
    environment: WorkersVecEnv,
    config: TrainConfig,
    *,
    seed: int,
    tell: Callable[[str], None],
) -> None:
    """Teach a fresh policy to drive like the teacher, and its critic what that is worth.

    Args:
        model: Its policy learns; PPO's own counters and optimiser stay as they are.
        environment: The training environment, with `taught_arrays`; episodes go on where they are
            left.
        config: The run's; its section `imitation` says how long.
        seed: Of the order of samples and of the noise on the actions.
        tell: Told a line per round.
    """
    generator = np.random.default_rng(seed)
    policy = model.policy
    actor = [p for name, p in policy.named_parameters() if "value" not in name]
    optimiser = torch.optim.Adam(actor, lr=_LEARNING_RATE)
    samples = _Samples()
    environment.reset()
    how = config.imitation
    for number in range(config.imitation_rounds):
        pupil = CompiledPolicy(policy) if number else None
        _drive(environment, pupil, how, generator, samples)
        error = _learn_actions(policy, optimiser, samples, how.epochs, generator)
        tell(f"imitation, round {number + 1} of {config.imitation_rounds}: error {error:.4f}")
    last = _Samples()
    _drive(environment, CompiledPolicy(policy), how, generator, last)
    explained = _learn_values(model, last, how.epochs * 2, generator)
    tell(f"imitation: the critic explains {explained:.0%} of the pupil's returns")


def _drive(
    environment: WorkersVecEnv,
    pupil: CompiledPolicy | None,
    config: ImitationConfig,
    generator: np.random.Generator,
    samples: _Samples,
) -> None:
    """Drive for a round with slow noise on the actions, and keep what the teacher says to it."""
    noise = environment.arrays["taught/noise"]
    decay = np.exp(-DT_S / _NOISE_TAU_S)
    fresh = generator.normal(size=noise.shape) * config.noise * np.sqrt(1.0 - decay**2)
    now = np.zeros(environment.num_envs)
    for tick in range(config.ticks):
        noise[tick] = now = decay * now + fresh[tick]
    environment.run(drive_taught, pupil)
    samples.add(environment.arrays)


def drive_taught(share: Share, pupil: CompiledPolicy | None) -> None:
    """Drive a share's convoys for a round and record it; a worker's part of `imitate`.

    Args:
        share: The convoys.
        pupil: Who drives; None for the teacher.
    """
    out = {
        name.removeprefix("taught/"): array[:, share.convoys]
        for name, array in share.arrays.items()
        if name.startswith("taught/")
    }
    seen = share.seen
    for tick in range(share.progress, out["noise"].shape[0]):
        if share.lost:  # as in the tick before, which may be the last one of the round before
            seen, wanted = {name: out[name][tick - 1] for name in _SEEN}, out["actions"][tick - 1]
        else:
            wanted = teacher_action(share.env.batch)
        action = wanted if pupil is None else pupil.act(seen)
        for name, rows in seen.items():
            out[name][tick] = rows
        out["actions"][tick] = wanted
        driven = np.clip(action + out["noise"][tick], -1.0, 1.0).astype(np.float32)[:, None]
        seen, out["rewards"][tick], out["ended"][tick], _ = share.step(driven, seen)
        share.progress = tick + 1


def _learn_actions(
    policy: ActorCriticPolicy,
    optimiser: torch.optim.Optimizer,
    samples: _Samples,
    epochs: int,
    generator: np.random.Generator,
) -> float:
    """Regress the mean action on the teacher's; returns the last epoch's error.

    Large errors are where a bound of the safety layer sets in, which holds the car anyway. Squared,
    they would take the fit from what decides how smoothly it drives. The error is √(2 · 0.05 · mean
    loss): the root mean square where all errors are below 0.05, and less otherwise.
    """
    seen = samples.tensors()
    wanted = torch.as_tensor(np.concatenate(samples.actions))

    def loss(rows: torch.Tensor) -> torch.Tensor:
        answer = policy.get_distribution({n: v[rows] for n, v in seen.items()}).mode()[:, 0]
        return torch.nn.functional.smooth_l1_loss(answer, wanted[rows], beta=_LARGE_ERROR)

    mean_loss = _fit(optimiser, loss, wanted.shape[0], epochs, generator)
    return float((2.0 * _LARGE_ERROR * mean_loss) ** 0.5)


def _learn_values(
    model: PPO, samples: _Samples, epochs: int, generator: np.random.Generator
) -> float:
    """Regress the critic's head on discounted returns; returns the share of variance explained."""
    policy = model.policy
    seen = samples.tensors()
    rewards, ended = np.concatenate(samples.rewards), np.concatenate(samples.ended)
    returns = np.zeros_like(rewards)
    following = np.zeros(rewards.shape[1], dtype=rewards.dtype)
    for tick in range(rewards.shape[0] - 1, -1, -1):
        following = rewards[tick] + model.gamma * following * ~ended[tick]
        returns[tick] = following
    # What lies beyond the round is missing from the returns of its last ticks: leave those out.
    known = rewards.shape[0] - int(3.0 / max(1.0 - model.gamma, 1e-3))
    known = max(known, rewards.shape[0] // 2)
    wanted = torch.as_tensor(returns[:known].reshape(-1))

    def loss(rows: torch.Tensor) -> torch.Tensor:
        answer = policy.predict_values({n: v[rows] for n, v in seen.items()})[:, 0]
        return torch.nn.functional.mse_loss(answer, wanted[rows])

    critic = [p for name, p in policy.named_parameters() if "value" in name]
    optimiser = torch.optim.Adam(critic, lr=_LEARNING_RATE)
    error = _fit(optimiser, loss, wanted.shape[0], epochs, generator)
    variance = float(wanted.var())
    return 1.0 - error / variance if variance > 0.0 else 0.0


def _fit(
    optimiser: torch.optim.Optimizer,
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    count: int,
    epochs: int,
    generator: np.random.Generator,
) -> float:
    """Descend in minibatches of `count` samples; returns the last epoch's mean loss."""
    loss_sum = 0.0
    for _ in range(epochs):
        loss_sum = 0.0
        order = generator.permutation(count)
        for start in range(0, count, _BATCH):
            rows = torch.as_tensor(order[start : start + _BATCH])
            loss = loss_of(rows)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            loss_sum += float(loss.detach()) * rows.shape[0]
    return loss_sum / count
