"""Times and collisions: round trips, contention, relays, and the age that follows from them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ml.calibration.trials.convoy import record_direct_links, straight
from ml.espnow_emulator import BroadcastChannel, PayloadField, RadioParameters
from ml.keyed_random import Stream, fold, uniform
from ml.parameters import load_parameters

pytestmark = pytest.mark.statistics

T_US = 100_000
SPACING_M = 15.0
# Round trips of a 34-minute drive, its core of 17,746 packets, in whole milliseconds.
ROUND_TRIP_MS = {50: 7.0, 95: 12.0, 99: 15.0}
# Share of frames that collide at 10 Hz, 90 bytes and 1 Mb/s with all nodes in range at random
# phases, by number of nodes; and with three nodes whose phases lie within 0.5 ms.
COLLISION_SHARE = {6: 0.0013, 10: 0.003, 20: 0.008, 30: 0.014}
COLLISION_SHARE_CLOSE = 0.076
_WITHIN_MS = {50: 1.0, 95: 1.0, 99: 2.0}


def _radio(**sections: object) -> RadioParameters:
    """The preset `clean` with some sections changed."""
    radio = load_parameters("clean").radio.model_dump()
    for name, values in sections.items():
        radio[name] = (radio[name] | values) if name != "loss" else values
    return RadioParameters.model_validate_json(json.dumps(radio))


def _independent(probability: float, beyond: tuple[float, float] = ()) -> dict:
    points = [{"distance_m": 0.0, "probability": probability}]
    if beyond:
        points += [
            {"distance_m": beyond[0], "probability": probability},
            {"distance_m": beyond[1], "probability": 1.0},
        ]
    return {"model": "independent", "by_distance": points, "odds_factor": 1.0}


class _Convoys:
    """Convoys that stand 15 m apart and broadcast at given phases (E, N)."""

    def __init__(self, radio: RadioParameters, phase_us: np.ndarray, receivers=(0,)) -> None:
        envs, nodes = phase_us.shape
        self.phase_us = phase_us
        self.channel = BroadcastChannel(radio, num_envs=envs, num_nodes=nodes, receivers=receivers)
        rows = np.arange(envs)
        self.channel.reset(rows, fold(105, rows))
        along = np.tile(np.arange(nodes) * SPACING_M, (envs, 1))
        self.node_xy_m = np.stack([np.zeros_like(along), along], axis=-1)
        self.payload = np.zeros((envs, nodes, len(PayloadField)))
        self.payload[..., PayloadField.Y_M] = along
        self.payload[..., PayloadField.SPEED_MPS] = 10.0

    def tick(self, tick: int):
        """Send and deliver; return the time and the table."""
        t_us = tick * T_US + self.phase_us
        now_us = np.full(len(t_us), (tick + 1) * T_US)
        self.channel.transmit(
            sending=np.ones(t_us.shape, dtype=bool),
            t_generated_us=t_us,
            timestamp_ms=t_us // 1000,
            payload=self.payload,
            node_xy_m=self.node_xy_m,
            now_us=now_us,
        )
        return now_us, self.channel.deliver(now_us)


def test_round_trips_take_as_long_as_recorded():
    """Quantiles of two frames there and back, in whole ms: within 1 ms, the 99th within 2."""
    radio = _radio(loss=_independent(0.0))
    position_m = straight(np.tile([0.0, SPACING_M], (256, 1)), 500)
    there = record_direct_links(radio, position_m, seed=106).latency_ms[:, :, 0, 0]
    back = record_direct_links(radio, position_m, seed=107).latency_ms[:, :, 0, 0]
    both = there + back
    round_trip_ms = np.floor(both[~np.isnan(both)])
    assert round_trip_ms.size * 2 >= 200_000
    for quantile, recorded_ms in ROUND_TRIP_MS.items():
        reached_ms = np.percentile(round_trip_ms, quantile)
        print(f"round trip p{quantile}: {reached_ms:g} ms, recorded {recorded_ms:g}")  # noqa: T201
        assert abs(reached_ms - recorded_ms) <= _WITHIN_MS[quantile]


def _collision_share(phase_us: np.ndarray, ticks: int) -> float:
    """Share of frames that collide, the board's own waits left out, as in the table."""
    radio = _radio(loss=_independent(0.0), mac={"wait_probability": 0.0}, relay={"max_hops": 0})
    assert phase_us.size * ticks >= 200_000
    convoys = _Convoys(radio, phase_us)
    for tick in range(ticks):
        convoys.tick(tick)
    return convoys.channel.drain_counters()["radio/collision_share"]


