"""The batch by Gymnasium's own ways: `make_vec`, vector wrappers, single-environment wrappers."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.wrappers import FlattenObservation, RecordEpisodeStatistics, TimeLimit
from gymnasium.wrappers import vector as wrappers

from ml.envs import ENV_ID, EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.envs.convoy_vector_env import ConvoyVectorEnv
from ml.errors import ConfigError, RenderModeError

pytestmark = pytest.mark.sumo

CONFIG = EnvConfig(radio="bursty", num_peers=(1, 3), episode_s=8.0)


@pytest.fixture
def opened():
    """Pass environments through, and close them at the end whatever happens."""
    environments = []

    def keep(env):
        environments.append(env)
        return env

    yield keep
    for env in environments:
        env.close()


def same(first, second):
    """Whether two observations are equal to the bit."""
    return all(np.array_equal(first[key], second[key]) for key in first)


def test_it_is_the_batch_that_stable_baselines_sees(opened):
    """Observations, rewards, ends and last observations are equal, over two episodes' lengths."""
    sb3 = ConvoyVecEnv(4, CONFIG, seed=5)
    seen = sb3.reset()
    actions = np.random.default_rng(1).uniform(-0.4, 0.4, (170, 4, 1)).astype(np.float32)
    expected = [(seen, None, None, None)]
    for action in actions:
        seen, reward, ended, infos = sb3.step(action)
        expected.append(({k: v.copy() for k, v in seen.items()}, reward, ended, infos))
    sb3.close()
    env = opened(gym.make_vec(ENV_ID, num_envs=4, config=CONFIG))
    observation, info = env.reset(seed=5)
    assert same(observation, expected[0][0])
    assert info == {}
    ends = 0
    for action, (seen, reward, ended, infos) in zip(actions, expected[1:], strict=True):
        observation, rewards, terminated, truncated, info = env.step(action)
        assert same(observation, seen)
        assert np.array_equal(rewards.astype(np.float32), reward)
        assert np.array_equal(terminated | truncated, ended)
        assert not (terminated & truncated).any()
        for row in np.flatnonzero(ended):
            ends += 1
            assert truncated[row] == infos[row]["TimeLimit.truncated"]
            assert same(info["final_obs"][row], infos[row]["terminal_observation"])
            summary = info["final_info"]["episode_summary"]
            assert summary["return"][row] == infos[row]["episode_summary"]["return"]
    assert ends >= 8


def test_it_says_what_it_is(opened):
    """Its class, spaces and autoreset are declared, and an observation lies in the space."""
    env = opened(gym.make_vec(ENV_ID, num_envs=3, num_peers=2, radio="clean"))
    assert isinstance(env.unwrapped, ConvoyVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observation, _ = env.reset(seed=1, options={"episode": "free"})
    assert env.observation_space.contains(observation)
    assert env.action_space.shape == (3, 1)


def test_costs_say_how_dangerous_a_tick_was(opened):
    """0 in calm driving; who does nothing behind a hazard pays 1 or more when it crashes."""
    env = opened(gym.make_vec(ENV_ID, num_envs=4, num_peers=2))
    env.reset(seed=3, options={"episode": "hazard"})
    hold = np.zeros((4, 1), np.float32)
    crashed = np.zeros(4, dtype=bool)
    costs = []
    while not crashed.all():
        _, _, terminated, _, info = env.step(hold)
        costs.append(info["cost"])
        assert ((info["cost"] >= 0.0) & (info["cost"] <= 2.0)).all()
        assert (info["cost"][terminated] >= 1.0).all()
        crashed |= terminated
    assert (costs[0] == 0.0).all()


def test_statistics_of_episodes_are_recorded(opened):
    """`RecordEpisodeStatistics` and `NormalizeReward` of `gymnasium.wrappers.vector` work."""
    env = gym.make_vec(ENV_ID, num_envs=2, config=CONFIG)
    env = opened(wrappers.NormalizeReward(wrappers.RecordEpisodeStatistics(env)))
    env.reset(seed=1, options={"episode": "free"})
    lengths = []
    for _ in range(90):
        *_, info = env.step(np.zeros((2, 1), np.float32))
        if "episode" in info:
            lengths += info["episode"]["l"][info["_episode"]].tolist()
    assert lengths == [80, 80]


def test_several_processes_each_have_a_convoy():
    """`AsyncVectorEnv` over single environments works: each has a SUMO in a process of its own."""
    name = f"ml.envs:{ENV_ID}"  # Gymnasium imports the package in the process that makes it
    makers = [lambda: gym.make(name, num_peers=1, radio="ideal") for _ in range(2)]
    env = AsyncVectorEnv(makers, context="spawn")
    try:
        observation, _ = env.reset(seed=[1, 2])
        observation, *_ = env.step(np.zeros((2, 1), np.float32))
        assert observation["peers"].shape == (2, 8, 23)
    finally:
        env.close()


def test_wrappers_of_a_single_environment_work(opened):
    """`FlattenObservation`, `TimeLimit` and `RecordEpisodeStatistics`, one upon the other."""
    env = gym.make(ENV_ID, num_peers=2)
    env = opened(RecordEpisodeStatistics(TimeLimit(FlattenObservation(env), 20)))
    observation, _ = env.reset(seed=1, options={"episode": "free"})
    assert env.observation_space.contains(observation)
    ended = False
    while not ended:
        *_, terminated, truncated, info = env.step(np.zeros(1, np.float32))
        ended = terminated or truncated
    assert truncated
    assert info["episode"]["l"] == 20


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"radio": "claen"}, Exception, "clean"),
        ({"radioo": "clean"}, ConfigError, "radio"),
        ({"config": CONFIG, "radio": "clean"}, ConfigError, "either"),
        ({"render_mode": "human"}, RenderModeError, "render_mode"),
    ],
)
def test_wrong_arguments_are_told(how, error, said):
    """By name, with what to do."""
    with pytest.raises(error, match=said):
        ConvoyVectorEnv(2, **how)


def test_one_seed_is_for_all(opened):
    """A list of seeds is refused in words, since convoys differ by their number."""
    env = opened(ConvoyVectorEnv(2, config=CONFIG))
    with pytest.raises(ConfigError, match="share one seed"):
        env.reset(seed=[1, 2])
