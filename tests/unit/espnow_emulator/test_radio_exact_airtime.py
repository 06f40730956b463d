"""The air is shared: relays cost time on it, and a relay storm shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle.adapt import open_channel, play_on_channel, radio
from oracle.script import NUM_FIELDS, Deliver, Script, Transmit, play_on_oracle

from ml.vehicle import TICK_US

NUM_NODES = 10
SECONDS = 30
AIR_S = 1_256e-6
TIRELESS = {"max_hops": 3, "forward_probability": 1.0}


def _row_of_cars(seconds: int = SECONDS) -> Script:
    """Ten cars behind one another, a beacon each every 100 ms, phases 10 ms apart."""
    steps: list[Transmit | Deliver] = []
    x_m = 25.0 * np.arange(NUM_NODES)
    payload = np.zeros((NUM_NODES, NUM_FIELDS))
    payload[:, 0], payload[:, 3] = x_m, 90.0
    xy_m = np.stack([x_m, np.zeros(NUM_NODES)], axis=1)
    phase_us = np.random.default_rng(0).permutation(NUM_NODES) * 10_000
    for k in range(1, 10 * seconds + 1):
        generated_us = (k - 1) * TICK_US + phase_us
        everybody = np.ones(NUM_NODES, dtype=bool)
        steps += [
            Transmit(k * TICK_US, everybody, generated_us, generated_us // 1000, payload, xy_m),
            Deliver(k * TICK_US),
        ]
    return Script(9, tuple(range(NUM_NODES)), (True,) * NUM_NODES, tuple(steps))


def _counters(sections: dict[str, Any]) -> dict[str, float]:
    """Play the row of cars and return what the channel counted after the first second."""
    script, parameters = _row_of_cars(), radio(**sections)
    channel = open_channel(parameters, [script])
    second = 2 * 10
    play_on_channel(parameters, [_part(script, 0, second)], channel=channel)
    channel.drain_counters()
    play_on_channel(parameters, [_part(script, second, len(script.steps))], channel=channel)
    return channel.drain_counters()


def _part(script: Script, begin: int, end: int) -> Script:
    return Script(script.key, script.node_keys, script.present, script.steps[begin:end])


def test_relays_with_the_front_cone_cost_half_of_everything_squared():
    """Ten lossless nodes send 10 N (N + 1) / 2 = 550 frames a second: 69 % of the air.

    Each message is passed on once by everybody behind it. No frame may collide here
    (`vulnerable_us` 0), since a lost frame is not passed on.
    """
    sections = {"mac": {"vulnerable_us": 0}, "relay": TIRELESS}
    counters = _counters(sections)
    frames_per_s = counters["radio/airtime_share"] / AIR_S
    assert frames_per_s == pytest.approx(550.0, rel=0.002)
    assert 0.68 < counters["radio/airtime_share"] < 0.72
    assert counters["radio/queue_drops"] == 0.0
    assert counters["radio/collision_share"] == 0.0
    _, oracle = play_on_oracle(_row_of_cars(3), radio(**sections))
    steady = [frame for frame in oracle.on_air if 1e6 <= frame.start_us < 3e6]
    assert len(steady) == pytest.approx(2 * 550, abs=4)


def test_a_relay_storm_shows():
    """Without the cone everybody passes on everything: more than the air can carry.

    1,000 frames a second would take 126 % of it. At the boards' contention collisions eat what
    is too much, and with it a fifth of what is said; at half the rate queues overflow, too.
    """
    calm = _counters({"relay": TIRELESS})
    storm = _counters({"relay": TIRELESS | {"front_cone": False}})
    assert storm["radio/airtime_share"] > calm["radio/airtime_share"] + 0.2 > 0.85
    assert storm["radio/collision_share"] > 4.0 * calm["radio/collision_share"]
    assert storm["radio/delivery_ratio"] < calm["radio/delivery_ratio"] - 0.1
    slow = {"mac": {"rate_kbps": 500.0}, "relay": TIRELESS | {"front_cone": False}}
    assert _counters(slow)["radio/queue_drops"] > 500.0
    assert calm["radio/queue_drops"] == 0.0
