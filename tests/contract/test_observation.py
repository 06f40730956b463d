"""What the ego believes, held against the truth, on real SUMO."""

import json

import numpy as np
import pytest

from ml.envs import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.onboard.observation.spec import EGO_INDEX, EGO_LIMITS, PEER_INDEX, PEER_LIMITS
from ml.parameters import load_parameters

pytestmark = pytest.mark.sumo

CAR_M = 4.5


def column(observation, name):
    """A peer feature in its own unit, (num_envs, 8)."""
    return observation["peers"][:, :, PEER_INDEX[name]] * PEER_LIMITS[0, PEER_INDEX[name]]


@pytest.fixture
def open_env():
    """Build one environment and close it at the end."""
    opened = []

    def build(num_envs, forced=None, **config):
        env = ConvoyVecEnv(num_envs, EnvConfig(**config), seed=17, forced_kind=forced)
        opened.append(env)
        return env

    yield build
    for env in opened:
        env.close()


@pytest.mark.parametrize(("scenario", "tolerance_m"), [("highway", 0.05), ("rural", 0.5)])
def test_with_perfect_radio_and_sensors_the_gap_is_the_true_gap(open_env, scenario, tolerance_m):
    """Predicted from 100 ms ago to now, also around bends (where a chord is not an arc)."""
    env = open_env(16, "free", scenario=scenario, radio="ideal", num_peers=(3, 3))
    env.reset()
    checked = 0
    for _ in range(200):
        observation, _, done, _ = env.step(np.zeros((16, 1), dtype=np.float32))
        truth = env.batch.truth
        true_gap = truth.route_pos_m[:, 1:] - truth.route_pos_m[:, :1] - CAR_M
        error = np.abs(column(observation, "gap")[:, :3] - true_gap)[~done]
        near = true_gap[~done] < 60.0
        assert error[near].max(initial=0.0) < tolerance_m
        checked += int(near.sum())
    assert checked > 1000


def test_a_braking_peer_shows_onset_then_decay(open_env):
    """While it brakes, its present acceleration lies below its past; later its past is slower."""
    env = open_env(8, "hazard", radio="ideal", num_peers=(1, 1))
    env.reset()
    onset = decay = 0
    for _ in range(300):
        observation, _, done, _ = env.step(np.full((8, 1), -0.01, dtype=np.float32))
        accel, before = (
            column(observation, "accel")[:, 0],
            column(observation, "accel_3_before")[:, 0],
        )
        slowed = column(observation, "slowed_since_3")[:, 0]
        onset += int(((accel < -2.0) & (before > -1.0) & ~done).sum())
        decay += int(((accel > -0.5) & (before < -2.0) & (slowed > 0.1) & ~done).sum())
    assert onset >= 8
    assert decay >= 3


def test_of_twelve_peers_the_eight_nearest_are_kept(open_env):
    """More peers than rows: no error, and the car in front is never the one dropped."""
    env = open_env(4, "free", radio="ideal", num_peers=(12, 12))
    env.reset()
    for _ in range(20):
        observation, *_ = env.step(np.zeros((4, 1), dtype=np.float32))
    assert observation["peer_mask"].sum(axis=1).tolist() == [8.0] * 4
    assert np.sort(column(observation, "cars_between"), axis=1).tolist() == [list(range(8))] * 4
    truth = env.batch.truth
    index = EGO_INDEX["nearest_gap"]
    nearest = observation["ego"][:, index] * EGO_LIMITS[0, index]
    assert nearest == pytest.approx(np.minimum(truth.gap_m, 150.0), abs=0.1)


def test_the_policy_sees_its_last_command_and_not_the_truth(open_env):
    """With noisy sensors own speed differs from the truth; the command is exact."""
    env = open_env(16, "free", radio="clean")
    env.reset()
    for _ in range(30):
        observation, *_ = env.step(np.full((16, 1), 0.5, dtype=np.float32))
    ego = observation["ego"] * EGO_LIMITS[0]
    assert ego[:, EGO_INDEX["last_command"]] == pytest.approx(np.full(16, 1.3))
    error = ego[:, EGO_INDEX["speed"]] - env.batch.truth.speed_mps[:, 0]
    assert 0.02 < np.std(error) < 0.5


