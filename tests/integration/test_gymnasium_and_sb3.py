"""Gymnasium and Stable-Baselines3 as strangers use them, on real SUMO."""

from __future__ import annotations

import copy
import enum
import os
import pickle
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RecordVideo, RenderCollection
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import SubprocVecEnv, VecMonitor, VecNormalize

from ml.envs import ENV_ID, ConvoyEnv, EnvConfig
from ml.envs.config import KINDS
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.envs.picture import EGO
from ml.errors import (
    ConfigError,
    EnvironmentStateError,
    SimulatorError,
    SimulatorInUseError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.sumo

ULP_ABOVE = np.nextafter(np.float32(1.0), np.float32(2.0))
HOLD = np.zeros((8, 1), dtype=np.float32)


@pytest.fixture
def opened() -> Iterator[Callable]:
    """Pass environments through, and close them at the end whatever happens."""
    environments = []

    def keep(env):
        environments.append(env)
        return env

    yield keep
    for env in environments:
        env.close()


def _same(first: dict, second: dict) -> bool:
    return all(np.array_equal(first[key], second[key]) for key in first)


def test_stable_baselines_makes_the_environment_by_its_name(opened):
    """`make_vec_env(id)` and `PPO(policy, id)` work, without a warning (warnings are errors)."""
    env = opened(make_vec_env(ENV_ID, n_envs=1, seed=3))
    assert env.reset()["peers"].shape == (1, 8, 23)
    env.close()
    model = PPO("MultiInputPolicy", ENV_ID, n_steps=8, batch_size=8, device="cpu")
    opened(model.get_env())
    assert model.learn(8).num_timesteps == 8


@pytest.mark.parametrize("start_method", ["forkserver", "fork"])
def test_stable_baselines_runs_one_environment_a_process(opened, start_method):
    """`SubprocVecEnv` of the id with its module, which a fresh process has to import first."""
    env = opened(
        make_vec_env(
            f"ml.envs:{ENV_ID}",
            n_envs=2,
            seed=3,
            env_kwargs={"num_peers": 2},
            vec_env_cls=SubprocVecEnv,
            vec_env_kwargs={"start_method": start_method},
        )
    )
    first = env.reset()
    env.close()
    for row in range(2):
        alone = opened(ConvoyEnv(num_peers=2))
        assert _same(alone.reset(seed=3 + row)[0], {k: v[row] for k, v in first.items()})
        alone.close()


@pytest.mark.parametrize("mode", ["human", "ansi", ["rgb_array"]])
def test_what_cannot_be_drawn_is_refused_by_an_error_that_both_libraries_understand(
    mode, monkeypatch
):
    """A `TypeError` for Stable-Baselines3, a `ConfigError` of ours, the value named."""
    monkeypatch.delenv("DISPLAY", raising=False)
    for caught in (TypeError, ConfigError):
        with pytest.raises(caught, match=rf"render_mode = {re.escape(repr(mode))}.*'rgb_array'"):
            gym.make(ENV_ID, render_mode=mode)


def test_an_environment_draws_what_is(opened):
    """Pictures through Gymnasium's own checks, that move; none before a reset or closed."""
    env = opened(gym.make(ENV_ID, render_mode="rgb_array", num_peers=4))
    assert "rgb_array" in env.metadata["render_modes"]
    with pytest.raises(EnvironmentStateError, match="reset"):
        env.unwrapped.render()
    env.reset(seed=3)
    first = env.render()
    assert (first.shape, first.dtype) == ((200, 800, 3), np.uint8)
    for _ in range(20):
        env.step(np.array([-1.0], dtype=np.float32))
    later = env.render()
    orange = [(picture == EGO).all(axis=2).sum() for picture in (first, later)]
    assert min(orange) > 100
    assert (first != later).any()
    env.unwrapped.close()
    with pytest.raises(EnvironmentStateError, match="closed"):
        env.unwrapped.render()


def test_gymnasium_collects_the_pictures_of_an_episode(opened):
    """By its own wrapper, one a tick and one at the reset."""
    env = opened(RenderCollection(gym.make(ENV_ID, render_mode="rgb_array", num_peers=1)))
    env.reset(seed=3)
    for _ in range(5):
        env.step(np.zeros(1, dtype=np.float32))
    assert len(env.render()) == 6


def test_gymnasium_records_a_video(opened, tmp_path):
    """`RecordVideo`, where moviepy is, which it writes with."""
    pytest.importorskip("moviepy", reason="RecordVideo writes with moviepy: pip install moviepy")
    env = gym.make(ENV_ID, render_mode="rgb_array", config=EnvConfig(episode_s=10.0))
    env = opened(RecordVideo(env, str(tmp_path / "video"), episode_trigger=lambda _: True))
    env.reset(seed=3)
    done = False
    while not done:
        _, _, terminated, truncated, _ = env.step(np.zeros(1, dtype=np.float32))
        done = terminated or truncated
    env.close()
    (video,) = tmp_path.glob("video/*.mp4")
    assert video.stat().st_size > 1000


def test_environments_of_their_own_processes_draw_as_one(opened):
    """`gym.make_vec` with a process each."""
    env = opened(
        gym.make_vec(
            f"ml.envs:{ENV_ID}",
            num_envs=2,
            vectorization_mode="async",
            vector_kwargs={"context": "spawn"},
            render_mode="rgb_array",
        )
    )
    env.reset(seed=3)
    assert [picture.shape for picture in env.render()] == [(200, 800, 3)] * 2


def test_stable_baselines_shows_a_batch_while_it_evaluates(opened):
    """`evaluate_policy(render=True)` on the batch, whose pictures are tiled."""
    env = opened(ConvoyVecEnv(4, EnvConfig(episode_s=10.0, num_peers=(2, 2))))
    model = PPO("MultiInputPolicy", env, n_steps=8, batch_size=8, device="cpu")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Evaluation environment is not wrapped")
        evaluate_policy(model, env, n_eval_episodes=4, render=True)
    assert env.render().shape == (400, 1600, 3)


def test_a_second_environment_in_the_process_is_told_the_ways_out(opened):
    """In the words of Stable-Baselines3 and of Gymnasium."""
    env = opened(make_vec_env(ENV_ID, n_envs=2))
    with pytest.raises(SimulatorInUseError) as caught:
        env.reset()
    env.close()
    for way in ("ConvoyVecEnv", "vec_env_cls=SubprocVecEnv", 'backend="traci"'):
        assert way in str(caught.value)
    with pytest.raises(SimulatorInUseError, match=r'vectorization_mode="async".*"spawn"'):
        opened(gym.make_vec(ENV_ID, num_envs=2, vectorization_mode="sync")).reset()


def test_a_fork_beside_a_running_sumo_is_told_of_the_fork(opened):
    """libsumo: it cannot start another; TraCI: the connection stays the parent's."""
    _in_a_fork(
        opened(gym.make(ENV_ID)), lambda: ConvoyEnv().reset(), 'fork.*context="spawn".*spawn'
    )


def test_a_fork_does_not_take_its_parents_sumo_along(opened):
    """A child that steps or closes an environment over TraCI leaves SUMO to its parent."""
    env = opened(gym.make(ENV_ID, backend="traci", num_peers=1))

    def step_and_close():
        try:
            env.step(np.zeros(1))
        finally:
            env.close()

    _in_a_fork(env, step_and_close, "fork")


def _in_a_fork(env: gym.Env, act: Callable, complaint: str) -> None:
    env.reset(seed=1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # no cover: another process
        words = "nothing raised"
        try:
            act()
        except SimulatorError as error:
            words = str(error)
        finally:
            os.write(writing, words.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        words = pipe.read()
    os.waitpid(child, 0)
    with pytest.raises(SimulatorError, match=complaint):
        raise SimulatorError(words)
    env.step(np.zeros(1))


def test_options_hold_for_the_next_reset_alone(opened):
    """One mapping for all, or one for each; then episodes are drawn as before."""
    env = opened(ConvoyVecEnv(8, EnvConfig(num_peers=(2, 2)), seed=1))
    drawn = opened(ConvoyVecEnv(8, EnvConfig(num_peers=(2, 2)), seed=1))
    hazard, benign, free = (KINDS.index(kind) for kind in ("hazard", "benign", "free"))
    env.set_options({"episode": "hazard"})
    env.reset()
    assert (env.batch.plan.kind == hazard).all()
    env.set_options([{"episode": "benign"}, {"episode": "free"}, {}, {}] * 2)
    env.reset()
    mixed = env.batch.plan.kind.copy()
    last = env.reset()
    kinds = env.batch.plan.kind.copy()
    env.close()
    drawn.reset()
    drawn.reset()
    assert mixed[[0, 1, 4, 5]].tolist() == [benign, free] * 2
    assert mixed[[2, 3, 6, 7]].tolist() == drawn.batch.plan.kind[[2, 3, 6, 7]].tolist()
    assert _same(last, drawn.reset())
    assert kinds.tolist() == drawn.batch.plan.kind.tolist()


def test_convoys_of_mixed_options_drive_as_those_of_one(opened):
    """What one convoy was asked for does not change another's episode by a bit."""
    seen = []
    for options in ({"episode": "hazard"}, [{"episode": "hazard"}, {"episode": "free"}] * 4):
        env = opened(ConvoyVecEnv(8, EnvConfig(num_peers=(2, 4)), seed=1))
        env.reset()
        env.set_options(options)
        ticks = [env.reset(), *(env.step(HOLD)[0] for _ in range(20))]
        assert (env.batch.plan.kind[::2] == KINDS.index("hazard")).all()
        env.close()
        seen.append([{k: v[::2] for k, v in tick.items()} for tick in ticks])
    assert all(map(_same, *seen))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"episod": "hazard"}, r"unknown reset option \['episod'\]"),
        ({"episode": "hazrd"}, "Did you mean 'hazard'"),
        ([{}], "1 mappings for 8 convoys"),
        ([["hazard"]] * 8, "give a mapping"),
    ],
)
def test_wrong_options_are_refused_at_the_reset(options, complaint):
    """As `ConvoyEnv` refuses them; nothing is ignored, and SUMO is not started for it."""
    env = ConvoyVecEnv(8)
    env.set_options(options)
    with pytest.raises(ConfigError, match=complaint):
        env.reset()
    assert env._asked_kinds() == [None] * 8  # the next reset is free of them


