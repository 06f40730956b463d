"""Episodes, batches, overrides and counters of the channel, and the beacons that feed it."""

from __future__ import annotations

import numpy as np
import pytest
from support.small_radio import frame_arrays, loss_of, open_channel, plain_radio, poll, send

from ml.espnow_emulator import (
    BeaconParameters,
    BeaconSchedule,
    BroadcastChannel,
    ClockParameters,
    ESPNOWEmulator,
    GilbertElliottLoss,
    LossKnot,
    MarginLoss,
    NodeClocks,
    PayloadField,
    RadioParameters,
    RelayParameters,
    V2VMessage,
)
from ml.keyed_random import fold, text_key
from ml.vehicle import TICK_US

TICKS = 120
MARGIN = RadioParameters(loss=MarginLoss(margin_20m_db=8.0, door_share=0.0))


def _drive(channel: BroadcastChannel, resets: dict[int, np.ndarray] | None = None):
    """Run a fixed convoy and record the tables, (ticks, E, R, S) each."""
    envs, nodes = channel.node_clocks.offset_ms.shape
    place = np.arange(nodes)
    record: dict[str, list[np.ndarray]] = {
        n: [] for n in ("heard", "sequence", "hops", "received", "age")
    }
    for k in range(1, TICKS):
        if resets and k in resets:
            channel.reset(resets[k], fold(99, resets[k]))
        frames = frame_arrays(channel, (k - 1) * TICK_US, k * TICK_US)
        frames["t_generated_us"] = frames["t_generated_us"] + 1_000 * place
        frames["node_xy_m"][:, :, 1] += 10.0 * np.sin(0.1 * k + place)
        frames["payload"][:, :, :2] = frames["node_xy_m"]
        channel.transmit(**frames)
        table = poll(channel, k * TICK_US)
        for name, values in (
            ("heard", table.heard),
            ("sequence", table.sequence),
            ("hops", table.hops),
            ("received", table.received_us),
            ("age", table.age_est_ms(np.full(envs, k * TICK_US))),
        ):
            record[name].append(values.copy())
    return {name: np.array(values) for name, values in record.items()}


def test_resetting_one_convoy_leaves_the_others_alone():
    """A reset in the middle of the batch is seen by that convoy only, which starts from nothing."""
    undisturbed = _drive(open_channel(MARGIN, 4, 4))
    disturbed = _drive(open_channel(MARGIN, 4, 4), resets={60: np.array([2])})
    for name, values in undisturbed.items():
        assert np.array_equal(values[:, [0, 1, 3]], disturbed[name][:, [0, 1, 3]])
        assert np.array_equal(values[:59, 2], disturbed[name][:59, 2])
    assert disturbed["sequence"][-1, 2].max() <= TICKS - 60
    assert undisturbed["sequence"][-1, 2].max() > TICKS - 10