@pytest.mark.parametrize("nodes", COLLISION_SHARE)
def test_collisions_are_as_frequent_as_the_contention_table_says(nodes: int):
    """At random phases, with all nodes in range, within 30 %."""
    key = fold(108, Stream.BEACON_PHASE, np.arange(400)[:, None], np.arange(nodes))
    phase_us = np.floor(uniform(key) * T_US).astype(np.int64)
    share = _collision_share(phase_us, max(100, 1_000_000 // phase_us.size))
    print(f"{nodes} nodes: {share:.4f}, table {COLLISION_SHARE[nodes]:g}")  # noqa: T201
    assert abs(share / COLLISION_SHARE[nodes] - 1.0) <= 0.3


def test_three_nodes_that_wake_together_collide_often():
    """Three phases within half a millisecond: within 30 % of the table."""
    key = fold(109, Stream.BEACON_PHASE, np.arange(1000)[:, None], np.arange(3))
    phase_us = 50_000 + np.floor(uniform(key) * 500.0).astype(np.int64)
    share = _collision_share(phase_us, 100)
    print(f"three together: {share:.4f}, table {COLLISION_SHARE_CLOSE:g}")  # noqa: T201
    assert abs(share / COLLISION_SHARE_CLOSE - 1.0) <= 0.3


def test_a_relayed_copy_waits_for_the_relayers_slot():
    """The median delay of a hop is the relayer's phase less that of the arrival, within 5 ms.

    Both phases are those that a log shows: of the copy that reaches the relayer, and of the
    relayer's own frame as it reaches the last car. Phases stay 5 ms away from each other, where
    a frame would catch the slot or just miss it.
    """
    envs, ticks = 700, 110
    # The last car hears its neighbour, but never the first car, 30 m away.
    radio = _radio(
        loss=_independent(0.0, (16.0, 29.0)),
        mac={"h_rx_ms": 0.15},
        relay={"forward_probability": 1.0},
    )
    key = fold(110, Stream.BEACON_PHASE, np.arange(envs))
    relayer_us = np.full(envs, 50_000)
    first_us = np.floor((55_000 + 90_000 * uniform(key)) % T_US).astype(np.int64)
    phase_us = np.stack([np.full(envs, 25_000), relayer_us, first_us], axis=1)
    hop_ms, own_ms, direct_ms = (np.full((ticks, envs), np.nan) for _ in range(3))
    convoys = _Convoys(radio, phase_us, receivers=(0, 1))
    for tick in range(ticks):
        now_us, table = convoys.tick(tick)
        relayed = table.heard[:, 0, 1] & (table.hops[:, 0, 1] == 1)
        fresh = relayed & (table.received_us[:, 0, 1] > now_us - T_US)
        latency_ms = (table.received_us - table.t_generated_us) / 1000.0
        hop_ms[tick][fresh] = latency_ms[fresh, 0, 1]
        own_ms[tick] = latency_ms[:, 0, 0]
        direct_ms[tick] = latency_ms[:, 1, 1]
    arrival_ms = np.nanmedian(direct_ms[10:], axis=0)
    delay_ms = np.nanmedian(hop_ms[10:], axis=0) - arrival_ms
    slot_ms = (relayer_us - first_us) / 1000.0 + np.nanmedian(own_ms[10:], axis=0)
    difference_ms = (slot_ms - arrival_ms) % 100.0
    assert np.isfinite(delay_ms).all()
    clear = np.minimum(difference_ms, 100.0 - difference_ms) > 8.0
    assert clear.mean() > 0.8
    error_ms = np.abs(delay_ms - difference_ms)[clear]
    print(f"relay delay: off by {np.median(error_ms):.2f} ms, most {error_ms.max():.2f}")  # noqa: T201
    assert error_ms.max() <= 5.0


@pytest.mark.parametrize("loss", [0.0, 0.126, 0.4])
def test_the_mean_age_is_that_of_the_identity(loss: float):
    """E[age] = E[latency] + T (1/2 + p / (1 - p)) for independent loss, within 1 ms."""
    envs, nodes, ticks = 512, 3, 300
    radio = _radio(loss=_independent(loss), relay={"max_hops": 0})
    # Phases fill the interval evenly, each node in another order.
    steps = (np.arange(envs) + 0.5) / envs * T_US
    order = [np.roll(steps, node * envs // nodes) for node in range(nodes)]
    phase_us = np.floor(np.stack(order, axis=1)).astype(np.int64)
    ages_ms, heard = 0.0, 0
    convoys = _Convoys(radio, phase_us)
    for tick in range(ticks):
        now_us, table = convoys.tick(tick)
        if tick >= 100:
            ages_ms += table.age_true_us(now_us)[table.heard].sum() / 1000.0
            heard += int(table.heard.sum())
    delivered = convoys.channel.drain_counters()["radio/delivery_ratio"]
    links = record_direct_links(radio, straight(np.tile([0.0, 15.0, 30.0], (64, 1)), 300))
    p = 1.0 - delivered
    assert abs(p - loss) < 0.005
    expected_ms = float(np.nanmean(links.latency_ms)) + 100.0 * (0.5 + p / (1.0 - p))
    print(f"loss {loss}: mean age {ages_ms / heard:.2f} ms, identity {expected_ms:.2f}")  # noqa: T201
    assert abs(ages_ms / heard - expected_ms) <= 1.0