def test_an_action_of_another_shape_is_refused_by_what_was_given(opened):
    """A scalar, say, and a batch of one for the environment that is none."""
    env = opened(gym.make(ENV_ID, num_peers=2).unwrapped)
    env.reset(seed=1)
    for wrong, shape in ((0.5, r"\(\)"), ([[0.5]], r"\(1, 1\)"), ([0.5, 0.5], r"\(2,\)")):
        with pytest.raises(EnvironmentStateError, match=f"has shape {shape}; expected \\(1,\\)"):
            env.step(wrong)
    env.step([0.5])


def test_calls_that_a_batch_cannot_carry_out_are_refused():
    """Of the methods that Stable-Baselines3 has for each environment by itself."""
    env = ConvoyVecEnv(4)
    with pytest.raises(EnvironmentStateError, match="call reset"):
        env.env_method("reset")
    with pytest.raises(EnvironmentStateError, match="leave indices out"):
        env.env_method("tick_metrics", indices=[0, 1])
    with pytest.raises(EnvironmentStateError, match="convoys 0 to 3"):
        env.get_attr("num_envs", 4)
    with pytest.raises(EnvironmentStateError, match="build another"):
        env.set_attr("forced_kind", "free", indices=0)
    assert env.get_attr("num_envs", [0, -1]) == [4, 4]
    assert env.get_attr("num_envs", np.int64(2)) == [4]
    assert len(env.env_method("tick_metrics", indices=range(4))) == 4
    assert env.has_attr("batch")
    assert not env.has_attr("num_peers")
    assert env.env_is_wrapped(gym.Wrapper, 1) == [False]


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_envs": 0},
        {"num_envs": "4"},
        {"num_envs": 2.5},
        {"num_envs": True},
        {"seed": -1},
        {"seed": 2.5},
        {"forced_kind": "hazrd"},
        {"config": "bursty"},
        {"config": {"num_pers": [2, 2]}},
        {"config": {"num_peers": [2, 2.5]}},
        {"config": {"reward": object()}},
    ],
)
def test_wrong_arguments_of_the_batch_are_refused_by_name(arguments):
    """With an error of ours, before SUMO is started."""
    with pytest.raises((ConfigError, EnvironmentStateError), match=next(iter(arguments))):
        ConvoyVecEnv(**arguments)


