"""What the warm start's fit makes of the teacher's rare hard answers."""

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import MultiInputActorCriticPolicy

from ml.envs.spaces import observation_space
from ml.policies.deep_set_policy import create_deep_set_policy_kwargs
from ml.training.imitation import _learn_actions, _Samples


def fitted(actions):
    """Fit a fresh policy to actions that all belong to one observation; returns its answer."""
    torch.manual_seed(0)
    policy = MultiInputActorCriticPolicy(
        observation_space(),
        spaces.Box(-1.0, 1.0, (1,)),
        lambda _: 1e-3,
        **create_deep_set_policy_kwargs(16),
    )
    nothing = {
        name: np.zeros((actions.size, *space.shape), dtype=np.float32)
        for name, space in policy.observation_space.items()
    }
    samples = _Samples([nothing], [actions.astype(np.float32)])
    optimiser = torch.optim.Adam(policy.parameters(), lr=1e-2)
    error = _learn_actions(policy, optimiser, samples, 150, np.random.default_rng(0))
    answer, _ = policy.predict(
        {name: rows[:1] for name, rows in nothing.items()}, deterministic=True
    )
    return float(answer[0, 0]), error


def test_a_tenth_of_full_brakings_hardly_moves_the_answer():
    """The mean would be −0.08; of sizes beyond 0.05, nine small ones outweigh one large."""
    actions = np.where(np.arange(200) % 10 == 0, -0.98, 0.02)
    answer, _ = fitted(actions)
    assert abs(answer - 0.02) < 0.02


def test_the_error_is_the_root_mean_square_where_all_errors_are_small():
    """Half the answers 0.02 above, half below what one can fit: 0.02."""
    answer, error = fitted(0.3 + 0.02 * np.where(np.arange(200) % 2 == 0, 1.0, -1.0))
    assert abs(answer - 0.3) < 0.01
    assert abs(error - 0.02) < 0.004
