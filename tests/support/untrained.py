"""A policy that has learnt nothing, without an environment."""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3 import PPO

from ml.envs.spaces import observation_space
from ml.policies.deep_set_policy import create_deep_set_policy_kwargs


def untrained_model(seed, *, peer_embed_dim=64, swing=1.0, algorithm=PPO):
    """Build a model whose actions differ the more between observations, the larger `swing` is."""
    torch.manual_seed(seed)
    model = algorithm(
        "MultiInputPolicy" if algorithm is PPO else "MultiInputLstmPolicy",
        env=None,
        n_steps=2,
        batch_size=2,
        device="cpu",
        policy_kwargs=create_deep_set_policy_kwargs(peer_embed_dim),
        _init_setup_model=False,
    )
    model.observation_space = observation_space()
    model.action_space = spaces.Box(-1.0, 1.0, (1,))
    model.n_envs = 1
    model._setup_model()
    with torch.no_grad():
        model.policy.action_net.weight.mul_(swing)
    return model