def test_actions_are_numbers(opened):
    """What is none is an error that names the dtype, and leaves no trace; lists will do."""
    env = opened(ConvoyVecEnv(8, EnvConfig(num_peers=(2, 2)), seed=1))
    env.reset()
    seen = [env.step(HOLD)[0]]
    for wrong, named in [
        (HOLD.astype(bool), "bool"),
        (HOLD.astype(object), "object"),
        (HOLD.astype(str), "<U32"),
        (HOLD.astype(complex), "complex128"),
        (None, "object"),
        ("brake", "<U5"),
        ([[0.0]] * 7 + [[0.0, 1.0]], "list"),
        ([[0.0]] * 7, r"shape \(7, 1\)"),
        (np.full((8, 1), 1.0 + 2e-6), "outside"),
        (np.full((8, 1), np.nan), "outside"),
    ]:
        with pytest.raises(EnvironmentStateError, match=named):
            env.step(wrong)
    kinds = (np.int8, np.float16, ">f4")
    rights = [[[0.0]] * 8, ((0,),) * 8, *(HOLD.astype(kind) for kind in kinds)]
    seen += [env.step(right)[0] for right in rights]
    env.close()
    plain = opened(ConvoyVecEnv(8, EnvConfig(num_peers=(2, 2)), seed=1))
    plain.reset()
    assert all(_same(tick, plain.step(HOLD)[0]) for tick in seen)


