"""The peer table against naive lists: newest, ages, clocks; and what the channel refuses."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_radio import frame_arrays, loss_of, open_channel, plain_radio, poll, send

from ml.errors import EmulatorError
from ml.espnow_emulator import (
    BroadcastChannel,
    ClockParameters,
    MacParameters,
    NodeClocks,
    PayloadField,
)
from ml.keyed_random import Stream, fold, uniform
from ml.vehicle import TICK_US

BUCKET_MS = 5_000
NUM_BUCKETS = 12


@dataclass
class Frame:
    """One message on one link."""

    sequence: int
    epoch: int
    timestamp_ms: int
    generated_us: int
    arrival_us: int
    payload: tuple[float, ...]


@dataclass
class NaiveClock:
    """A board's clock in whole milliseconds."""

    offset_ms: int
    drift_ppm: float

    def elapsed_ms(self, t_us: int) -> int:
        """Milliseconds since true time 0."""
        return (t_us + round(t_us * (self.drift_ppm * 1e-6))) // 1000

    def local_ms(self, t_us: int) -> int:
        """What the clock shows."""
        return self.offset_ms + self.elapsed_ms(t_us)


@dataclass
class NaiveLink:
    """All that was received on one link; every question is answered by searching it."""

    frames: list[Frame] = field(default_factory=list)

    def arrived(self, now_us: int) -> list[Frame]:
        """All that has arrived by now."""
        return [frame for frame in self.frames if frame.arrival_us <= now_us]

    def newest(self, now_us: int) -> Frame | None:
        """Newest by epoch and timestamp, of doubles the first to arrive."""
        return max(
            self.arrived(now_us),
            key=lambda f: (f.epoch, f.timestamp_ms, -f.arrival_us, -f.sequence),
            default=None,
        )

    def age_est_ms(self, now_us: int, clock: NaiveClock) -> int:
        """Excess over the smallest (reception - timestamp) in the present bucket and 11 before."""
        newest = self.newest(now_us)
        assert newest is not None
        # A late frame of the boot before the newest one heard of says nothing about this clock.
        epoch = max(f.epoch for f in self.arrived(now_us))
        present = clock.elapsed_ms(now_us) // BUCKET_MS
        offsets = [
            clock.local_ms(f.arrival_us) - f.timestamp_ms
            for f in self.arrived(now_us)
            if f.epoch == epoch
            and clock.elapsed_ms(f.arrival_us) // BUCKET_MS > present - NUM_BUCKETS
        ]
        if not offsets:
            offsets = [clock.local_ms(newest.arrival_us) - newest.timestamp_ms]
        return clock.local_ms(now_us) - newest.timestamp_ms - min(offsets)


# A poll after so many ms, who sends before it, and by how much each timestamp is wrong.
EVENTS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 150), st.integers(0, 40_000)),
        st.lists(st.booleans(), min_size=6, max_size=6),
        st.lists(
            st.one_of(st.just(0), st.integers(-900, 900), st.integers(-9_000, 9_000)),
            min_size=6,
            max_size=6,
        ),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.integers(0, 2**32), st.sampled_from([0.0, 0.3, 0.7]), st.sampled_from([4, 300]))
