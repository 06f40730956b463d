from __future__ import annotations

import numpy as np
import pytest

from ml.espnow_emulator import (
    BroadcastChannel,
    LatencyParameters,
    LossKnot,
    LossParameters,
    RadioParameters,
)
from ml.keyed_random import fold

NO_LOSS = LossParameters(
    by_distance=(LossKnot(distance_m=0.0, probability=0.0, mean_burst_frames=1.0),)
)


def _channel(latency: LatencyParameters, num_envs: int = 4, num_sources: int = 3):
    radio = RadioParameters(latency=latency, loss=NO_LOSS)
    return BroadcastChannel(radio, num_envs=num_envs, num_sources=num_sources)


def _send(channel: BroadcastChannel, at_us: int, value: float = 0.0) -> None:
    envs, _, sources = channel.table.heard.shape
    channel.transmit(
        sending=np.ones((envs, sources), dtype=bool),
        t_generated_us=np.full((envs, sources), at_us),
        timestamp_ms=np.full((envs, sources), at_us // 1000),
        payload=np.full((envs, sources, 6), value),
        sender_xy_m=np.zeros((envs, sources, 2)),
        receiver_xy_m=np.zeros((envs, 1, 2)),
    )


def test_no_latency_means_arrival_at_once():
    """With base and tail at 0 a frame is visible at the very microsecond of its sending."""
    channel = _channel(LatencyParameters(base_ms=0.0, tail_median_ms=0.0, tail_sigma=1.0))
    _send(channel, 1_234_567)
    table = channel.deliver(np.full(4, 1_234_567))
    assert table.heard.all()
    assert (table.received_us == 1_234_567).all()
    assert (table.age_at_reception_ms == 0.0).all()


def test_latency_is_a_base_and_a_log_normal_tail():
    """Least value, median and spread of the logarithm are the parameters'."""
    channel = _channel(LatencyParameters(base_ms=2.0, tail_median_ms=1.6, tail_sigma=0.65), 64, 8)
    ages = []
    for k in range(200):
        _send(channel, k * 10_000_000)
        table = channel.deliver(np.full(64, (k + 1) * 10_000_000))
        ages.append(table.age_at_reception_ms.ravel())
    tail = np.concatenate(ages) - 2.0
    assert tail.min() > 0.0
    logs = np.log(tail / 1.6)
    n = logs.size
    assert abs(logs.mean()) < 4.0 * 0.65 / np.sqrt(n)
    assert abs(logs.std() / 0.65 - 1.0) < 4.0 / np.sqrt(2.0 * n)
    skew = ((tail - tail.mean()) ** 3).mean() / tail.std() ** 3
    assert skew > 1.5


def test_the_queue_grows_under_latency_far_above_the_period():
    """At 3 s of latency thirty frames are on their way, and each arrives, in order, on time."""
    channel = _channel(LatencyParameters(base_ms=3000.0, tail_median_ms=0.0))
    for k in range(100):
        _send(channel, k * 100_000, float(k))
        table = channel.deliver(np.full(4, k * 100_000))
        assert len(channel.pending()) == 4 * 3 * min(k + 1, 30)
        if k < 30:
            assert not table.heard.any()
            continue
        assert (table.sequence == k - 30).all()
        assert (table.payload == float(k - 30)).all()
        assert (table.age_at_reception_ms == 3000.0).all()
    assert channel._queue.num_slots == 32
    channel.deliver(np.full(4, 10**9))
    assert channel.pending() == []
    assert (channel.table.sequence == 99).all()


@pytest.mark.parametrize("age_ms", [0, 1, 999_999])
def test_age_of_what_was_heard_grows_with_time(age_ms: int):
    """While nothing new arrives both ages grow millisecond by millisecond."""
    channel = _channel(LatencyParameters(base_ms=7.0, tail_median_ms=0.0))
    channel.receiver_clocks.drift_ppm[:] = 0.0
    _send(channel, 50_000)
    now_us = np.full(4, 57_000 + age_ms * 1000)
    table = channel.deliver(now_us)
    assert (table.age_true_us(now_us) == (7 + age_ms) * 1000).all()
    assert (table.age_est_ms(now_us) == age_ms).all()
    later_us = now_us + 12_000
    assert (table.age_true_us(later_us) == (19 + age_ms) * 1000).all()
    assert (table.age_est_ms(later_us) == age_ms + 12).all()


def test_latency_parameters_hold_per_convoy():
    """An override of the latency is of the convoys it is given for, until their next reset."""
    channel = _channel(LatencyParameters(base_ms=1.0, tail_median_ms=0.0))
    rows = np.array([1, 3])
    channel.reset(
        rows, fold(0, rows), overrides={"radio.latency.base_ms": np.array([5.0, 9.0]), "x.y": rows}
    )
    _send(channel, 0)
    table = channel.deliver(np.full(4, 100_000))
    assert table.age_at_reception_ms[:, 0, 0].tolist() == [1.0, 5.0, 1.0, 9.0]
    channel.reset(rows, fold(0, rows))
    _send(channel, 100_000)
    table = channel.deliver(np.full(4, 200_000))
    assert (table.age_at_reception_ms == 1.0).all()