def test_what_rounding_adds_to_an_action_counts_as_one(opened):
    """Gymnasium's `RescaleAction` ends one float32 beyond 1: as 1.0, in both environments."""
    env = gym.make(ENV_ID, num_peers=2)
    wrapped = opened(gym.wrappers.RescaleAction(env, np.float32(0.1), np.float32(0.7)))
    wrapped.reset(seed=0)
    wrapped.step(wrapped.action_space.high)
    commanded_mps2 = [env.unwrapped.batch.commanded_accel_mps2[0]]
    wrapped.close()
    for action in (1.0, ULP_ABOVE, 1.0 + 1e-6):
        batch = opened(ConvoyVecEnv(1, EnvConfig(num_peers=(2, 2)), seed=0))
        batch.reset()
        batch.step([[action]])
        commanded_mps2.append(batch.batch.commanded_accel_mps2[0])
        batch.close()
    assert commanded_mps2 == [commanded_mps2[1]] * 4
    assert commanded_mps2[0] == pytest.approx(2.6)


def test_an_environment_is_remade_from_its_specification(opened):
    """`to_json` works with a whole configuration, and the copy drives the same episodes."""
    config = EnvConfig(num_peers=(2, 3), radio="bursty")
    env = opened(gym.make(ENV_ID, config=config, max_episode_steps=7))
    text = env.spec.to_json()
    first = env.reset(seed=2)[0]
    env.close()
    again = opened(gym.make(gym.envs.registration.EnvSpec.from_json(text)))
    assert again.unwrapped.batch.config == config
    assert _same(again.reset(seed=2)[0], first)
    assert [again.step([0.0])[3] for _ in range(7)] == [False] * 6 + [True]
    given = gym.make(ENV_ID, sumo_cfg=Path("highway"), num_peers=(np.int64(2), 3))
    copied = gym.make(gym.envs.registration.EnvSpec.from_json(given.spec.to_json()))
    assert copied.unwrapped.batch.config == EnvConfig(num_peers=(2, 3))


