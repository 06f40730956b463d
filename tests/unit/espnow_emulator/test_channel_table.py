"""The peer table: rooms, ages, clocks; and what the channel refuses."""

from __future__ import annotations

import numpy as np
import pytest
from oracle.table import Clock
from support.small_radio import frame_arrays, loss_of, open_channel, plain_radio, poll, send

from ml.errors import EmulatorError
from ml.espnow_emulator import (
    BroadcastChannel,
    ClockParameters,
    MacParameters,
    NodeClocks,
    PayloadField,
)
from ml.keyed_random import fold
from ml.vehicle import TICK_US


def test_frames_in_flight_take_the_room_they_need():
    """At 1 s of latency ten frames of each node are on their way; each arrives on time."""
    radio = plain_radio(mac=MacParameters(enabled=False, fixed_latency_ms=1000.0))
    channel = open_channel(radio, 2, 5)
    for k in range(60):
        send(channel, k * TICK_US, payload=np.full((2, 5, 6), float(k)))
        table = poll(channel, k * TICK_US)
        assert channel._flight.length.sum() == 2 * 4 * min(k + 1, 10)
        if k < 10:
            assert not table.heard.any()
            continue
        assert (table.sequence == k - 10).all()
        assert (table.payload == float(k - 10)).all()
        assert (table.age_at_reception_ms == 1000.0).all()
    poll(channel, 10**9)
    assert not channel._flight.length.any()
    assert (channel.table.sequence == 59).all()


@pytest.mark.parametrize("age_ms", [0, 1, 999_999])
def test_age_of_what_was_heard_grows_with_time(age_ms: int):
    """While nothing new arrives both ages grow millisecond by millisecond."""
    radio = plain_radio(mac=MacParameters(enabled=False, fixed_latency_ms=7.0))
    channel = open_channel(radio, 2, 3)
    send(channel, 50_000)
    now_us = np.full(2, 57_000 + age_ms * 1000)
    table = channel.deliver(now_us)
    assert (table.age_true_us(now_us) == (7 + age_ms) * 1000).all()
    assert (table.age_est_ms(now_us) == age_ms).all()
    later_us = now_us + 12_000
    assert (table.age_true_us(later_us) == (19 + age_ms) * 1000).all()
    assert (table.age_est_ms(later_us) == age_ms + 12).all()


