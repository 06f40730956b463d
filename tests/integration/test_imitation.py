"""The warm start on real SUMO: a fresh policy ends up driving as its teacher does."""

import numpy as np
import pytest

from ml.envs.config import EnvConfig
from ml.evaluation.episodes import run_suite
from ml.evaluation.seeds import VALIDATION_SEED
from ml.evaluation.suites.registry import make_suite
from ml.onboard.actuation import accel_from_action
from ml.onboard.estimator import Lead
from ml.training.config import EvaluationConfig, ImitationConfig, PpoConfig, TrainConfig
from ml.training.deployment import read_deployment
from ml.training.environment import build_environment, build_learner
from ml.training.imitation import (
    accel_limit_mps2,
    gap_pull_mps2,
    imitate,
    teacher_action,
    teacher_wish_mps2,
)
from ml.vehicle import MAX_ACCEL_MPS2

pytestmark = [pytest.mark.sumo, pytest.mark.slow]

CONFIG = TrainConfig(
    num_envs=16,
    total_timesteps=1_000_000,
    workers=1,
    env=EnvConfig(action_lag_s=0.3, safety_layer=True, time_gap_s=(0.3, 1.2)),
    imitation=ImitationConfig(rounds=3, ticks=150, epochs=4),
    ppo=PpoConfig(n_steps=1024, batch_size=64),
    evaluation=EvaluationConfig(every_steps=0),
)


def difference(model, env):
    """Root mean square difference of policy and teacher over an episode driven by the policy."""
    env.reset()
    return float(np.sqrt(np.mean(env.run(squares_of, model.policy))))


def squares_of(share, policy):
    """Drive an episode; return the squared difference in each tick."""
    squares = []
    for _ in range(150):
        action, _ = policy.predict(share.seen, deterministic=True)
        squares.append(np.mean((action[:, 0] - teacher_action(share.env.batch)) ** 2))
        share.step(action, share.seen)
    return squares


def test_a_fresh_policy_learns_to_drive_like_its_teacher():
    """Three short rounds take away most of the difference, and the same seed gives the same."""
    env = build_environment(CONFIG, read_deployment({}), 1)
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


class TeacherDriver:
    """The teacher itself behind the safety layer, at the recipe's usual time gap."""

    name, ego_control, needs_observation = "teacher", "policy", True

    def __init__(self):
        gap = {"time_gap_s": (0.88, 0.88)}
        self.config_changes = gap | {"action_lag_s": 0.3, "safety_layer": True}

    def accel(self, batch, observation):
        """Return what it wishes, m/s²."""
        del observation
        return accel_from_action(teacher_action(batch))


def test_the_teacher_damps_a_swing_of_the_car_in_front():
    """Plexe's sinusoid comes back with a gain of 0.83 from who accelerates as hard as it can."""
    rows = run_suite(TeacherDriver(), make_suite("plexe:2"), radio="clean", seed=VALIDATION_SEED)
    swings = [row for row in rows if row.labels["manoeuvre"] == "sinusoidal in front"]
    assert 0.4 < np.mean([row.gain_at_fundamental for row in swings]) < 0.78


def test_the_teacher_accelerates_gently_near_its_gap_and_hurries_far_behind():
    """36 W/kg up to 10 m beyond the gap; no limit from 25 m on, nor where it is slow."""
    limit = accel_limit_mps2(
        np.array([25.0, 25.0, 25.0, 25.0, 5.0]), np.array([-5.0, 10, 17.5, 25, 0])
    )
    gentle = 36.0 / 25.0
    half = 0.5 * (gentle + MAX_ACCEL_MPS2)
    np.testing.assert_allclose(limit, [gentle, gentle, half, MAX_ACCEL_MPS2, MAX_ACCEL_MPS2])


def test_the_teacher_holds_gap_and_speed_and_feeds_a_braking_forward():
    """At its gap, 4 m/s faster than a car that brakes with 2 m/s²: 0.75 · 4 + 0.5 · 2, or 3."""
    lead = Lead(
        heard=np.array([True, True, True, False]),
        gap_m=np.array([25.0, 25.0, 29.0, np.inf]),
        speed_mps=np.array([16.0, 18.0, 20.0, 0.0]),
        accel_mps2=np.array([-2.0, -1.0, 0.0, 0.0]),
        gap_sent_m=np.zeros(4),
        speed_sent_mps=np.zeros(4),
        age_s=np.zeros(4),
        position_sd_m=np.zeros(4),
    )
    wish = teacher_wish_mps2(lead, np.full(4, 20.0), np.full(4, 25.0))
    np.testing.assert_allclose(wish, [-3.0, -2.0, 0.48, 0.0])


def test_the_teacher_follows_gently_near_its_gap_and_firmly_away_from_it():
    """0.12 m/s² per metre for the first six, on either side, and 0.22 for each beyond."""
    pull = gap_pull_mps2(np.array([0.0, 2.0, -2.0, 6.0, 16.0, -16.0]))
    np.testing.assert_allclose(pull, [0.0, 0.24, -0.24, 0.72, 2.92, -2.92])
