"""What every convoy environment promises, on real SUMO over both backends."""

import hashlib
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.vec_env import VecMonitor

import ml.envs
from ml.envs import ConvoyEnv, EnvConfig, EpisodeMix
from ml.envs.config import KINDS
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.envs.scoring.termination import EpisodeStatus
from ml.errors import ConfigError, EnvironmentStateError

pytestmark = pytest.mark.sumo

BACKENDS = ("libsumo", "traci")


@pytest.fixture
def make_vec_env():
    """Build ConvoyVecEnvs that are closed at the end, whatever happens."""
    opened = []

    def make(num_envs, seed=0, first=0, forced=None, **config):
        env = ConvoyVecEnv(
            num_envs,
            EnvConfig(**{"audit_causality": True, **config}),
            seed=seed,
            first_env_index=first,
            forced_kind=forced,
        )
        opened.append(env)
        return env

    yield make
    for env in opened:
        env.close()


def drive(env, ticks, convoy=0):
    """Drive with reproducible actions and return a digest of all that one convoy sees.

    Braking is rare and long, so that episodes end at different times.
    """
    digest = hashlib.sha256()
    number = env.batch._env_index  # the action of a convoy depends on its number, not on its row
    observation = env.reset()
    ends = 0
    for tick in range(ticks):
        action = 0.25 * np.sin(0.07 * tick * (1.0 + 0.13 * number)) + 0.02
        observation, reward, done, infos = env.step(action[:, None].astype(np.float32))
        for key in ("ego", "peers", "peer_mask"):
            digest.update(observation[key][convoy].tobytes())
        digest.update(reward[convoy].tobytes() + done[convoy].tobytes())
        if done[convoy]:
            ends += 1
            digest.update(repr(infos[convoy]["episode_summary"]).encode())
    return digest.hexdigest(), ends


@pytest.mark.parametrize("scenario", ["highway", "rural"])
def test_libsumo_and_traci_give_the_same_bits(make_vec_env, scenario):
    """Observations, rewards, ends and summaries are identical on both backends."""
    seen = []
    for backend in BACKENDS:
        env = make_vec_env(
            4, seed=3, backend=backend, scenario=scenario, radio="bursty", episode_s=12.0
        )
        seen.append(drive(env, 300, convoy=2))
        env.close()
    assert seen[0] == seen[1]
    assert seen[0][1] >= 2, "no episode ended: the comparison would miss the resets"


@pytest.mark.parametrize("radio", ["clean", "shadowed"])
def test_a_convoy_is_the_same_alone_and_in_a_batch(make_vec_env, radio):
    """Convoy 5 of 8 drives alone to the same bits, through resets of its own and of others."""
    common = {"seed": 11, "radio": radio, "episode_s": 12.0, "domain_randomisation": True}
    together = make_vec_env(8, **common)
    in_batch = drive(together, 300, convoy=5)
    together.close()
    alone = make_vec_env(1, first=5, **common)
    assert drive(alone, 300) == in_batch


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_episode_replays_from_its_number_alone(make_vec_env, backend):
    """The third episode is the same after two others, crashes included, and all by itself."""
    common = {"seed": 8, "backend": backend, "scenario": "rural", "radio": "bursty"}
    env = make_vec_env(4, episode_s=20.0, **common)
    env.reset()
    ends = np.zeros(4, dtype=np.int64)
    seen = [[] for _ in range(4)]
    while ends.min() < 3:
        observation, reward, done, _ = env.step(np.full((4, 1), 0.02, dtype=np.float32))
        for row in np.flatnonzero(ends == 2):
            seen[row].append((observation["peers"][row].tobytes(), reward[row]))
        ends += done
    env.close()

    env = make_vec_env(4, episode_s=20.0, **common)
    env.batch.episode[:] = 1
    env.reset()
    replayed = [[] for _ in range(4)]
    running = np.ones(4, dtype=bool)
    while running.any():
        observation, reward, done, _ = env.step(np.full((4, 1), 0.02, dtype=np.float32))
        for row in np.flatnonzero(running):
            replayed[row].append((observation["peers"][row].tobytes(), reward[row]))
        running &= ~done
    for row in range(4):
        # The observation at the end is the next episode's first; the reward is this one's last.
        assert [r for _, r in replayed[row]] == [r for _, r in seen[row]]
        assert replayed[row][:-1] == seen[row][:-1]


