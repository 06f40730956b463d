"""The warm start on real SUMO: a fresh policy ends up driving as its teacher does."""

import numpy as np
import pytest

from ml.envs.config import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.training.config import EvaluationConfig, ImitationConfig, PpoConfig, TrainConfig
from ml.training.environment import build_learner
from ml.training.imitation import imitate, teacher_action

pytestmark = [pytest.mark.sumo, pytest.mark.slow]

CONFIG = TrainConfig(
    num_envs=16,
    total_timesteps=1_000_000,
    env=EnvConfig(action_lag_s=0.3, safety_layer=True, time_gap_s=(0.3, 1.2)),
    imitation=ImitationConfig(rounds=3, ticks=150, epochs=4),
    ppo=PpoConfig(n_steps=1024, batch_size=64),
    evaluation=EvaluationConfig(every_steps=0),
)


def difference(model, env):
    """Root mean square difference of policy and teacher over an episode driven by the policy."""
    observation = env.reset()
    squares = []
    for _ in range(150):
        action, _ = model.policy.predict(observation, deterministic=True)
        squares.append(np.mean((action[:, 0] - teacher_action(env.batch)) ** 2))
        observation, *_ = env.step(action)
    return float(np.sqrt(np.mean(squares)))


def test_a_fresh_policy_learns_to_drive_like_its_teacher():
    """Three short rounds take away most of the difference, and the same seed gives the same."""
    env = ConvoyVecEnv(CONFIG.num_envs, CONFIG.env, seed=1)
    try:
        weights = []
        for _ in range(2):
            env.seed(1)
            model = build_learner(CONFIG, env, 5)
            before = difference(model, env)
            told = []
            env.seed(2)
            imitate(model, env, CONFIG, seed=5, tell=told.append)
            weights.append({n: p.detach().clone() for n, p in model.policy.named_parameters()})
            env.seed(3)
            after = difference(model, env)
        assert after < 0.4 * before
        assert [line.split(":")[0] for line in told[:3]] == [
            f"imitation, round {n} of 3" for n in (1, 2, 3)
        ]
        assert model.num_timesteps == 0
        for name, first in weights[0].items():
            assert first.equal(weights[1][name]), name
    finally:
        env.close()
