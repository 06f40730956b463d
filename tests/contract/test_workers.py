"""Workers: any number of them gives the same rollouts, and one that is lost costs its episodes."""

import os
import signal
import threading
import time
from multiprocessing import active_children

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from ml.envs import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.errors import ScenarioError, WorkerLostError
from ml.training.checkpoints import ConvoyPPO
from ml.training.config import PpoConfig, RecordingConfig, TrainConfig
from ml.training.deployment import read_deployment
from ml.training.environment import build_environment, build_learner
from ml.training.workers import WorkersVecEnv

pytestmark = pytest.mark.sumo

CONVOYS, TICKS = 6, 100
ENV = EnvConfig(num_peers=(2, 4), episode_s=5.0, radio="bursty", domain_randomisation=True)


@pytest.fixture
def make():
    """Make environments with a learner that are closed at the end."""
    opened = []

    def learner(
        workers: int, recording: RecordingConfig | None = None, **changes: object
    ) -> tuple[ConvoyPPO, WorkersVecEnv]:
        config = TrainConfig(
            num_envs=CONVOYS,
            workers=workers,
            recording=recording or RecordingConfig(),
            env=ENV.model_copy(update=changes),
            ppo=PpoConfig(n_steps=CONVOYS * TICKS, batch_size=CONVOYS * TICKS, n_epochs=3),
        )
        env = build_environment(config, read_deployment({}), 3)
        opened.append(env)
        return build_learner(config, env, 3), env

    yield learner
    for env in opened:
        env.close()
    assert not active_children()


def rollouts(model, count=2):
    """Learn from some rollouts; return all that was recorded, and the weights after it."""
    recorded = []

    def keep(_locals, _globals):
        if len(recorded) < model.num_timesteps // (CONVOYS * TICKS):
            arrays = {n: v.copy() for n, v in model.env.arrays.items() if n.startswith("rollout/")}
            recorded.append(arrays)
        return True

    model.learn(count * CONVOYS * TICKS, callback=keep)
    return recorded, {n: v.numpy() for n, v in model.policy.state_dict().items()}


def processes(env):
    """Process ids of the workers that run."""
    return [child._process.pid for child in env._children if child is not None]


@pytest.mark.parametrize("backend", ["libsumo", "traci"])
def test_any_number_of_workers_gives_the_same_rollouts(make, backend):
    """Observations, actions, rewards, values and ends of two rollouts, and what is learnt."""
    first, weights = rollouts(make(1)[0])
    assert sum(arrays["rollout/starts"][1:].sum() for arrays in first) >= CONVOYS
    for workers in (2, 4):
        model, env = make(workers, backend=backend)
        found, learnt = rollouts(model)
        assert len(processes(env)) == workers
        for mine, theirs in zip(first, found, strict=True):
            for name, array in mine.items():
                np.testing.assert_array_equal(array, theirs[name], name)
        for name, array in weights.items():
            np.testing.assert_array_equal(array, learnt[name], name)
        env.close()


def test_recorded_traffic_is_shared_out_like_any(make):
    """A convoy drives its own recorded episodes, whoever records the others'."""
    recording = RecordingConfig(episodes=2 * CONVOYS)
    found = [
        rollouts(make(workers, recording, radio_position="reference")[0], count=1)[0][0]
        for workers in (1, 3)
    ]
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], name)
    assert found[0]["rollout/starts"][1:].sum() > 2


def test_a_step_is_that_of_a_batch(make):
    """For learners of one's own: observations, rewards, ends and infos of `ConvoyVecEnv`."""
    env = make(2)[1]
    batch = ConvoyVecEnv(CONVOYS, ENV, seed=3)
    try:
        ways = (env, batch)
        for one in ways:
            one.seed(9)
            one.set_options({"episode": "hazard"})
        seen = [one.reset() for one in ways]
        action = np.linspace(-0.4, 0.4, CONVOYS, dtype=np.float32)[:, None]
        ended = 0
        for _ in range(60):
            for name, rows in seen[0].items():
                np.testing.assert_array_equal(rows, seen[1][name])
            (mine, *rest), (theirs, *others) = (one.step(action) for one in ways)
            seen = [mine, theirs]
            np.testing.assert_array_equal(rest[0], others[0])
            np.testing.assert_array_equal(rest[1], others[1])
            for info, other in zip(rest[2], others[2], strict=True):
                assert info.get("episode_summary") == other.get("episode_summary")
                ended += "episode_summary" in info
        assert ended >= CONVOYS
    finally:
        batch.close()


