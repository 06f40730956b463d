"""PPO in one file on RoadSense, without Stable-Baselines3: copy it and change it.

    python examples/ppo_single_file.py --total-timesteps 500000

It uses Gymnasium's vector interface alone, as CleanRL's scripts and other learners do. Proximal
policy optimisation: Schulman et al., 2017, https://arxiv.org/abs/1707.06347; generalised advantage
estimation: Schulman et al., 2016, https://arxiv.org/abs/1506.02438.
"""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from torch import Tensor, nn
from torch.distributions import Normal

from ml.envs import ENV_ID, EnvConfig, RewardWeights

CONFIG = EnvConfig(
    radio="clean",
    time_gap_s=(1.4, 1.4),
    action_lag_s=0.3,
    # Of the default weights what a policy can bear that explores: a crash is dear, the rest cheap.
    reward=RewardWeights(
        collision=40.0, comfort=0.02, false_braking=0.06, braking=0.0, overreaction=0.0
    ),
)


@dataclass(frozen=True)
class Options:
    """Train, and print a line per rollout."""

    total_timesteps: int = 500_000
    num_envs: int = 64
    num_ticks: int = 128
    """Ticks of a rollout, each of 0.1 s."""
    num_epochs: int = 4
    num_minibatches: int = 8
    learning_rate: float = 1e-3
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    value_weight: float = 0.05
    seed: int = 0


class Agent(nn.Module):
    """A Gaussian policy and a value, each a network of its own on the flat observation."""

    def __init__(self, num_inputs: int) -> None:
        super().__init__()
        self.actor, self.critic = mlp(num_inputs), mlp(num_inputs)
        self.log_std = nn.Parameter(torch.full((1,), -0.5))

    def policy(self, inputs: Tensor) -> Normal:
        """Return the distribution of the action, (N, 1), before it is held to [−1, 1]."""
        return Normal(self.actor(inputs), self.log_std.exp())


def mlp(num_inputs: int) -> nn.Sequential:
    """Return a network with two hidden layers and one output, which is small at first."""
    last = nn.Linear(64, 1)
    with torch.no_grad():
        last.weight *= 0.01
        last.bias.zero_()
    return nn.Sequential(nn.Linear(num_inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), last)


def flat(observation: dict[str, np.ndarray]) -> Tensor:
    """Return a batch of observations as rows of numbers: ego, peers, which of them are there."""
    parts = [observation[key].reshape(len(observation[key]), -1) for key in sorted(observation)]
    return torch.from_numpy(np.concatenate(parts, axis=1))


def train(options: Options) -> list[float]:
    """Train; return the mean return of the episodes that ended in each rollout."""
    torch.manual_seed(options.seed)
    env = RecordEpisodeStatistics(gym.make_vec(ENV_ID, num_envs=options.num_envs, config=CONFIG))
    observation, _ = env.reset(seed=options.seed)
    inputs = flat(observation)
    agent = Agent(inputs.shape[1])
    optimiser = torch.optim.Adam(agent.parameters(), lr=options.learning_rate)
    shape = (options.num_ticks, options.num_envs)
    seen, wishes = torch.zeros(*shape, inputs.shape[1]), torch.zeros(*shape, 1)
    log_probs, rewards, values, ended = (torch.zeros(shape) for _ in range(4))
    curve: list[float] = []
    steps = 0
    while steps < options.total_timesteps:
        returns: list[float] = []
        for tick in range(options.num_ticks):
            with torch.no_grad():
                policy = agent.policy(inputs)
                wish = policy.sample()
                values[tick] = agent.critic(inputs).squeeze(-1)
            seen[tick], wishes[tick] = inputs, wish
            log_probs[tick] = policy.log_prob(wish).squeeze(-1)
            observation, reward, terminated, truncated, info = env.step(wish.clamp(-1, 1).numpy())
            if truncated.any():  # time is up, not the road: what would have come is still worth it
                ends = info["final_obs"][truncated]
                last = flat({key: np.stack([end[key] for end in ends]) for key in observation})
                with torch.no_grad():
                    reward[truncated] += options.gamma * agent.critic(last).squeeze(-1).numpy()
            rewards[tick] = torch.from_numpy(reward)
            ended[tick] = torch.from_numpy(terminated | truncated).float()
            if "episode" in info:
                returns += info["episode"]["r"][info["_episode"]].tolist()
            inputs = flat(observation)
        steps += options.num_ticks * options.num_envs
        with torch.no_grad():
            next_value = agent.critic(inputs).squeeze(-1)
        # δ_t = r_t + γ V(s_{t+1}) − V(s_t);  A_t = δ_t + γ λ A_{t+1}, both cut where episodes end
        advantages, ahead = torch.zeros(shape), torch.zeros(options.num_envs)
        for tick in reversed(range(options.num_ticks)):
            goes_on = 1.0 - ended[tick]
            delta = rewards[tick] + options.gamma * next_value * goes_on - values[tick]
            advantages[tick] = ahead = delta + options.gamma * options.gae_lambda * goes_on * ahead
            next_value = values[tick]
        update(
            agent,
            optimiser,
            options,
            [x.flatten(0, 1) for x in (seen, wishes, log_probs, advantages, advantages + values)],
        )
        curve.append(float(np.mean(returns)) if returns else float("nan"))
        print(f"step {steps:>9,}: {len(returns)} episodes, mean return {curve[-1]:.1f}", flush=True)
    env.close()
    return curve


def update(
    agent: Agent, optimiser: torch.optim.Optimizer, options: Options, rollout: list[Tensor]
) -> None:
    """Improve the agent by what a rollout has shown."""
    parameters = list(agent.parameters())
    for _ in range(options.num_epochs):
        for rows in torch.randperm(len(rollout[0])).chunk(options.num_minibatches):
            seen, wishes, before, advantages, targets = (x[rows] for x in rollout)
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
            ratio = (agent.policy(seen).log_prob(wishes).squeeze(-1) - before).exp()
            clipped = ratio.clamp(1.0 - options.clip, 1.0 + options.clip)
            policy_loss = -torch.min(ratio * advantages, clipped * advantages).mean()
            value_loss = (agent.critic(seen).squeeze(-1) - targets).square().mean()
            optimiser.zero_grad()
            (policy_loss + options.value_weight * value_loss).backward()
            nn.utils.clip_grad_norm_(parameters, 0.5)
            optimiser.step()


if __name__ == "__main__":
    train(tyro.cli(Options))