def test_another_seed_gives_other_episodes(make_vec_env):
    """The digest depends on the seed: the identities above are not of constants."""
    digests = set()
    for seed in (0, 1):
        env = make_vec_env(2, seed=seed)
        digests.add(drive(env, 50)[0])
        env.close()
    assert len(digests) == 2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("config", [{}, {"scenario": "rural"}, {"episode_s": 10.0}])
def test_an_ego_that_holds_its_speed_crashes_in_every_hazard(make_vec_env, backend, config):
    """SUMO does not brake for it: what a policy avoids, it avoids itself."""
    env = make_vec_env(32, backend=backend, forced="hazard", seed=5, **config)
    env.reset()
    first = {}
    while len(first) < 32:
        _, _, done, infos = env.step(np.zeros((32, 1), dtype=np.float32))
        for row in np.flatnonzero(done):
            first.setdefault(int(row), infos[row]["episode_summary"])
    assert all(summary["collision"] for summary in first.values())


def test_an_ego_that_always_brakes_never_crashes(make_vec_env):
    """In no kind of episode; and nobody vanishes or teleports."""
    env = make_vec_env(32, seed=6)
    env.reset()
    ends = []
    for _ in range(500):
        _, _, done, infos = env.step(np.full((32, 1), -1.0, dtype=np.float32))
        ends += [infos[row]["episode_summary"] for row in np.flatnonzero(done)]
    assert len(ends) >= 32
    assert {summary["status"] for summary in ends} <= {"time_limit", "road_end"}
    assert env.tick_metrics()["simulator/teleports"] == 0.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_ego_does_what_it_is_told(make_vec_env, backend):
    """Realised = commanded acceleration within 0.05 m/s², until standstill."""
    env = make_vec_env(8, backend=backend, scenario="rural", seed=2)
    env.reset()
    rng = np.random.default_rng(4)
    compared = 0
    for _ in range(150):
        _, _, done, _ = env.step(rng.uniform(-1.0, 1.0, (8, 1)).astype(np.float32))
        batch = env.batch
        driving = ~done & (batch.truth.speed_mps[:, 0] > 0.0)
        error = batch.truth.accel_mps2[:, 0] - batch.commanded_accel_mps2
        assert np.abs(error[driving]).max(initial=0.0) < 0.05
        compared += int(driving.sum())
    assert compared > 200


def test_our_collisions_are_sumos_collisions(make_vec_env):
    """SUMO's own report first names the ego at the tick in which the gap closes, or the next."""
    env = make_vec_env(16, forced="hazard", seed=9)
    batch = env.batch
    batch.reset(kind="hazard")
    crashed, reported = np.full(16, -1), np.full(16, -1)
    for tick in range(500):
        batch.status[:] = EpisodeStatus.RUNNING  # drive on through the wreck
        batch.step(np.zeros(16))
        crashed[(crashed < 0) & (batch.truth.gap_m <= 0.0)] = tick
        reported[(reported < 0) & batch.simulator.read_collisions()[:, 0]] = tick
        if (crashed >= 0).all() and tick > crashed.max():
            break
    assert (crashed >= 0).all()
    assert set((reported - crashed).tolist()) <= {0, 1}


@pytest.mark.parametrize("backend", BACKENDS)
def test_gymnasiums_checker_finds_nothing(backend):
    """Warnings are errors here.

    To check rendering it makes a second environment while the first runs, which one embedded SUMO
    does not allow.
    """
    env = gym.make(ml.envs.ENV_ID, backend=backend, num_peers=3, disable_env_checker=True)
    try:
        gymnasium_check_env(env.unwrapped, skip_render_check=backend == "libsumo")
    finally:
        env.close()


def test_stable_baselines_checker_finds_only_the_shape_of_a_set():
    """The one expected warning is that a 2-D entry is neither an image nor a vector."""
    env = gym.make(ml.envs.ENV_ID, num_peers=3)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sb3_check_env(env.unwrapped)
    finally:
        env.close()
    assert [w for w in caught if "unconventional shape" not in str(w.message)] == []


def test_observations_of_many_convoys_stay_in_the_declared_space(make_vec_env):
    """Every observation, the terminal ones included, lies in the space; N varies."""
    env = make_vec_env(16, seed=1, radio="clean", domain_randomisation=True, episode_s=10.0)
    observation = env.reset()
    assert not observation["peer_mask"].any(), "nobody can have been heard before the first tick"
    heard = set()
    for tick in range(150):
        action = np.full((16, 1), 0.3 * np.sin(0.1 * tick), dtype=np.float32)
        observation, _, done, infos = env.step(action)
        for row in range(16):
            single = {key: values[row] for key, values in observation.items()}
            assert env.observation_space.contains(single)
            heard.add(int(single["peer_mask"].sum()))
        for row in np.flatnonzero(done):
            assert env.observation_space.contains(infos[row]["terminal_observation"])
    assert heard >= set(range(1, 9))


