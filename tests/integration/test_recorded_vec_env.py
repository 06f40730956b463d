"""Recorded traffic as an environment: the bits of the live one, on real SUMO."""

import copy
import io

import numpy as np
import pytest
from rich.console import Console

from ml.cli import main
from ml.envs.config import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.envs.recorded_vec_env import RecordedVecEnv
from ml.errors import ConfigError

pytestmark = pytest.mark.sumo

QUIET = Console(file=io.StringIO())
SHORT = {"radio_position": "reference", "episode_s": 12.0, "num_peers": (1, 3)}
LAYER = {"safety_layer": True, "action_lag_s": 0.3, "time_gap_s": (1.0, 2.0)}


def record(num_envs, config, **options):
    """Return an environment that has recorded, at its first episodes."""
    env = RecordedVecEnv(num_envs, EnvConfig(**config), console=QUIET, **options)
    return env, env.reset()


def answer(seen, tick):
    """Act such that any changed bit shows; the first convoy is too fast for its life."""
    sums = sum(values.reshape(len(values), -1).sum(axis=1) for values in seen.values())
    action = 0.4 * np.sin(30.0 * sums + 0.07 * tick + np.arange(len(sums)))
    action[0] = 0.9
    return action[:, None].astype(np.float32)


def drive(env, seen, most=10**6):
    """Drive up to the first episode that is not the convoy's own; return what each tick said."""
    said = []
    for tick in range(most):
        seen, reward, ended, infos = env.step(answer(seen, tick))
        if isinstance(env, RecordedVecEnv) and (env.batch.episode >= env.batch._each).any():
            break
        told = [reward, ended, env.batch.natural_weight, *(seen[name] for name in sorted(seen))]
        for row in np.flatnonzero(ended):
            last = infos[row].pop("terminal_observation")
            told += [last[name] for name in sorted(last)]
        said.append([values.tobytes() for values in told] + [info for info in infos if info])
    return said


def same(recorded, seen, live):
    """Check that an environment and the live one say the same; return summaries of the ends."""
    first = live.reset()
    for name, values in first.items():
        np.testing.assert_array_equal(seen[name], values)
    found = drive(recorded, seen)
    expected = drive(live, first, len(found))
    for tick, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert repr(one) == repr(other), tick
    return [end["episode_summary"] for said in found for end in said if isinstance(end, dict)]


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"radio": "clean"}, None),
        ({"radio": "bursty", "num_peers": (8, 8), **LAYER}, "hazard"),
        ({"radio": "varied", "domain_randomisation": True, "num_peers": (1, 1)}, None),
        ({"radio": "gps-hold", "scenario": "rural", "reference_gap": "own"}, None),
        ({"radio": "bursty", "scenario": "two-lanes", "stop_at_collision": False}, "hazard"),
    ],
)
def test_a_recording_drives_like_the_live_environment(config, kind):
    """Observations, rewards, ends and summaries of whole episodes, with crashes and resets."""
    config = SHORT | config
    recorded, seen = record(6, config, episodes=30, seed=11, forced_kind=kind)
    live = ConvoyVecEnv(6, EnvConfig(**config), seed=11, forced_kind=kind)
    try:
        ends = same(recorded, seen, live)
    finally:
        live.close()
    assert len(ends) >= 6
    assert any(end["status"] == "time_limit" for end in ends)
    assert any(end["collision"] for end in ends) or "safety_layer" in config


def test_critical_cases_are_recorded_in_their_places():
    """Which episodes are replaced, by what, and what they weigh is as live."""
    config = {"radio_position": "reference", "cases": "clean", "cases_share": 0.5}
    recorded, seen = record(3, config, episodes=6, seed=2)
    assert 0 < recorded.batch.replayed.sum() < 3
    live = ConvoyVecEnv(3, EnvConfig(**config), seed=2)
    try:
        ends = same(recorded, seen, live)
    finally:
        live.close()
    assert ends


