"""On the whole path, from traffic to observation, nothing is known before it has arrived."""

import numpy as np
import pytest

from ml.envs import ConvoyEnv, EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.errors import EnvironmentStateError
from ml.espnow_emulator import BroadcastChannel
from ml.onboard.observation.spec import PEER_INDEX

pytestmark = pytest.mark.sumo


@pytest.fixture
def env():
    """A small bursty batch with the audit on."""
    env = ConvoyVecEnv(
        8, EnvConfig(radio="bursty", num_peers=(5, 5), audit_causality=True), seed=21
    )
    yield env
    env.close()


def test_every_message_seen_was_sent_measured_and_received_in_time(env):
    """Generated ≤ received ≤ now, and the age grows by a tick where nothing new came."""
    env.reset()
    before_age = before_sequence = before_heard = None
    for _ in range(200):
        _, _, done, _ = env.step(np.full((8, 1), -0.02, dtype=np.float32))
        if done.any():
            break
        table, now = env.batch.peer_table, env.batch.now_us
        heard = table.heard
        assert (table.t_generated_us[heard] <= table.received_us[heard]).all()
        assert (table.received_us <= now[:, None, None])[heard].all()
        age = table.age_true_us(now)
        if before_age is not None:
            kept = before_heard & (table.sequence == before_sequence)
            assert (age[kept] == before_age[kept] + 100_000).all()
        before_age, before_sequence = age.copy(), table.sequence.copy()
        before_heard = heard.copy()
    assert (age[heard] > 100_000).any(), "nothing was ever lost: the test would see no ageing"


def test_the_audit_notices_a_radio_that_delivers_early(env, monkeypatch):
    """A channel that hands out mail before its arrival is caught at run time."""
    deliver = BroadcastChannel.deliver

    def too_early(channel, now_us):
        table = deliver(channel, now_us)
        table.received_us = table.received_us + 100_000
        return table

    monkeypatch.setattr(BroadcastChannel, "deliver", too_early)
    env.reset()
    with pytest.raises(EnvironmentStateError, match="causality broken"):
        env.step(np.zeros((8, 1), dtype=np.float32))


def test_the_single_environment_knows_peers_by_polling_alone(monkeypatch):
    """Transmit returns nothing, all peers transmit before the poll, and silence shows as age."""
    calls = []
    transmit, deliver = BroadcastChannel.transmit, BroadcastChannel.deliver

    def spy_transmit(channel, **kwargs):
        calls.append("transmit")
        assert transmit(channel, **kwargs) is None

    def spy_deliver(channel, now_us):
        calls.append("deliver")
        return deliver(channel, now_us)

    monkeypatch.setattr(BroadcastChannel, "transmit", spy_transmit)
    monkeypatch.setattr(BroadcastChannel, "deliver", spy_deliver)
    env = ConvoyEnv(num_peers=3, radio="ideal")
    try:
        env.reset(seed=3)
        for _ in range(5):
            observation, *_ = env.step(np.zeros(1, dtype=np.float32))
        assert calls == ["transmit", "deliver"] * 5
        assert observation["peer_mask"].sum() == 3
        heard_age = observation["peers"][:3, PEER_INDEX["age"]]

        monkeypatch.setattr(BroadcastChannel, "transmit", lambda *_, **__: None)
        for _ in range(10):
            observation, *_ = env.step(np.zeros(1, dtype=np.float32))
        grown = observation["peers"][:3, PEER_INDEX["age"]] - heard_age
        assert observation["peer_mask"].sum() == 3, "a silent peer must not vanish at once"
        assert grown == pytest.approx(np.full(3, 1.0 / 2.0), abs=0.01)
    finally:
        env.close()