def test_a_crash_terminates_and_the_time_limit_truncates(make_vec_env):
    """`TimeLimit.truncated` is what SB3 bootstraps on; VecMonitor counts the same episodes."""
    env = VecMonitor(
        make_vec_env(
            16, seed=4, episode_s=20.0, episode_mix=EpisodeMix(hazard=0.5, benign=0.0, free=0.5)
        )
    )
    env.reset()
    statuses = set()
    for _ in range(400):
        _, _, done, infos = env.step(np.zeros((16, 1), dtype=np.float32))
        for row in np.flatnonzero(done):
            summary = infos[row]["episode_summary"]
            assert infos[row]["TimeLimit.truncated"] == (summary["status"] != "collision")
            assert infos[row]["episode"]["r"] == pytest.approx(
                summary["return"], rel=1e-3, abs=1e-2
            )
            assert infos[row]["episode"]["l"] * 0.1 == pytest.approx(summary["duration_s"])
            statuses.add(summary["status"])
    assert statuses == {"collision", "time_limit"}


def test_the_terminal_observation_is_the_last_of_the_episode(make_vec_env):
    """It is what a convoy that is not reset sees at its end, and not the next one's first."""
    common = {"seed": 13, "radio": "bursty", "episode_s": 4.0}
    env = make_vec_env(2, **common)
    env.reset()
    done = np.zeros(2, dtype=bool)
    while not done[0]:
        observation, _, done, infos = env.step(np.full((2, 1), 0.1, dtype=np.float32))
    terminal = infos[0]["terminal_observation"]
    env.close()
    single = ConvoyEnv(config=EnvConfig(radio="bursty", episode_s=4.0))
    try:
        single.reset(seed=13)
        ended = False
        while not ended:
            last, _, terminated, truncated, _ = single.step(np.full(1, 0.1, dtype=np.float32))
            ended = terminated or truncated
    finally:
        single.close()
    for key, value in terminal.items():
        np.testing.assert_array_equal(value, last[key])
    assert not np.array_equal(terminal["ego"], observation["ego"][0])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"num_peers": 0}, "num_peers.* = 0"),
        ({"num_peers": "12"}, "num_peers = '12'"),
        ({"num_peers": True}, "num_peers = True"),
        ({"num_peers": 2.5}, "num_peers = 2.5"),
        ({"num_peers": (3, 1)}, "must not exceed"),
        ({"backend": "foo"}, "backend = 'foo'"),
        ({"render_mode": "human"}, "DISPLAY is not set"),
        ({"render_mode": "ansi"}, "render_mode = 'ansi'.*'rgb_array'"),
        ({"config": EnvConfig(), "radio": "bursty"}, "config and radio were given"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments, complaint, monkeypatch):
    """Nothing is guessed, and nothing that was given is ignored."""
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(ConfigError, match=complaint):
        ConvoyEnv(**arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_an_episode_can_be_forced(kind):
    """`reset(options={"episode": kind})`, and info tells the truth every tick."""
    env = gym.make(ml.envs.ENV_ID, num_peers=2, radio="ideal")
    try:
        _, info = env.reset(seed=1, options={"episode": kind})
        assert info["episode_kind"] == kind
        active = False
        info = {"hazard_active": False}
        done = False
        while not done:
            _, _, terminated, truncated, info = env.step(np.zeros(1, dtype=np.float32))
            active |= info["hazard_active"]
            assert len(info["peer_age_s"]) == 2
            done = terminated or truncated
        assert active == (kind == "hazard")
        assert info["collision"] == (info["gap_m"] <= 0.0)
        assert info["collision"] or kind != "hazard"
    finally:
        env.close()


def test_stepping_on_after_the_end_is_an_error():
    """A single environment must be reset; it does not go on by itself."""
    env = gym.make(ml.envs.ENV_ID, config=EnvConfig(episode_s=1.0)).unwrapped
    try:
        env.reset(seed=0)
        for _ in range(10):
            env.step(np.zeros(1, dtype=np.float32))
        with pytest.raises(EnvironmentStateError, match=r"has ended \(time_limit\)"):
            env.step(np.zeros(1, dtype=np.float32))
    finally:
        env.close()