def test_peers_are_known_by_what_they_measured_and_by_estimated_age(open_env):
    """Speeds on the air differ from the truth by the sensor's error; the age is the board's."""
    env = open_env(32, "free", radio="clean", num_peers=(2, 2))
    env.reset()
    for _ in range(20):
        observation, *_ = env.step(np.zeros((32, 1), dtype=np.float32))
    batch = env.batch
    shown = observation["peer_mask"][:, :2] == 1.0
    error = column(observation, "speed")[:, :2] - batch.truth.speed_mps[:, 1:]
    assert 0.05 < np.std(error[shown]) < 0.5
    east_error = (batch.peer_table.payload[:, 0, :, 0] - batch.truth.route_pos_m[:, 1:])[shown]
    assert 1.0 < np.std(east_error) < 10.0
    age_s = column(observation, "age")[:, :2]
    estimated = batch.peer_table.age_est_ms(batch.now_us)[:, 0] / 1000.0
    true = batch.peer_table.age_true_us(batch.now_us)[:, 0] / 1e6
    assert age_s[shown] == pytest.approx(estimated[shown], abs=1e-4)
    assert (age_s[shown] < true[shown]).all()


def test_what_the_ego_believes_belongs_to_the_episode_that_runs(open_env):
    """After a convoy's reset its measured speed is near its new speed, not the last episode's."""
    env = open_env(16, "free", radio="clean", episode_s=1.0)
    env.reset()
    for _ in range(25):
        env.step(np.zeros((16, 1), dtype=np.float32))
        error = env.batch.board.ego.speed_mps - env.batch.truth.speed_mps[:, 0]
        assert np.abs(error).max() < 1.0


def test_an_optional_ranging_sensor_sees_the_car_ahead(open_env, tmp_path):
    """Off in presets; switched on it shows the true gap within its noise, as far as it sees."""
    file = tmp_path / "ranging.json"
    content = json.loads(load_parameters("clean").model_dump_json())
    content["sensors"]["ranging"]["enabled"] = True
    file.write_text(json.dumps(content), encoding="utf-8")
    for radio, enabled in (("clean", False), (str(file), True)):
        env = open_env(32, "free", radio=radio)
        observations = [env.reset()]
        gaps_m = [env.batch.truth.gap_m]
        for _ in range(40):
            observation, _, done, _ = env.step(np.full((32, 1), 0.3, dtype=np.float32))
            observations.append(observation)
            # After its end a convoy shows the next episode's first tick.
            gaps_m.append(np.where(done, np.nan, env.batch.truth.gap_m))
        ego = np.array([o["ego"] for o in observations]) * EGO_LIMITS[0]
        gap_m = np.array(gaps_m)
        valid = ego[..., EGO_INDEX["range_valid"]] == 1.0
        range_m = ego[..., EGO_INDEX["range"]]
        assert (range_m[~valid] == 0.0).all()
        env.close()
        if not enabled:
            assert not valid.any()
            continue
        running = np.isfinite(gap_m)
        assert (valid[running] == (gap_m[running] <= 60.0)).all()
        assert valid.any(axis=1).all(), "from the first tick on"
        error = (range_m - gap_m)[valid & running]
        assert 0.25 < error.std() < 0.35
        assert abs(error.mean()) < 0.05


def test_what_a_peer_says_of_itself_is_of_its_beacons_moment(open_env, tmp_path):
    """Reckoned without errors, a message's state is the true one at its own time in the tick."""
    file = tmp_path / "reckoned.json"
    content = json.loads(load_parameters("ideal").model_dump_json())
    content["sensors"]["position"]["mode"] = "fused"
    content["radio"]["beacon"] = {"phase_ms": None, "jitter_ms": 40.0}
    file.write_text(json.dumps(content), encoding="utf-8")
    env = open_env(16, "hazard", radio=str(file), num_peers=(3, 3), scenario="highway")
    env.reset()
    checked = 0
    for _ in range(150):
        before = env.batch.truth
        _, _, done, _ = env.step(np.zeros((16, 1), dtype=np.float32))
        table, now = env.batch.peer_table, env.batch.truth
        # A convoy that has just ended shows its next episode.
        share = table.t_generated_us[:, 0] / 1e5 - (env.batch.tick[:, None] - 1)
        said = table.payload[:, 0]
        for field, name in ((0, "route_pos_m"), (2, "speed_mps")):
            was, then = getattr(before, name)[:, 1:], getattr(now, name)[:, 1:]
            error = np.abs(said[..., field] - was - share * (then - was))[~done]
            assert error.max() < 0.03, name
        checked += int((~done).sum())
    assert checked > 1500