def test_what_was_recorded_is_driven_for_ever():
    """Beyond its first episodes a convoy drives its own again, each the same, in a keyed order."""
    env, seen = record(3, SHORT, episodes=6, seed=4)
    again, _ = record(3, SHORT, episodes=6, seed=4)
    found = {}
    orders = []
    for one in (env, again):
        order = []
        for _ in range(1500):
            _, _, ended, infos = one.step(np.full((3, 1), -0.2, np.float32))
            for row in np.flatnonzero(ended):
                summary = infos[row]["episode_summary"]
                number = summary.pop("episode")
                order.append((row, number, repr(summary)))
            for row in np.flatnonzero(one.batch.tick == 5):
                what = one.batch.truth.route_pos_m[row].tobytes()
                found.setdefault(int(one.batch.keys[row]), set()).add((int(row), what))
        orders.append(order)
    assert orders[0] == orders[1]
    assert len(found) == 6
    assert all(len({what for _, what in told}) == 1 for told in found.values())
    assert all(len({row for row, _ in told}) == 1 for told in found.values())
    del seen


def test_another_seed_is_another_recording():
    """As live, where the reset after `seed` begins with the first episode of that seed."""
    env, _ = record(2, SHORT, episodes=2, seed=1)
    keys = env.batch.keys.copy()
    env.seed(9)
    env.reset()
    other, _ = record(2, SHORT, episodes=2, seed=9)
    assert (env.batch.keys == other.batch.keys).all()
    assert not (env.batch.keys == keys).any()
    env.step(np.zeros((2, 1), np.float32))


def test_a_recording_keeps_to_its_memory():
    """What is asked for must fit whatever is heard, and what is used is less."""
    config = EnvConfig(**SHORT)
    with pytest.raises(ConfigError, match=r"memory_mb = 1\. Record \d+ or fewer, .* memory_mb = 4"):
        RecordedVecEnv(2, config, episodes=100, memory_mb=1.0)
    env, _ = record(2, SHORT, episodes=24, memory_mb=1.0)
    assert 2e5 < env.traffic.frames.num_bytes() < 1e6
    assert sum(array.nbytes for array in env.traffic.frames) < 1e6


def test_what_cannot_be_recorded_is_refused():
    """With what to do instead."""
    with pytest.raises(ConfigError, match="--radio-position reference"):
        RecordedVecEnv(2, EnvConfig())
    with pytest.raises(ConfigError, match="ego_control"):
        RecordedVecEnv(2, EnvConfig(radio_position="reference", ego_control="sumo"))
    with pytest.raises(ConfigError, match="episodes = 0"):
        RecordedVecEnv(4, EnvConfig(**SHORT), episodes=0)
    env = RecordedVecEnv(2, EnvConfig(**SHORT), episodes=2, console=QUIET)
    env.set_options({"episode": "hazard"})
    with pytest.raises(ConfigError, match="forced_kind"):
        env.reset()


def test_an_environment_can_be_copied_before_its_first_reset():
    """As the live one; the copy records for itself."""
    env = RecordedVecEnv(2, EnvConfig(**SHORT), episodes=2, seed=3)
    copied = copy.deepcopy(env)
    assert isinstance(copied.batch, type(env.batch))
    copied.reset()
    first = copied.batch.keys.copy()
    env.reset()
    assert (env.batch.keys == first).all()


def test_a_training_run_records_before_it_learns(tmp_path, monkeypatch, capsys):
    """With critical cases, too; without the radio that it needs it ends before it writes."""
    monkeypatch.chdir(tmp_path)
    small = ["train", "--preset", "spec", "--num-envs", "2", "--total-timesteps", "32"]
    small += ["--ppo.n-steps", "32", "--ppo.batch-size", "16", "--evaluation.every-steps", "0"]
    small += ["--evaluation.closing-episodes", "0", "--recording.episodes", "3", "--workers", "1"]
    assert main(small) == 2
    assert "--radio-position reference" in capsys.readouterr().err
    assert not list((tmp_path / "runs").iterdir())
    small += ["--radio-position", "reference", "--cases", "clean", "--cases-share", "0.5"]
    assert main([*small, "--cases-weights", "natural"]) == 0
    assert "recording traffic: 4 episodes" in capsys.readouterr().err
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "final.zip").exists()