@pytest.mark.parametrize("make", [lambda: gym.make(ENV_ID, num_peers=2), lambda: ConvoyVecEnv(2)])
def test_an_environment_is_copied_before_its_first_reset(opened, make):
    """By `pickle` and by `deepcopy`; afterwards that is an error which says what to do."""
    firsts = []
    env = make()
    for twin in (env, pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):  # noqa: S301
        opened(twin)
        first = twin.reset() if isinstance(twin, ConvoyVecEnv) else twin.reset(seed=0)[0]
        firsts.append(first)
        twin.close()
        for take in (pickle.dumps, copy.deepcopy):
            with pytest.raises(EnvironmentStateError, match="before its first reset"):
                take(twin)
    assert _same(firsts[0], firsts[1])
    assert _same(firsts[0], firsts[2])


def test_seeds_beyond_64_bits_are_seeds_of_their_own(opened):
    """No two of them give the same episode, and what is no seed is refused."""
    env = opened(ConvoyEnv())
    seeds = [0, 1, 2**64 - 1, 2**64, 2**64 + 1, 2**65, 2**127, 2**127 + 1, 2**128]
    firsts = {env.reset(seed=seed)[0]["ego"].tobytes() for seed in seeds}
    assert len(firsts) == len(seeds)
    for wrong in (-1, np.int64(3)):
        with pytest.raises(gym.error.Error, match="Seed must be"):
            env.reset(seed=wrong)


def _interrupt(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *, after: bool) -> None:
    """Let a Ctrl-C come before or after the next call of a method."""
    method = getattr(owner, name)

    def interrupted(*arguments, **named):
        monkeypatch.undo()
        if after:
            method(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, interrupted)


POINTS = {
    "answer of SUMO": (lambda batch: batch.simulator._connection, "_receive", False),
    "simulated": (lambda batch: batch.simulator._fleet, "advance", False),
    "counted": (lambda batch: batch.reference, "advance", False),
    "heard": (lambda batch: batch.stack, "receive", True),
    "observed": (lambda batch: batch, "judge", False),
    "placed": (lambda batch: batch.simulator._fleet, "confirm", True),
    "begun": (lambda batch: batch.stack, "reset", False),
}


INTERRUPTED = [("traci", point) for point in POINTS]
INTERRUPTED += [("libsumo", point) for point in POINTS if point != "answer of SUMO"]


@pytest.mark.parametrize(("backend", "point"), INTERRUPTED)
def test_after_a_ctrl_c_the_next_reset_starts_from_nothing(opened, monkeypatch, backend, point):
    """Wherever it came; and to the same bits as ever."""
    env = opened(ConvoyEnv(backend=backend, num_peers=3, radio="bursty"))
    wanted = [env.reset(seed=5)[0], *(env.step([0.1])[0] for _ in range(5))]
    owner, name, after = POINTS[point]
    _interrupt(monkeypatch, owner(env.batch), name, after=after)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 (whichever of the two it meets)
        env.step([0.1])
        env.reset(seed=6)
    got = [env.reset(seed=5)[0], *(env.step([0.1])[0] for _ in range(5))]
    assert all(map(_same, got, wanted))