def test_the_batch_shows_what_naive_lists_show(events, seed, loss, latency_ms):
    """Two convoys of three, two of them recorded: tables and both ages are those of the lists."""
    radio = plain_radio(
        loss=loss_of(loss),
        mac=MacParameters(enabled=False, fixed_latency_ms=float(latency_ms)),
        clock=ClockParameters(drift_sd_ppm=100.0, drift_limit_ppm=300.0),
    )
    channel = BroadcastChannel(radio, num_envs=2, num_nodes=3, receivers=(0, 2))
    rows = np.arange(2)
    keys = fold(seed, rows, 0)
    channel.reset(rows, keys)
    links = {index: NaiveLink() for index in np.ndindex(2, 2, 2)}
    epoch, newest_ms, sent = np.zeros((2, 3), int), {}, np.zeros((2, 3), int)
    now_us, count = 0, 0
    for pause_ms, who, jumps_ms in events:
        at_us = now_us + 137
        frames = frame_arrays(channel, at_us) | {"sending": np.array(who).reshape(2, 3)}
        frames["timestamp_ms"] = frames["timestamp_ms"] + np.array(jumps_ms).reshape(2, 3)
        frames["payload"] = count + np.arange(36.0).reshape(2, 3, 6)
        count += 36
        channel.transmit(**frames)
        for env, node in zip(*np.nonzero(frames["sending"]), strict=True):
            timestamp_ms = int(frames["timestamp_ms"][env, node])
            newest = newest_ms.get((env, node), timestamp_ms)
            if timestamp_ms < newest - 1000:
                epoch[env, node] += 1
                newest = timestamp_ms
            newest_ms[env, node] = max(newest, timestamp_ms)
            sequence = int(sent[env, node])
            sent[env, node] += 1
            for row, receiver in enumerate((0, 2)):
                draw = uniform(fold(keys[env], Stream.RADIO_LOSS, receiver, node, node, sequence))
                if node in (0, receiver) or draw[0] >= 1.0 - loss:
                    continue
                links[env, row, node - 1].frames.append(
                    Frame(
                        sequence,
                        int(epoch[env, node]),
                        timestamp_ms,
                        at_us,
                        at_us + 1000 * latency_ms,
                        tuple(frames["payload"][env, node]),
                    )
                )
        now_us = at_us + 1000 * pause_ms
        table = poll(channel, now_us)
        now = np.full(2, now_us)
        age_true_us, age_est_ms = table.age_true_us(now), table.age_est_ms(now)
        for index, link in links.items():
            newest = link.newest(now_us)
            assert table.heard[index] == (newest is not None)
            if newest is None:
                assert age_est_ms[index] == age_true_us[index] == 0
                continue
            node = (index[0], (0, 2)[index[1]])
            clock = NaiveClock(
                int(channel.node_clocks.offset_ms[node]), float(channel.node_clocks.drift_ppm[node])
            )
            assert table.sequence[index] == newest.sequence
            assert tuple(table.payload[index]) == newest.payload
            assert table.timestamp_ms[index] == newest.timestamp_ms
            assert table.t_generated_us[index] == newest.generated_us
            assert table.received_us[index] == newest.arrival_us <= now_us
            assert table.received_local_ms[index] == clock.local_ms(newest.arrival_us)
            assert table.hops[index] == 0
            assert age_true_us[index] == now_us - newest.generated_us
            assert age_est_ms[index] == link.age_est_ms(now_us, clock)


def test_no_latency_means_arrival_at_once():
    """With the MAC off a frame is visible at the very microsecond of its sending."""
    channel = open_channel(plain_radio(), 4, 4)
    send(channel, 1_234_567)
    table = poll(channel, 1_234_567)
    assert table.heard.all()
    assert (table.received_us == 1_234_567).all()
    assert (table.age_at_reception_ms == 0.0).all()


def test_frames_in_flight_take_the_room_they_need():
    """At 1 s of latency ten frames of each node are on their way; each arrives on time."""
    radio = plain_radio(mac=MacParameters(enabled=False, fixed_latency_ms=1000.0))
    channel = open_channel(radio, 2, 5)
    for k in range(60):
        send(channel, k * TICK_US, payload=np.full((2, 5, 6), float(k)))
        table = poll(channel, k * TICK_US)
        assert len(channel.pending()) == 2 * 4 * min(k + 1, 10)
        if k < 10:
            assert not table.heard.any()
            continue
        assert (table.sequence == k - 10).all()
        assert (table.payload == float(k - 10)).all()
        assert (table.age_at_reception_ms == 1000.0).all()
    poll(channel, 10**9)
    assert channel.pending() == []
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
        clock = NaiveClock(int(clocks.offset_ms[env, node]), float(clocks.drift_ppm[env, node]))
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
