"""A frame's fate depends on its own episode, receiver, source and number, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from ml.errors import EmulatorError
from ml.espnow_emulator import (
    BeaconParameters,
    BeaconSchedule,
    BroadcastChannel,
    ESPNOWEmulator,
    LatencyParameters,
    LossKnot,
    LossParameters,
    RadioParameters,
    V2VMessage,
)
from ml.keyed_random import fold, text_key

RADIO = RadioParameters(
    latency=LatencyParameters(base_ms=1.0, tail_median_ms=40.0, tail_sigma=1.0),
    loss=LossParameters(
        by_distance=(
            LossKnot(distance_m=0.0, probability=0.1, mean_burst_frames=1.5),
            LossKnot(distance_m=200.0, probability=0.6, mean_burst_frames=3.0),
        )
    ),
)
TICKS = 120


def _drive(
    channel: BroadcastChannel,
    silent: tuple[int, ...] = (),
    columns: list[int] | None = None,
    reset_at: dict[int, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Run a fixed convoy and record the tables, (ticks, E, R, S) each."""
    envs, receivers, sources = channel.table.heard.shape
    columns = list(range(sources)) if columns is None else columns
    place = np.array(columns)
    sending = ~np.isin(np.broadcast_to(place, (envs, sources)), silent)
    sender = np.zeros((envs, sources, 2))
    receiver = np.zeros((envs, receivers, 2))
    receiver[:, :, 1] = 3.0 * np.arange(receivers)
    record: dict[str, list[np.ndarray]] = {n: [] for n in ("heard", "sequence", "received", "age")}
    for k in range(1, TICKS):
        if reset_at and k in reset_at:
            rows = reset_at[k]
            channel.reset(rows, fold(99, rows))
            # A convoy's own time goes on here, so that its neighbours can be compared.
        generated = np.broadcast_to((k - 1) * 100_000 + 1_000 * place, (envs, sources)).copy()
        sender[:, :, 0] = 25.0 * (place + 1) + 10.0 * np.sin(0.1 * k + place)
        channel.transmit(
            sending=sending,
            t_generated_us=generated,
            timestamp_ms=generated // 1000,
            payload=np.broadcast_to(generated[:, :, None] * 1e-6, (envs, sources, 6)).copy(),
            sender_xy_m=sender,
            receiver_xy_m=receiver,
        )
        now = np.full(envs, k * 100_000)
        table = channel.deliver(now)
        for name, values in (
            ("heard", table.heard),
            ("sequence", table.sequence),
            ("received", table.received_us),
            ("age", table.age_est_ms(now)),
        ):
            record[name].append(values.copy())
    return {name: np.array(values) for name, values in record.items()}


def _channel(num_envs: int, num_sources: int, keys=None, num_receivers: int = 1):
    channel = BroadcastChannel(
        RADIO, num_envs=num_envs, num_sources=num_sources, num_receivers=num_receivers
    )
    rows = np.arange(num_envs)
    channel.reset(rows, fold(4, rows, 0), source_keys=keys)
    return channel


def test_a_silent_or_missing_source_changes_no_other_fate():
    """Muting a source, or leaving it out of the arrays, leaves all other links as they were."""
    full = _drive(_channel(3, 5))
    muted = _drive(_channel(3, 5), silent=(1, 3))
    kept = [0, 2, 4]
    smaller = _drive(_channel(3, 3, keys=np.array([1, 3, 5])), columns=kept)
    assert not muted["heard"][:, :, :, [1, 3]].any()
    for name, values in full.items():
        assert np.array_equal(values[:, :, :, kept], muted[name][:, :, :, kept])
        assert np.array_equal(values[:, :, :, kept], smaller[name])
    assert len(np.unique(full["received"])) > 100


def test_a_convoy_is_the_same_alone_and_in_a_batch():
    """Convoy 5 of a batch of 16 hears what it hears in a batch of its own, bit for bit."""
    batch = _drive(_channel(16, 4))
    channel = BroadcastChannel(RADIO, num_envs=1, num_sources=4)
    channel.reset(np.zeros(1, dtype=np.int64), fold(4, np.array([5]), 0))
    alone = _drive(channel)
    for name, values in alone.items():
        assert np.array_equal(values[:, 0], batch[name][:, 5])
    assert not np.array_equal(batch["received"][:, 4], batch["received"][:, 5])


def test_another_receiver_changes_no_fate():
    """The first receiver hears the same whether or not a second one listens, which hears less."""
    one, two = _drive(_channel(3, 4)), _drive(_channel(3, 4, num_receivers=2))
    for name, values in one.items():
        assert np.array_equal(values[:, :, 0], two[name][:, :, 0])
    both = two["heard"].all(axis=2) & (two["sequence"][:, :, 0] == two["sequence"][:, :, 1])
    assert both.sum() > 300
    assert (two["received"][:, :, 0] != two["received"][:, :, 1])[both].mean() > 0.99


