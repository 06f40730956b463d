"""Each preset, run through the channel: what it is named for, in outline.

The numbers of the measured presets are held to their recordings in tests/statistics.
"""

from __future__ import annotations

import numpy as np
import pytest
from small_radio import TICK_US, open_channel, poll, send

from ml.espnow_emulator import BeaconSchedule, BroadcastChannel
from ml.keyed_random import fold
from ml.parameters import PRESET_NAMES, draw_episode_parameters, load_parameters
from ml.sensors import SensorBank

MEASURED = tuple(name for name in PRESET_NAMES if name != "ideal")


def _share_received(preset: str, distance_m: float) -> float:
    """First-hop delivery of two cars at a distance, mean over many boards and places."""
    channel = open_channel(load_parameters(preset).radio, 400, 2)
    for k in range(40):
        xy_m = np.zeros((400, 2, 2))
        xy_m[:, :, 1] = [0.0, distance_m]
        xy_m[:, :, 1] += 2.0 * k
        now_us = np.full(400, (k + 1) * TICK_US)
        at_us = k * TICK_US + np.array([10_000, 60_000])
        send(
            channel,
            0,
            t_generated_us=np.broadcast_to(at_us, (400, 2)).copy(),
            node_xy_m=xy_m,
            now_us=now_us,
        )
        channel.deliver(now_us)
    return channel.drain_counters()["radio/delivery_ratio"]


def test_ideal_takes_nothing_away():
    """No loss, no latency, clocks alike, and sensors that tell the truth to the last bit."""
    parameters = load_parameters("ideal")
    assert parameters.domain_randomisation == {}
    channel = open_channel(parameters.radio, 4, 9)
    payload = np.arange(4.0 * 9 * 6).reshape(4, 9, 6) / 7.0
    for k in range(20):
        send(channel, k * TICK_US, payload=payload + k)
        table = poll(channel, k * TICK_US)
        assert (table.heard & (table.sequence == k)).all()
        assert (table.age_at_reception_ms == 0.0).all()
        assert (table.hops == 0).all()
        assert np.array_equal(table.payload[:, 0], payload[:, 1:] + k)
    now_us = np.array([0, 123_456_789, 0, 0])
    assert channel.node_clocks.local_ms(now_us)[:, 0].tolist() == [0, 123_456, 0, 0]
    schedule = BeaconSchedule(parameters.radio, channel.node_clocks)
    schedule.reset(np.arange(4), fold(1, np.arange(4)))
    assert (schedule.generated_us(np.full(4, 7)) == 6 * TICK_US).all()
    bank = SensorBank(parameters.sensors, num_envs=1, num_vehicles=2)
    row = np.zeros(1, dtype=np.int64)
    bank.reset(row, fold(1, row))
    truth = {
        "x_m": np.array([[1 / 3, -1e4]]),
        "y_m": np.array([[np.pi, 0.0]]),
        "speed_mps": np.array([[0.0, 33.3]]),
        "heading_deg": np.array([[0.1, 359.9]]),
        "accel_mps2": np.array([[-8.0, 2.6]]),
    }
    measured = bank.measure_start(row, **truth)
    for name, values in truth.items():
        assert np.array_equal(getattr(measured, name), values)


def test_the_presets_stand_in_the_order_of_their_names():
    """A good installation hears most, then clean, bursty, boards in cars, a board in a door."""
    received = [
        _share_received(name, 20.0)
        for name in ("ideal", "good-install", "clean", "bursty", "in-car", "shadowed")
    ]
    assert received == sorted(received, reverse=True)
    assert received[0] == 1.0
    assert min(-np.diff(received)) > 0.01
    assert _share_received("blackout", 20.0) < received[2] - 0.02
    for baseline in ("gilbert-elliott", "independent"):
        assert abs(_share_received(baseline, 20.0) - received[2]) < 0.05


@pytest.mark.parametrize("preset", ["clean", "bursty", "shadowed"])
def test_less_is_heard_from_further_away(preset: str):
    """Delivery falls with distance."""
    near, far = _share_received(preset, 10.0), _share_received(preset, 120.0)
    assert far < near


@pytest.mark.parametrize("preset", MEASURED)
def test_presets_say_what_they_rest_on_and_every_range_takes_effect(preset: str):
    """Provenance marks judgement; the ends of all ranges are accepted by radio and sensors."""
    parameters = load_parameters(preset)
    assert "judgement" in parameters.provenance
    assert parameters.domain_randomisation
    low = {name: np.array([span[0]]) for name, span in parameters.domain_randomisation.items()}
    high = {name: np.array([span[1]]) for name, span in parameters.domain_randomisation.items()}
    row = np.zeros(1, dtype=np.int64)
    channel = BroadcastChannel(parameters.radio, num_envs=1, num_nodes=2)
    bank = SensorBank(parameters.sensors, num_envs=1, num_vehicles=2)
    for overrides in (low, high, draw_episode_parameters(parameters, fold(1, row))):
        channel.reset(row, fold(1, row), overrides=overrides)
        bank.reset(row, fold(1, row), overrides=overrides)
