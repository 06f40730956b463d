"""SUMO is lost in mid-rollout over TraCI: episodes are truncated, the batch goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ml.envs.config import EnvConfig
from ml.envs.convoy_env import ConvoyEnv
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.errors import SimulatorError, SimulatorLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.sumo_service import Service

pytestmark = pytest.mark.sumo

NUM_ENVS = 4
CONFIG = EnvConfig(backend="traci", num_peers=(2, 4))
DEADLINE_S = 15.0  # for SUMO to come back; five seconds are promised
FROZEN_S = 2.0


def _actions(tick: int) -> np.ndarray:
    return np.full((NUM_ENVS, 1), 0.3 * np.sin(tick), dtype=np.float32)


@contextlib.contextmanager
def _batch(service: Service, **options: object) -> Iterator[ConvoyVecEnv]:
    env = ConvoyVecEnv(
        NUM_ENVS,
        CONFIG,
        seed=3,
        sumo_host="127.0.0.1",
        sumo_port=service.port,
        **{"sumo_deadline_s": DEADLINE_S} | options,
    )
    try:
        yield env
    finally:
        env.close()


def _drive(env: ConvoyVecEnv, ticks: int) -> list[tuple]:
    return [env.step(_actions(tick)) for tick in range(ticks)]


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _freeze(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


@pytest.mark.parametrize(
    ("harm", "deadline_s"), [(_kill, DEADLINE_S), (_freeze, FROZEN_S)], ids=["killed", "frozen"]
)
def test_a_lost_sumo_truncates_every_episode_and_the_batch_goes_on(
    service: Service, harm: Callable[[int], None], deadline_s: float
):
    """The lost tick ends all episodes as truncated, with the last observation to bootstrap from."""
    with _batch(service) as env:
        env.reset()
        seen = _drive(env, 20)[-1][0]
        before = {key: value.copy() for key, value in seen.items()}
        pid = service.sumo_pid()
        assert pid is not None
        env.batch.simulator._connection._deadline_s = deadline_s
        began = time.monotonic()
        harm(pid)
        observation, reward, ended, infos = env.step(_actions(20))
        assert time.monotonic() - began < deadline_s + DEADLINE_S
        assert ended.all()
        np.testing.assert_array_equal(reward, 0.0)
        for row, info in enumerate(infos):
            assert info["TimeLimit.truncated"]
            assert info["episode_summary"]["status"] == "simulator_lost"
            assert info["episode_summary"]["invalid"]
            assert info["episode_summary"]["duration_s"] == pytest.approx(2.0)
            for key, value in info["terminal_observation"].items():
                np.testing.assert_array_equal(value, before[key][row])
                assert not np.may_share_memory(value, observation[key])
        assert (observation["peer_mask"] == 0.0).all()  # a first tick, when nobody is heard yet
        assert service.wait_until_listening(not_pid=pid)
        assert not any(step[2].any() for step in _drive(env, 20))
        metrics = env.tick_metrics()
        assert metrics["simulator/restarts"] == 1.0
        assert metrics["simulator/truncated_episodes"] == NUM_ENVS


def test_episodes_after_a_loss_are_those_of_an_undisturbed_batch(service: Service):
    """A new SUMO knows nothing of the old: the next episodes are the same to the bit."""
    with _batch(service) as env:
        env.reset()
        _drive(env, 5)
        _kill(service.sumo_pid())
        first, *_ = env.step(_actions(5))
        after = [first, *(step[0] for step in _drive(env, 30))]
    undisturbed = ConvoyVecEnv(NUM_ENVS, EnvConfig(num_peers=(2, 4)), seed=3)
    try:
        undisturbed.reset()
        expected = [undisturbed.reset(), *(step[0] for step in _drive(undisturbed, 30))]
    finally:
        undisturbed.close()
    for found, wanted in zip(after, expected, strict=True):
        for key, value in wanted.items():
            np.testing.assert_array_equal(found[key], value)


def test_a_loss_while_episodes_begin_truncates_the_others_after_their_tick(service: Service):
    """The tick was simulated: its rewards count, and its observation is what is bootstrapped."""
    config = CONFIG.model_copy(update={"episode_s": 2.0})
    env = ConvoyVecEnv(
        NUM_ENVS, config, seed=3, sumo_host="127.0.0.1", sumo_port=service.port,
        sumo_deadline_s=DEADLINE_S,
    )  # fmt: skip
    try:
        env.reset()
        _drive(env, 5)
        env.batch.reset(np.array([0]))  # begins later than the others
        _drive(env, 14)
        place = env.batch.simulator.place
        killed = []

        def place_on_a_dead_sumo(placement) -> None:
            if not killed:
                killed.append(service.sumo_pid())
                _kill(killed[0])
                service.wait_until_listening(not_pid=killed[0])
            place(placement)

        env.batch.simulator.place = place_on_a_dead_sumo
        _, reward, ended, infos = env.step(_actions(19))
    finally:
        env.close()
    assert killed
    assert ended.all()
    assert (reward != 0.0).all()
    statuses = [info["episode_summary"]["status"] for info in infos]
    assert statuses == ["simulator_lost", *["time_limit"] * (NUM_ENVS - 1)]
    assert all(info["TimeLimit.truncated"] for info in infos)
    assert env.batch.keeper.truncated_episodes == 1


def test_a_sumo_that_stays_away_is_replaced_by_an_embedded_one(
    service: Service, caplog: pytest.LogCaptureFixture
):
    """As after `docker kill`, which Docker takes for a wish: training goes on, and says how."""
    with _batch(service, sumo_deadline_s=1.0, embedded_spare=True) as env:
        env.reset()
        _drive(env, 5)
        service.process.terminate()
        service.process.wait(DEADLINE_S)
        *_, ended, _ = env.step(_actions(5))
        assert ended.all()
        _drive(env, 20)
        assert type(env.batch.simulator).__name__ == "LibsumoSimulator"
        assert env.tick_metrics()["simulator/restarts"] == 1.0
    assert "From here on it runs inside this process" in caplog.text
    assert "docker compose up --detach sumo" in caplog.text


def test_a_sumo_that_stays_away_and_has_no_spare_is_an_error(service: Service):
    """Within the deadline, with both causes."""
    with _batch(service, sumo_deadline_s=1.0) as env:
        env.reset()
        service.process.terminate()
        service.process.wait(DEADLINE_S)
        began = time.monotonic()
        with pytest.raises(SimulatorError, match="did not come back") as caught:
            env.step(_actions(0))
        assert time.monotonic() - began < 10.0
    assert not isinstance(caught.value, SimulatorLostError)
    assert "broke" in str(caught.value)
    assert "ECONNREFUSED" in str(caught.value)


def test_a_sumo_that_is_lost_again_and_again_is_an_error(service: Service):
    """What ends SUMO each time is not mended by another start."""
    with _batch(service) as env:
        env.reset()
        for tick in range(5):
            _kill(service.sumo_pid())
            env.step(_actions(tick))
            _drive(env, 3)
        _kill(service.sumo_pid())
        with pytest.raises(SimulatorError, match=r"SUMO was lost 6 times.*--resume latest"):
            env.step(_actions(5))


def test_our_own_sumo_is_started_again(caplog: pytest.LogCaptureFixture):
    """Without a service beside us, the next SUMO is ours as well."""
    env = ConvoyVecEnv(NUM_ENVS, CONFIG, seed=3)
    try:
        env.reset()
        _drive(env, 5)
        pid = env.batch.simulator._process.pid
        _kill(pid)
        *_, ended, _ = env.step(_actions(5))
        assert ended.all()
        assert env.batch.simulator._process.pid != pid
        _drive(env, 5)
    finally:
        env.close()
    assert "SUMO is lost" in caplog.text
    assert "SUMO runs again after" in caplog.text


def test_a_single_environment_is_truncated_and_its_next_reset_starts_sumo(service: Service):
    """Gymnasium's way: truncated, not terminated; the caller resets."""
    env = ConvoyEnv(
        config=EnvConfig(backend="traci", num_peers=(2, 2)),
        sumo_host="127.0.0.1",
        sumo_port=service.port,
    )
    action = np.zeros(1, dtype=np.float32)
    try:
        env.reset(seed=1)
        last, *_ = env.step(action)
        _kill(service.sumo_pid())
        observation, reward, terminated, truncated, info = env.step(action)
        assert (reward, terminated, truncated) == (0.0, False, True)
        assert info["status"] == "simulator_lost"
        assert not info["collision"]
        for key, value in last.items():
            np.testing.assert_array_equal(observation[key], value)
        env.reset()
        assert not env.step(action)[3]
    finally:
        env.close()