@pytest.mark.parametrize("backend", ["traci", "libsumo"])
def test_after_a_ctrl_c_learning_goes_on(opened, monkeypatch, backend):
    """Who steps on meets the end of all running episodes, as after a loss of SUMO, and goes on."""
    config = EnvConfig(backend=backend, num_peers=(2, 2))
    model = PPO(
        "MultiInputPolicy",
        opened(VecMonitor(ConvoyVecEnv(2, config, seed=1))),
        n_steps=8,
        batch_size=16,
        n_epochs=1,
        device="cpu",
    )
    model.learn(16)
    batch = model.get_env().unwrapped.batch
    _interrupt(monkeypatch, batch.simulator._fleet, "advance", after=False)
    with pytest.raises(KeyboardInterrupt):
        model.learn(16, reset_num_timesteps=False)
    model.learn(16, reset_num_timesteps=False)
    assert batch.keeper.truncated_episodes == 2
    assert batch.tick.tolist() == [7, 7]
    model.get_env().close()


def test_a_single_environment_that_is_stepped_on_after_a_ctrl_c_is_truncated(opened, monkeypatch):
    """With the status of a lost SUMO; the next reset begins as usual."""
    env = opened(ConvoyEnv(num_peers=2))
    first, _ = env.reset(seed=5)
    _interrupt(monkeypatch, env.batch.reference, "advance", after=True)
    with pytest.raises(KeyboardInterrupt):
        env.step([0.1])
    _, reward, terminated, truncated, info = env.step([0.1])
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["status"] == "simulator_lost"
    assert _same(env.reset(seed=5)[0], first)


@pytest.mark.skipif(not hasattr(enum.EnumType, "__getattr__"), reason="Python code up to 3.11")
def test_no_ctrl_c_is_lost_in_a_step(opened, monkeypatch):
    """Numpy looks for attributes of a member of an enum, and drops what is raised meanwhile."""
    lost = []

    def look(_, name):
        lost.append(name)
        raise AttributeError(name)

    env, batch = opened(ConvoyEnv(num_peers=2)), ConvoyVecEnv(1, EnvConfig(backend="traci"))
    opened(batch)
    env.reset(seed=5)
    batch.reset()
    monkeypatch.setattr(enum.EnumType, "__getattr__", look)
    env.step(HOLD[0])
    env.reset()
    batch.step(HOLD[:1])
    monkeypatch.undo()
    assert lost == []


def test_a_start_that_was_broken_off_does_not_block_the_next(opened, monkeypatch):
    """A Ctrl-C just after libsumo has started."""
    env = opened(ConvoyEnv(num_peers=2))
    _interrupt(monkeypatch, env.batch.simulator, "_note_live", after=False)
    with pytest.raises(KeyboardInterrupt):
        env.reset(seed=5)
    first, _ = env.reset(seed=5)
    assert env.observation_space.contains(first)


def test_calls_out_of_order_say_what_is_missing(opened):
    """Before the first reset, and after close; closing twice is fine."""
    for env, action in ((ConvoyEnv(num_peers=2), [0.0]), (ConvoyVecEnv(1), [[0.0]])):
        opened(env)
        with pytest.raises(EnvironmentStateError, match=r"reset\(\) before step"):
            env.step(action)
        env.reset()
        env.step(action)
        env.close()
        env.close()
        with pytest.raises(EnvironmentStateError, match="closed"):
            env.step(action)
        env.reset()
        env.step(action)
        env.close()


def test_the_batch_stands_under_the_wrappers_of_stable_baselines(opened, tmp_path):
    """`VecNormalize`, saved and loaded, over `VecMonitor`; `evaluate_policy` counts episodes."""
    config = EnvConfig(num_peers=(2, 2), episode_s=2.0)
    env = opened(VecNormalize(VecMonitor(ConvoyVecEnv(4, config, seed=1)), norm_obs=False))
    model = PPO("MultiInputPolicy", env, n_steps=8, batch_size=32, n_epochs=1, device="cpu")
    model.learn(32)
    env.save(str(tmp_path / "normal.pkl"))
    env.close()
    again = opened(VecNormalize.load(str(tmp_path / "normal.pkl"), ConvoyVecEnv(4, config)))
    returns, lengths = evaluate_policy(
        model, VecMonitor(again), n_eval_episodes=8, return_episode_rewards=True
    )
    assert len(returns) == 8
    assert lengths == [20] * 8
