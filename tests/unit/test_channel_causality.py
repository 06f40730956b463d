"""The radio against a naive one: lists of frames, searched from the beginning at every poll."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.espnow_emulator import (
    BroadcastChannel,
    ClockParameters,
    ESPNOWEmulator,
    LatencyParameters,
    LossKnot,
    LossParameters,
    NodeClocks,
    PayloadField,
    RadioParameters,
    V2VMessage,
)
from ml.keyed_random import fold

NEVER = np.iinfo(np.int64).max
BUCKET_MS = 5_000
NUM_BUCKETS = 12


def _radio(loss: float, latency_ms: float) -> RadioParameters:
    """A radio with a wide spread of latencies, so that frames overtake each other."""
    burst = max(1.5, loss / (1.0 - loss))
    return RadioParameters(
        latency=LatencyParameters(base_ms=0.0, tail_median_ms=latency_ms, tail_sigma=1.5),
        loss=LossParameters(
            by_distance=(LossKnot(distance_m=0.0, probability=loss, mean_burst_frames=burst),)
        ),
        clock=ClockParameters(drift_sd_ppm=100.0, drift_limit_ppm=300.0),
    )


@dataclass
class Frame:
    """One frame on one link."""

    sequence: int
    epoch: int
    timestamp_ms: int
    generated_us: int
    arrival_us: int
    payload: tuple[float, ...]


@dataclass
class NaiveLink:
    """All frames ever sent on one link; every question is answered by searching them."""

    frames: list[Frame] = field(default_factory=list)
    epoch: int = 0
    newest_ms: int | None = None

    def send(self, timestamp_ms: int, generated_us: int, arrival_us: int, payload) -> None:
        """Note a frame; a timestamp over 1 s back is a reboot."""
        newest_ms = timestamp_ms if self.newest_ms is None else self.newest_ms
        rebooted = timestamp_ms < newest_ms - 1000
        self.epoch += rebooted
        self.newest_ms = timestamp_ms if rebooted else max(timestamp_ms, newest_ms)
        sequence = len(self.frames)
        self.frames.append(
            Frame(sequence, self.epoch, timestamp_ms, generated_us, arrival_us, payload)
        )

    def arrived(self, now_us: int) -> list[Frame]:
        """All that has arrived by now."""
        return [frame for frame in self.frames if frame.arrival_us <= now_us]

    def newest(self, now_us: int) -> Frame | None:
        """Newest by epoch and timestamp, of doubles the first to arrive."""
        arrived = self.arrived(now_us)
        return max(
            arrived,
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


def _record_puts(monkeypatch: pytest.MonkeyPatch, channel: BroadcastChannel) -> list[np.ndarray]:
    """Listen at the queue: when will the frames arrive? What follows from it is for the oracle."""
    puts: list[np.ndarray] = []
    put = channel._queue.put

    def listening(sending, arrival_us, numbers, payload):
        puts.append(arrival_us.copy())
        put(sending, arrival_us, numbers, payload)

    monkeypatch.setattr(channel._queue, "put", listening)
    return puts


# (time since the last event in ms, source or None for a poll, jump of the timestamp in ms)
EVENTS = st.lists(
    st.tuples(
        st.one_of(st.floats(0.0, 150.0), st.floats(0.0, 30_000.0)),
        st.one_of(st.none(), st.integers(0, 2)),
        st.one_of(st.just(0), st.integers(-900, 900), st.integers(-5_000, 5_000)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.integers(0, 2**32), st.sampled_from([0.0, 0.3, 0.7]), st.sampled_from([4, 300]))
def test_emulator_shows_what_a_naive_radio_shows(events, seed, loss, latency_ms):
    """At any poll: nothing before its arrival, the newest of what arrived, as sent, ages right."""
    emulator = ESPNOWEmulator(_radio(loss, latency_ms), seed)
    links: dict[str, NaiveLink] = {}
    sent: dict[tuple[str, int], V2VMessage] = {}
    now_ms = 0.0
    with pytest.MonkeyPatch.context() as monkeypatch:
        puts: dict[str, list[np.ndarray]] = {}
        for pause_ms, source, jump_ms in events:
            now_ms += pause_ms
            now_us = round(now_ms * 1000.0)
            if source is not None:
                name = f"car-{source}"
                number = len(sent)
                message = V2VMessage(
                    name, int(now_ms) + jump_ms, number + 0.1, -number / 3.0, 20.0, 90.0, -0.5
                )
                if name not in puts:
                    # The first message makes the link; listen from the second on.
                    assert emulator.transmit(message, (1e4, 0.0), (0.0, 0.0), now_ms) is None
                    channel = emulator._links[name]._channel
                    arrivals = [channel._queue._arrival_us[0].copy()]
                    puts[name] = _record_puts(monkeypatch, channel)
                    puts[name].extend(arrivals)
                else:
                    assert emulator.transmit(message, (1e4, 0.0), (0.0, 0.0), now_ms) is None
                link = links.setdefault(name, NaiveLink())
                sent[name, len(link.frames)] = message
                arrival_us = int(puts[name][-1][0, 0, 0])
                assert arrival_us >= now_us
                link.send(message.timestamp_ms, now_us, arrival_us, message.payload())
                continue
            received = emulator.sync_and_get_messages(now_ms)
            expected = {name: link.newest(now_us) for name, link in links.items()}
            assert set(received) == {name for name, frame in expected.items() if frame}
            for name, got in received.items():
                frame = expected[name]
                assert got.message is sent[name, frame.sequence]
                assert got.received_at_ms == frame.arrival_us / 1000.0 <= now_ms + 5e-4
                assert got.age_ms == (frame.arrival_us - frame.generated_us) / 1000.0 >= 0.0


BATCH_EVENTS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 150), st.integers(0, 40_000)),  # ms until the poll
        st.lists(st.booleans(), min_size=4, max_size=4),  # who sends
        st.lists(
            st.one_of(st.just(0), st.integers(-900, 900), st.integers(-9_000, 9_000)),
            min_size=4,
            max_size=4,
        ),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(
    BATCH_EVENTS, st.integers(0, 2**32), st.sampled_from([0.0, 0.3, 0.7]), st.sampled_from([4, 300])
)
def test_batch_shows_what_a_naive_radio_shows(events, seed, loss, latency_ms):
    """Two convoys, two receivers, two sources: tables and both ages are those of naive lists."""
    radio = _radio(loss, latency_ms)
    shape = (2, 2, 2)
    channel = BroadcastChannel(radio, num_envs=2, num_sources=2, num_receivers=2)
    rows = np.arange(2)
    channel.reset(rows, fold(seed, rows, 0))
    clocks = channel.receiver_clocks
    links = {index: NaiveLink() for index in np.ndindex(shape)}
    now_us = np.zeros(2, dtype=np.int64)
    count = 0
    with pytest.MonkeyPatch.context() as monkeypatch:
        puts = _record_puts(monkeypatch, channel)
        for pause_ms, who, jumps_ms in events:
            sending = np.array(who).reshape(2, 2)
            generated_us = np.broadcast_to(now_us[:, None] + 137, (2, 2)).copy()
            timestamp_ms = generated_us // 1000 + np.array(jumps_ms).reshape(2, 2)
            payload = count + np.arange(24.0).reshape(2, 2, 6)
            count += 24
            channel.transmit(
                sending=sending,
                t_generated_us=generated_us,
                timestamp_ms=timestamp_ms,
                payload=payload,
                sender_xy_m=np.zeros((2, 2, 2)),
                receiver_xy_m=np.ones((2, 2, 2)),
            )
            for env, receiver, source in np.ndindex(shape):
                if sending[env, source]:
                    links[env, receiver, source].send(
                        int(timestamp_ms[env, source]),
                        int(generated_us[env, source]),
                        int(puts[-1][env, receiver, source]),
                        tuple(payload[env, source]),
                    )
            now_us = now_us + 1000 * pause_ms + 137
            table = channel.deliver(now_us)
            age_true_us, age_est_ms = table.age_true_us(now_us), table.age_est_ms(now_us)
            for index, link in links.items():
                env, receiver, _ = index
                now = int(now_us[env])
                newest = link.newest(now)
                assert table.heard[index] == (newest is not None)
                if newest is None:
                    assert age_est_ms[index] == age_true_us[index] == 0
                    continue
                clock = NaiveClock(
                    int(clocks.offset_ms[env, receiver]), float(clocks.drift_ppm[env, receiver])
                )
                assert table.sequence[index] == newest.sequence
                assert tuple(table.payload[index]) == newest.payload
                assert table.timestamp_ms[index] == newest.timestamp_ms
                assert table.t_generated_us[index] == newest.generated_us
                assert table.received_us[index] == newest.arrival_us <= now
                assert table.received_local_ms[index] == clock.local_ms(newest.arrival_us)
                assert age_true_us[index] == now - newest.generated_us
                assert age_est_ms[index] == link.age_est_ms(now, clock)
            pending = {
                (*index, frame.sequence)
                for index, link in links.items()
                for frame in link.frames
                if now_us[index[0]] < frame.arrival_us < NEVER
            }
            assert set(channel.pending()) == pending


def test_newest_is_not_replaced_by_an_older_message_that_comes_late(monkeypatch):
    """A message overtaken on its way arrives and changes nothing but the clock comparison."""
    channel = BroadcastChannel(_radio(0.0, 4), num_envs=1, num_sources=1)
    put = channel._queue.put
    latencies_ms = iter([250, 10])

    def slow_then_fast(sending, _, numbers, payload):
        generated_us = numbers[3][:, None]
        put(sending, generated_us + 1000 * next(latencies_ms), numbers, payload)

    monkeypatch.setattr(channel._queue, "put", slow_then_fast)
    for k in range(2):
        channel.transmit(
            sending=np.ones((1, 1), dtype=bool),
            t_generated_us=np.array([[k * 100_000]]),
            timestamp_ms=np.array([[k * 100]]),
            payload=np.full((1, 1, 6), float(k)),
            sender_xy_m=np.zeros((1, 1, 2)),
            receiver_xy_m=np.zeros((1, 1, 2)),
        )
    expected = {109: (False, 0), 110: (True, 1), 249: (True, 1), 250: (True, 1), 900: (True, 1)}
    for now_ms, (heard, sequence) in expected.items():
        table = channel.deliver(np.array([now_ms * 1000]))
        assert (bool(table.heard[0, 0, 0]), int(table.sequence[0, 0, 0])) == (heard, sequence)
    assert table.payload[0, 0, 0, PayloadField.X_M] == 1.0
    assert channel.pending() == []


def test_of_doubles_that_arrive_together_the_one_sent_first_stays(monkeypatch):
    """Which slot a frame happened to wait in decides nothing."""
    channel = BroadcastChannel(_radio(0.0, 4), num_envs=1, num_sources=1)
    put = channel._queue.put
    arrivals_us = iter([10_000, 50_000, 50_000])

    def planned(sending, _, numbers, payload):
        put(sending, np.array([[[next(arrivals_us)]]]), numbers, payload)

    monkeypatch.setattr(channel._queue, "put", planned)
    for at_us, timestamp_ms in ((0, 1), (5_000, 7), (20_000, 7)):
        # The poll at 20 ms frees the first slot, so the last frame waits before the second.
        channel.deliver(np.array([at_us]))
        channel.transmit(
            sending=np.ones((1, 1), dtype=bool),
            t_generated_us=np.array([[at_us]]),
            timestamp_ms=np.array([[timestamp_ms]]),
            payload=np.zeros((1, 1, 6)),
            sender_xy_m=np.zeros((1, 1, 2)),
            receiver_xy_m=np.zeros((1, 1, 2)),
        )
    assert channel.deliver(np.array([60_000])).sequence[0, 0, 0] == 1


def test_clocks_of_different_offset_estimate_the_same_age():
    """What a board computes from its own readings does not depend on when it was switched on."""
    ages = []
    for offset_ms in (0, 1, 4_999, 123_456_789, -77):
        channel = BroadcastChannel(_radio(0.3, 30), num_envs=1, num_sources=1)
        channel.reset(np.zeros(1, dtype=np.int64), fold(5, [0]))
        channel.receiver_clocks.offset_ms[:] = offset_ms
        seen = []
        for k in range(1, 900):
            generated_us = np.array([[k * 100_000 - 30_000]])
            channel.transmit(
                sending=np.ones((1, 1), dtype=bool),
                t_generated_us=generated_us,
                timestamp_ms=generated_us // 1000 + 3 * offset_ms,
                payload=np.zeros((1, 1, 6)),
                sender_xy_m=np.zeros((1, 1, 2)),
                receiver_xy_m=np.zeros((1, 1, 2)),
            )
            now_us = np.array([k * 100_000])
            seen.append(float(channel.deliver(now_us).age_est_ms(now_us)[0, 0, 0]))
        ages.append(seen)
    assert len(set(ages[0])) > 20
    assert all(seen == ages[0] for seen in ages)


def test_node_clocks_read_by_array_as_by_hand():
    """A clock shows offset + floor(t (1 + drift) / 1000), for arrays of every shape."""
    radio = _radio(0.0, 4)
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