def test_resetting_one_convoy_leaves_the_others_alone():
    """A reset in the middle of the batch is seen by that convoy only, which starts from nothing."""
    undisturbed = _drive(_channel(4, 3))
    disturbed = _drive(_channel(4, 3), reset_at={60: np.array([2])})
    for name, values in undisturbed.items():
        assert np.array_equal(values[:, [0, 1, 3]], disturbed[name][:, [0, 1, 3]])
        assert np.array_equal(values[:59, 2], disturbed[name][:59, 2])
    assert disturbed["sequence"][-1, 2].max() <= TICKS - 60
    assert undisturbed["sequence"][-1, 2].max() > TICKS - 10


def test_the_scalar_view_and_the_batch_are_one_radio():
    """The emulator, car by car in any order, agrees with the batch bit for bit."""
    names = ["north", "south", "car 3"]
    seed = 4
    keys = np.array([text_key(name) for name in names])
    channel = BroadcastChannel(RADIO, num_envs=1, num_sources=3)
    channel.reset(np.zeros(1, dtype=np.int64), fold(seed, 0, 0), source_keys=keys)
    batch = _drive(channel)
    emulator = ESPNOWEmulator(RADIO, seed)
    for k in range(1, TICKS):
        for place in (2, 0, 1) if k % 2 else (1, 2, 0):
            time_ms = (k - 1) * 100.0 + place
            message = V2VMessage(names[place], int(time_ms), *([0.5] * 5))
            x_m = 25.0 * (place + 1) + 10.0 * np.sin(0.1 * k + place)
            emulator.transmit(message, (x_m, 0.0), (0.0, 0.0), time_ms)
        received = emulator.sync_and_get_messages(k * 100.0)
        for place, name in enumerate(names):
            assert (name in received) == batch["heard"][k - 1, 0, 0, place]
            if name in received:
                got = received[name]
                assert got.received_at_ms == batch["received"][k - 1, 0, 0, place] / 1000.0
                number = batch["sequence"][k - 1, 0, 0, place]
                assert got.message.timestamp_ms == number * 100 + place


def test_delivery_ratio_counts_what_was_sent_since_the_last_call():
    """The drained ratio is one less the share of lost frames; without frames there is none."""
    channel = _channel(8, 4)
    assert channel.drain_counters() == {}
    _drive(channel)
    ratio = channel.drain_counters()["radio/delivery_ratio"]
    assert 0.6 < ratio < 0.9
    assert channel.drain_counters() == {}


def test_beacon_phases_are_drawn_per_source_and_stay():
    """Phases fill [0, 100) ms, differ between sources, and a beacon is never from the future."""
    schedule = BeaconSchedule(RADIO, num_envs=200, num_sources=6)
    rows = np.arange(200)
    schedule.reset(rows, fold(1, rows))
    tick = np.arange(200) % 7 + 1
    age_us = tick[:, None] * 100_000 - schedule.generated_us(tick)
    assert np.array_equal(age_us, 100_000 - schedule.phase_us)
    assert 0 < age_us.min() < 2_000
    assert 98_000 < age_us.max() <= 100_000
    assert abs(age_us.mean() - 50_000) < 4 * 28_868 / np.sqrt(1200)
    fixed = BeaconSchedule(
        RADIO.model_copy(update={"beacon": BeaconParameters(phase_ms=12.5)}),
        num_envs=2,
        num_sources=3,
    )
    fixed.reset(np.arange(2), fold(1, np.arange(2)))
    assert (fixed.generated_us(np.array([1, 5])) == [[12_500] * 3, [412_500] * 3]).all()


def test_wrong_frames_are_refused_by_name():
    """Wrong shapes, values that are not finite and acausal times name the array and the place."""
    channel = _channel(2, 3)
    frame = {
        "sending": np.ones((2, 3), dtype=bool),
        "t_generated_us": np.zeros((2, 3), dtype=np.int64),
        "timestamp_ms": np.zeros((2, 3), dtype=np.int64),
        "payload": np.zeros((2, 3, 6)),
        "sender_xy_m": np.zeros((2, 3, 2)),
        "receiver_xy_m": np.zeros((2, 1, 2)),
    }
    with pytest.raises(
        EmulatorError, match=r"payload has shape \(2, 3, 5\), allowed is \(2, 3, 6\)"
    ):
        channel.transmit(**frame | {"payload": np.zeros((2, 3, 5))})
    broken = np.zeros((2, 3, 6))
    broken[1, 2, 4] = np.inf
    with pytest.raises(EmulatorError, match=r"payload\[1, 2, 4\] is inf, allowed are finite"):
        channel.transmit(**frame | {"payload": broken})
    channel.deliver(np.array([0, 5_000]))
    with pytest.raises(EmulatorError, match="source 0 of convoy 1 transmits at 0 ms, but messages"):
        channel.transmit(**frame)
    with pytest.raises(EmulatorError, match="time ran back in convoy 1: deliver was called for 4"):
        channel.deliver(np.array([9_000, 4_000]))
    with pytest.raises(EmulatorError, match=r"allowed are .* radio\.latency\.base_ms"):
        channel.reset(np.array([0]), fold(0, [0]), overrides={"radio.x": np.zeros(1)})
    assert channel.pending() == []


def test_the_table_cannot_be_written_to():
    """Who reads the table cannot change what the receiver knows."""
    table = _channel(1, 1).deliver(np.array([0]))
    for array in (table.heard, table.sequence, table.payload, table.timestamp_ms):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1