def test_clocks_of_different_offset_estimate_the_same_age():
    """What a board computes from its own readings does not depend on when it was switched on."""
    ages = []
    for offset_ms in (0, 1, 4_999, 123_456_789, -77):
        radio = plain_radio(loss=loss_of(0.3), mac=MacParameters())
        channel = open_channel(radio, 1, 2)
        channel.node_clocks.offset_ms[:] = offset_ms
        seen = []
        for k in range(1, 900):
            at_us = k * TICK_US - 30_000
            stamp_ms = np.full((1, 2), at_us // 1000 + 3 * offset_ms)
            send(channel, at_us, timestamp_ms=stamp_ms)
            table = poll(channel, k * TICK_US)
            seen.append(float(table.age_est_ms(np.array([k * TICK_US]))[0, 0, 0]))
        ages.append(seen)
    assert len(set(ages[0])) > 7
    assert all(seen == ages[0] for seen in ages)


def test_node_clocks_read_by_array_as_by_hand():
    """A clock shows offset + floor(t (1 + drift) / 1000), for arrays of every shape."""
    radio = plain_radio(clock=ClockParameters(drift_sd_ppm=100.0, drift_limit_ppm=300.0))
    clocks = NodeClocks(radio, num_envs=3, num_nodes=4)
    rows = np.arange(3)
    clocks.reset(rows, fold(1, rows))
    times = np.arange(3 * 4 * 5).reshape(3, 4, 5) * 7_654_321 - 10**8
    local = clocks.local_ms(times)
    for env, node, k in np.ndindex(times.shape):
        clock = Clock(int(clocks.offset_ms[env, node]), float(clocks.drift_ppm[env, node]))
        assert local[env, node, k] == clock.local_ms(int(times[env, node, k]))
    assert np.array_equal(clocks.local_ms(times[:, :, 0]), local[:, :, 0])
    assert np.array_equal(clocks.local_ms(times[:, 0, 0])[:, 0], local[:, 0, 0])
    assert len(np.unique(clocks.offset_ms)) == clocks.offset_ms.size
    assert clocks.offset_ms.min() >= 0
    assert clocks.offset_ms.max() < 600_000
    assert 0.0 < np.abs(clocks.drift_ppm).max() <= 300.0


def test_what_is_sent_is_rounded_unless_told_otherwise():
    """The table holds what the message's bytes can carry; the sender's array stays as it was."""
    exact = open_channel(plain_radio(), 1, 2)
    rounded = open_channel(plain_radio(wire={"quantise": True}), 1, 2)
    payload = np.full((1, 2, 6), 1.0 / 3.0)
    for channel in (exact, rounded):
        send(channel, 0, payload=payload)
        poll(channel, 0)
    assert (payload == 1.0 / 3.0).all()
    assert (exact.table.payload == 1.0 / 3.0).all()
    held = rounded.table.payload[0, 0, 0]
    assert held[PayloadField.SPEED_MPS] == float(np.float32(1.0 / 3.0))
    assert 0.0 < abs(held[PayloadField.X_M] - 1.0 / 3.0) < 0.25


def test_wrong_frames_are_refused_by_name():
    """Wrong shapes, values that are not finite and times out of order name array and place."""
    channel = open_channel(plain_radio(), 2, 3)
    frame = frame_arrays(channel, 0)
    with pytest.raises(
        EmulatorError, match=r"payload has shape \(2, 3, 5\), allowed is \(2, 3, 6\)"
    ):
        channel.transmit(**frame | {"payload": np.zeros((2, 3, 5))})
    broken = np.zeros((2, 3, 6))
    broken[1, 2, 4] = np.inf
    with pytest.raises(EmulatorError, match=r"payload\[1, 2, 4\] is inf, allowed are finite"):
        channel.transmit(**frame | {"payload": broken})
    nowhere = np.zeros((2, 3, 2))
    nowhere[0, 1, 0] = np.nan
    with pytest.raises(EmulatorError, match=r"node_xy_m\[0, 1, 0\] is nan"):
        channel.transmit(**frame | {"node_xy_m": nowhere})
    channel.deliver(np.array([0, 5_000]))
    with pytest.raises(
        EmulatorError, match="node 0 of convoy 1 transmits at 0 ms, allowed is from 5"
    ):
        channel.transmit(**frame)
    future = frame | {"t_generated_us": np.full((2, 3), 7_000), "now_us": np.full(2, 6_000)}
    with pytest.raises(EmulatorError, match=r"transmits at 7 ms, .* to 6 ms \(now\)"):
        channel.transmit(**future)
    with pytest.raises(EmulatorError, match="time ran back in convoy 1: deliver was called for 4"):
        channel.deliver(np.array([9_000, 4_000]))
    channel.transmit(**frame_arrays(channel, 10_000))
    with pytest.raises(EmulatorError, match="time ran back in convoy 0: transmit was called for 9"):
        channel.transmit(**frame_arrays(channel, 9_000))
    with pytest.raises(EmulatorError, match="time ran back in convoy 0: deliver was called for 9"):
        poll(channel, 9_999)


def test_impossible_channels_and_overrides_are_refused():
    """Too many nodes, receivers that are none, unknown overrides and values out of range."""
    for num_nodes in (0, 33):
        with pytest.raises(EmulatorError, match="allowed are 1 to 32"):
            BroadcastChannel(plain_radio(), num_envs=1, num_nodes=num_nodes)
    for receivers in ((0, 3), (1, 1)):
        with pytest.raises(EmulatorError, match="allowed are nodes 0 to 2, each once"):
            BroadcastChannel(plain_radio(), num_envs=1, num_nodes=3, receivers=receivers)
    channel = open_channel(plain_radio(), 1, 2)
    only = np.zeros(1, dtype=np.int64)
    for overrides, text in (
        ({"radio.x": np.zeros(1)}, r"allowed are .* radio\.mac\.h_tx_ms"),
        ({"radio.mac.h_tx_ms": np.zeros(2)}, r"with shape \(2,\)"),
        ({"radio.mac.h_tx_ms": np.array([-1.0])}, r"holds -1 to -1, allowed is 0 to 50"),
    ):
        with pytest.raises(EmulatorError, match=text):
            channel.reset(only, fold(0, only), overrides=overrides)
    channel.reset(only, fold(0, only), overrides={"sensors.x": np.zeros(9)})


def test_the_table_cannot_be_written_to():
    """Who reads the table cannot change what the receiver knows."""
    table = poll(open_channel(plain_radio(), 1, 2), 0)
    for array in (table.heard, table.sequence, table.payload, table.timestamp_ms, table.hops):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1