def test_the_scalar_view_and_the_batch_are_one_radio():
    """The emulator agrees bit for bit with a channel of the same nodes, contention included."""
    loss = GilbertElliottLoss(
        by_distance=(LossKnot(distance_m=0.0, probability=0.3, mean_burst_frames=2.0),)
    )
    radio = RadioParameters(loss=loss, relay=RelayParameters(max_hops=0))
    names = ["north", "south", "car 3"]
    channel = BroadcastChannel(radio, num_envs=1, num_nodes=4)
    keys = np.array([0, *(text_key(name) for name in names)])
    channel.reset(np.zeros(1, dtype=np.int64), fold(4, 0, 0), node_keys=keys)
    emulator = ESPNOWEmulator(radio, 4)
    heard = 0
    for k in range(1, TICKS):
        at_us = (k - 1) * TICK_US + np.array([[0, 100, 200, 300]])
        frames = frame_arrays(channel, 0) | {
            "sending": np.array([[False, True, True, True]]),
            "t_generated_us": at_us,
            "timestamp_ms": at_us // 1000,
            "now_us": np.array([k * TICK_US]),
        }
        channel.transmit(**frames)
        table = poll(channel, k * TICK_US)
        for place in (3, 1, 2) if k % 2 else (2, 3, 1):
            message = V2VMessage(names[place - 1], int(at_us[0, place] // 1000), *([0.5] * 5))
            emulator.transmit(message, (0.0, 25.0 * place), (0.0, 0.0), at_us[0, place] / 1000.0)
        received = emulator.sync_and_get_messages(k * 100.0)
        for place, name in enumerate(names):
            assert (name in received) == table.heard[0, 0, place]
            if name in received:
                heard += 1
                got = received[name]
                assert got.received_at_ms == table.received_us[0, 0, place] / 1000.0
                assert got.message.timestamp_ms == table.timestamp_ms[0, 0, place]
    assert heard > 300


def test_an_admitted_node_is_as_if_it_had_been_there():
    """With a state per frame alone, a node that comes late has the fates it would have had."""
    radio = plain_radio(loss=loss_of(0.4))
    early, late = open_channel(radio, 1, 3), open_channel(radio, 1, 3)
    only = np.zeros(1, dtype=np.int64)
    early.reset(only, fold(7, only), node_keys=np.array([0, 1, 77]))
    late.reset(only, fold(7, only), present=np.array([True, True, False]))
    fates = []
    for k in range(200):
        for channel in (early, late):
            if channel is late and k == 50:
                late.admit(0, 2, 77)
            there = channel is early or k >= 50
            send(channel, k * TICK_US, sending=np.array([[True, True, there]]))
            poll(channel, k * TICK_US)
        assert early.table.sequence[0, 0, 0] == late.table.sequence[0, 0, 0]
        fates.append(bool(late.table.heard[0, 0, 1]))
    assert late.node_clocks.offset_ms[0, 2] == early.node_clocks.offset_ms[0, 2]
    assert not any(fates[:50])
    assert any(fates[50:60])


def test_a_node_that_was_long_silent_relays_what_is_still_kept():
    """Its buffer of 3 · 16 places, when full, drops all but the 16 newest; counted by hand."""
    radio = plain_radio(relay=RelayParameters(front_cone=False, forward_probability=1.0))
    channel = open_channel(radio, 1, 3)
    for k in range(101):
        if k == 100:
            assert channel.drain_counters()["radio/expired"] == 0.0
        send(channel, k * TICK_US, sending=np.array([[False, True, k == 100]]))
        poll(channel, (k + 1) * TICK_US)
    report = channel.drain_counters()
    # It was full after the messages 47 and 80, so 66 to 99 wait; the store begins at 85.
    assert report["radio/expired"] == 85 - 66
    assert report["radio/airtime_share"] == (2 + 100 - 85) * 1256 / TICK_US


def test_a_relay_forgets_at_its_own_times_whoever_else_is_there():
    """Spells are the node's, by its key: neither its place nor who is absent changes one."""
    relay = RelayParameters(forward_probability=0.5, forward_time_s=0.3)
    channels = [open_channel(plain_radio(relay=relay), 1, 3) for _ in range(3)]
    keys = ([5, 6, 7], [7, 5, 6], [5, 6, 8])
    only = np.zeros(1, dtype=np.int64)
    for channel, node_keys in zip(channels, keys, strict=True):
        present = np.array([True, True, channel is not channels[1]])
        channel.reset(only, fold(7, only), node_keys=np.array(node_keys), present=present)
    channels[2].admit(0, 2, 7)
    at_us = np.arange(-40, 400)[:, None] * TICK_US + np.array([0, 1, 2])
    work = [np.stack([channel.relays_at(t_us[None])[0] for t_us in at_us]) for channel in channels]
    assert (work[0] == work[1][:, [1, 2, 0]]).all()
    assert (work[0] == work[2]).all()
    assert len({tuple(column) for column in work[0].T}) == 3
    assert (work[0].mean(axis=0) > 0.2).all()
    assert (work[0].mean(axis=0) < 0.8).all()


def test_relays_that_forget_take_no_airtime():
    """Of three cars in a row each idle slot of the two relays saves its frames on the air."""
    relay = RelayParameters(forward_probability=0.5, forward_spread=0.0, forward_time_s=0.3)
    channel = open_channel(plain_radio(relay=relay), 1, 3)
    phase_us = np.array([[60_000, 30_000, 0]])
    payload = np.zeros((1, 3, len(PayloadField)))
    payload[0, :, PayloadField.Y_M] = [0.0, 25.0, 50.0]
    frames = 0
    for k in range(401):
        if k == 1:
            channel.drain_counters()  # before its first own frame nobody knows what lies ahead
        t_us = k * TICK_US + phase_us
        now_us = np.array([(k + 1) * TICK_US])
        send(channel, 0, t_generated_us=t_us, now_us=now_us, payload=payload)
        poll(channel, (k + 1) * TICK_US)
        work = channel.relays_at(t_us)[0]
        # Node 1 passes on node 2's frame; node 0 that of node 1, and that of node 2 by either way.
        frames += (3 + work[1] + 2 * work[0]) * (k > 0)
    report = channel.drain_counters()
    assert report["radio/airtime_share"] == pytest.approx(frames * 1256 / (400 * TICK_US))
    assert 3.6 < frames / 400 < 5.4


def test_the_counters_say_what_happened():
    """Losses, bursts, airtime: known exactly where the radio leaves no choice."""
    channel = open_channel(plain_radio(loss=loss_of(1.0)), 2, 4)
    assert channel.drain_counters() == {}
    for k in range(30):
        send(channel, k * TICK_US)
        poll(channel, (k + 1) * TICK_US)
    report = channel.drain_counters()
    assert report["radio/delivery_ratio"] == report["radio/delivery_ratio_relayed"] == 0.0
    assert report["radio/burst_max"] == 30.0
    assert "radio/burst_mean" not in report, "no burst has ended"
    assert report["radio/airtime_share"] == 4 * 1256 / TICK_US
    assert channel.drain_counters() == {}

    channel = open_channel(plain_radio(loss=loss_of(0.5)), 8, 4)
    seen = np.zeros((400, 8, 3), dtype=bool)
    for k in range(400):
        send(channel, k * TICK_US)
        seen[k] = (poll(channel, k * TICK_US).sequence == k)[:, 0]
        seen[k] &= channel.table.heard[:, 0]
    report = channel.drain_counters()
    assert report["radio/delivery_ratio"] == seen.mean()
    assert report["radio/delivery_ratio_relayed"] == seen[:390].mean()
    runs = [
        len(run)
        for link in seen.reshape(400, -1).T
        for run in "".join("x."[int(ok)] for ok in link).split(".")
        if run
    ]
    assert report["radio/burst_max"] == max(runs)
    assert abs(report["radio/burst_mean"] - np.mean(runs)) < 0.02


def test_beacon_phases_are_drawn_per_node_and_stay():
    """Phases fill [0, 100) ms, differ between nodes, and each tick has one beacon of each node."""
    radio = plain_radio(beacon=BeaconParameters(jitter_ms=0.0))
    clocks = NodeClocks(radio, num_envs=200, num_nodes=6)
    rows = np.arange(200)
    clocks.reset(rows, fold(1, rows))
    schedule = BeaconSchedule(radio, clocks)
    schedule.reset(rows, fold(1, rows))
    tick = np.arange(200) % 7 + 1
    age_us = tick[:, None] * TICK_US - schedule.generated_us(tick)
    assert np.array_equal(age_us, TICK_US - schedule.phase_us)
    assert 0 < age_us.min() < 2_000
    assert 98_000 < age_us.max() <= TICK_US
    assert abs(age_us.mean() - 50_000) < 4 * 28_868 / np.sqrt(1200)
    assert len(np.unique(schedule.phase_us)) > 1150


def test_beacons_follow_the_nodes_clock_and_jitter_within_their_tick():
    """A fast clock sends earlier, a slow one later; jitter is new each time; ticks hold both."""
    radio = plain_radio(beacon=BeaconParameters(phase_ms=50.0, jitter_ms=2.0))
    clocks = NodeClocks(radio, num_envs=1, num_nodes=3)
    clocks.drift_ppm[:] = [[-20.0, 0.0, 20.0]]
    schedule = BeaconSchedule(radio, clocks)
    only = np.zeros(1, dtype=np.int64)
    schedule.reset(only, fold(1, only))
    tick = np.arange(1, 501)
    offset_us = np.array(
        [schedule.generated_us(np.array([k]))[0] - (k - 1) * TICK_US for k in tick]
    )
    jitter_us = offset_us[:, 1] - 50_000
    assert 0 <= jitter_us.min() < 30
    assert 1_970 < jitter_us.max() < 2_000
    late = offset_us[-100:].mean(axis=0) - offset_us[:100].mean(axis=0)
    assert np.allclose(late, [800.0, 0.0, -800.0], atol=350.0)

    edge = plain_radio(beacon=BeaconParameters(phase_ms=99.99, jitter_ms=2.0))
    schedule = BeaconSchedule(edge, clocks)
    schedule.reset(only, fold(1, only))
    for k in (1, 2, 500):
        t_us = schedule.generated_us(np.array([k]))
        assert ((k - 1) * TICK_US <= t_us).all()
        assert (t_us < k * TICK_US).all()


def test_clocks_drift_within_their_limit():
    """Drift is normal and cut off where the parameters say."""
    radio = plain_radio(clock=ClockParameters())
    clocks = NodeClocks(radio, num_envs=2000, num_nodes=3)
    rows = np.arange(2000)
    clocks.reset(rows, fold(1, rows))
    assert abs(clocks.drift_ppm.std() - 8.0) < 0.4
    assert np.abs(clocks.drift_ppm).max() <= 20.0
