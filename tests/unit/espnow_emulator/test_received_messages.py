"""Messages that no channel brought: of real boards, of recordings."""

import numpy as np
import pytest

from ml.errors import EmulatorError
from ml.espnow_emulator import BroadcastChannel, NodeClocks, PayloadField, PeerTable
from ml.keyed_random import fold
from ml.parameters import load_parameters
from ml.vehicle import TICK_US

NODES, TICKS = 4, 900
HERE = np.array([0])


def table(sources=2, clocks=None):
    """An ego's table that nobody writes."""
    radio = load_parameters("clean").radio
    clocks = clocks or NodeClocks(radio, num_envs=1, num_nodes=1 + sources)
    return PeerTable(clocks, np.zeros(1, dtype=np.int64))


def put(into, source=0, timestamp_ms=1000, received_us=2_000_000, hops=0, x_m=1.0):
    """Let a message arrive."""
    payload = np.zeros(len(PayloadField))
    payload[PayloadField.X_M] = x_m
    into.receive(
        HERE,
        source,
        timestamp_ms=timestamp_ms,
        payload=payload,
        t_generated_us=received_us - 4000,
        received_us=received_us,
        hops=hops,
    )


def shown(of, source=0):
    """What the table holds of a source."""
    names = ("timestamp_ms", "received_us", "hops")
    return tuple(int(getattr(of, name)[0, 0, source]) for name in names)


@pytest.mark.parametrize("preset", ["bursty", "clean"])
def test_the_table_is_what_the_channel_would_have_made_of_the_same_receptions(preset):
    """Bit for bit over a minute and a half of lost frames, drifting clocks and offsets."""
    radio = load_parameters(preset).radio
    radio = radio.model_copy(update={"relay": radio.relay.model_copy(update={"max_hops": 0})})
    channel = BroadcastChannel(radio, num_envs=1, num_nodes=NODES)
    channel.reset(HERE, fold(7, HERE, 0))
    mine = table(NODES - 1, channel.node_clocks)
    rng = np.random.default_rng(2)
    xy_m = np.zeros((1, NODES, 2))
    xy_m[0, :, 0] = 12.0 * np.arange(NODES)
    last = np.full(NODES - 1, -1)
    for tick in range(1, TICKS):
        now_us = np.array([tick * TICK_US])
        t_us = now_us[:, None] - np.array([[90_000, 70_000, 50_000, 30_000]])
        channel.transmit(
            sending=np.ones((1, NODES), dtype=bool),
            t_generated_us=t_us,
            timestamp_ms=channel.node_clocks.local_ms(t_us[:, :, None])[:, :, 0],
            payload=rng.normal(10.0, 1.0, (1, NODES, len(PayloadField))),
            node_xy_m=xy_m,
            now_us=now_us,
        )
        theirs = channel.deliver(now_us)
        new = np.flatnonzero(theirs.heard[0, 0] & (theirs.sequence[0, 0] != last))
        for source in new[np.argsort(theirs.received_us[0, 0, new])].tolist():
            mine.receive(
                HERE,
                source,
                timestamp_ms=int(theirs.timestamp_ms[0, 0, source]),
                payload=theirs.payload[0, 0, source].copy(),
                t_generated_us=int(theirs.t_generated_us[0, 0, source]),
                received_us=int(theirs.received_us[0, 0, source]),
            )
        last = np.where(theirs.heard[0, 0], theirs.sequence[0, 0], -1)
        assert mine.poll(now_us).tolist() == theirs.age_est_ms(now_us).tolist()
        for name in ("heard", "timestamp_ms", "received_us", "received_local_ms", "payload"):
            assert getattr(mine, name).tolist() == getattr(theirs, name).tolist(), name
    assert last.min() > 100


def test_an_older_message_or_a_double_replaces_none():
    """Of the same timestamp the first to arrive stays; each that is taken has a new number."""
    mine = table()
    put(mine, timestamp_ms=5000, received_us=100, hops=0)
    put(mine, timestamp_ms=5000, received_us=200, hops=1)
    put(mine, timestamp_ms=4900, received_us=300, hops=2)
    assert shown(mine) == (5000, 100, 0)
    assert mine.sequence[0, 0, 0] == 0
    put(mine, timestamp_ms=5100, received_us=400, hops=3)
    assert shown(mine) == (5100, 400, 3)
    assert mine.sequence[0, 0, 0] == 1
    assert not mine.heard[0, 0, 1]


def test_a_timestamp_that_jumps_back_is_a_new_start():
    """From then on the older clock's messages are the old ones."""
    mine = table()
    put(mine, timestamp_ms=500_000, received_us=100_000)
    put(mine, timestamp_ms=20, received_us=200_000)
    assert shown(mine)[0] == 20
    assert mine.poll(np.array([300_000])).tolist() == [[[100.0, 0.0]]]


def test_the_age_forgets_a_fast_message_of_more_than_a_minute_ago():
    """Polled while nothing comes, the window moves on as on the board."""
    mine = table(1)
    put(mine, timestamp_ms=0, received_us=0)
    put(mine, timestamp_ms=1000, received_us=1_050_000)
    assert mine.poll(np.array([2_000_000])) == 1000.0
    assert mine.poll(np.array([70_000_000])) == 70_000.0 - 1050.0


def test_what_cannot_be_is_refused():
    """A source that there is not, and a value that is no number; the table stays as it was."""
    mine = table()
    with pytest.raises(EmulatorError, match=r"source is 2, allowed are 0 to 1"):
        put(mine, source=2)
    with pytest.raises(EmulatorError, match=r"payload of source 0 is \[nan"):
        put(mine, x_m=float("nan"))
    assert not mine.heard.any()