def lose(how, env, *, at_tick):
    """Lose the second worker once, in mid-rollout; return what will hold the workers of then."""
    running = []

    def wait():
        while env.arrays["progress"][1] < at_tick:
            time.sleep(0.001)
        running.extend(processes(env))
        os.kill(running[1], how)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread, running


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_a_lost_worker_is_replaced(make, how):
    """Its episodes are truncated and counted, the step lost earns nothing, the others go on."""
    whole, _ = rollouts(make(1)[0], count=1)
    model, env = make(2)
    env._patience_s, env._proven = 20.0, True
    thread, before = lose(how, env, at_tick=5)
    (found,), _ = rollouts(model, count=1)
    thread.join()
    assert (env.replaced, env.truncated_episodes) == (1, CONVOYS // 2)
    assert processes(env)[0] == before[0]
    assert processes(env)[1] != before[1]
    lost = np.flatnonzero(found["rollout/starts"][1:, CONVOYS // 2 :].all(axis=1))
    assert lost.size == 1
    tick = int(lost[0])
    assert tick >= 5
    for name, array in whole[0].items():
        np.testing.assert_array_equal(found[name][:, :3], array[:, :3], name)
        if name not in ("rollout/starts", "rollout/rewards"):
            np.testing.assert_array_equal(found[name][: tick + 1, 3:], array[: tick + 1, 3:], name)
    worth = model.gamma * found["rollout/values"][tick, 3:]
    np.testing.assert_allclose(found["rollout/rewards"][tick, 3:], worth, rtol=1e-5)
    first = found["rollout/ego"][tick + 1, 3:]
    assert not np.array_equal(first, whole[0]["rollout/ego"][tick + 1, 3:])
    figures = env.tick_metrics()
    assert figures["workers/replaced"] == 1.0


def test_a_worker_that_is_lost_in_an_update_changes_nothing(make):
    """What it was to compute is computed here: the same weights, to the bit."""
    weights = []
    for lost in (False, True):
        model, env = make(3)
        model.set_logger(configure(None, []))
        _, callback = model._setup_learn(CONVOYS * TICKS, EveryStep())
        model.collect_rollouts(env, callback, model.rollout_buffer, TICKS)
        if lost:
            os.kill(processes(env)[1], signal.SIGKILL)
        model.train()
        assert env.replaced == lost
        weights.append(model.policy.state_dict())
        env.close()
    for name, array in weights[0].items():
        assert array.equal(weights[1][name]), name


class EveryStep(BaseCallback):
    """Goes on."""

    def _on_step(self):
        return True


def test_workers_that_die_again_and_again_are_an_error(make):
    """With the exit code and what to try."""
    env = make(2)[1]
    with pytest.raises(WorkerLostError, match=r"exit code 7.*fewer --workers"):
        env.run(die)


def die(share):
    """End the process."""
    del share
    os._exit(7)


def test_a_fault_of_ours_is_told_at_once(make):
    """With where it was, and without another worker, which would have it, too."""
    env = make(2)[1]
    with pytest.raises(RuntimeError, match=r"in worker 0:(?s:.*)in stumble(?s:.*)KeyError"):
        env.run(stumble)
    assert env.replaced == 0


def stumble(share):
    """Fail as code of ours would."""
    raise KeyError(share.number)


def test_what_a_worker_raises_is_raised():
    """A mistake reads the same as without workers."""
    env = WorkersVecEnv(2, EnvConfig(scenario="nowhere.sumocfg"), workers=2)
    with pytest.raises(ScenarioError, match="nowhere"):
        env.reset()
    env.close()
    assert not active_children()


def test_a_worker_ends_with_its_parent(make):
    """Also where that is killed: the pipe's end is the worker's."""
    env = make(2)[1]
    env.reset()
    pids = processes(env)
    for child in env._children:
        child._connection.close()  # as the kernel does for a process that is gone
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline and any(child._process.is_alive() for child in env._children):
        time.sleep(0.05)
    assert not any(child._process.is_alive() for child in env._children), pids
