"""Each preset, put through the channel and the sensors; `tests/statistics` holds it to figures."""

from __future__ import annotations

import numpy as np
import pytest
from support.small_radio import open_channel, poll, send

from ml.espnow_emulator import BeaconSchedule, BroadcastChannel
from ml.keyed_random import fold
from ml.parameters import PRESET_NAMES, draw_episode_parameters, load_parameters
from ml.sensors import SensorBank, Truth
from ml.vehicle import TICK_US

MEASURED = tuple(name for name in PRESET_NAMES if name != "ideal")


def test_ideal_takes_nothing_away():
    """No loss, no latency, clocks alike, and sensors that tell the truth to the last bit."""
    parameters = load_parameters("ideal")
    assert parameters.domain_randomisation == {}
    channel = open_channel(parameters.radio, 4, 6)
    for tick in range(20):
        send(channel, tick * TICK_US)
        table = poll(channel, tick * TICK_US)
        assert table.heard.all()
        assert (table.sequence == tick).all()
        assert (table.age_at_reception_ms == 0.0).all()
    now_us = np.full(4, 123_456_789)
    assert (channel.node_clocks.local_ms(np.repeat(now_us[:, None], 6, axis=1)) == 123_456).all()
    schedule = BeaconSchedule(parameters.radio, channel.node_clocks)
    schedule.reset(np.arange(4), fold(1, np.arange(4)))
    assert (schedule.generated_us(np.full(4, 3)) == 2 * TICK_US).all()


def test_ideal_sensors_tell_the_truth():
    """Position, speed, heading and acceleration as they are, at the start and a tick later."""
    bank = SensorBank(load_parameters("ideal").sensors, num_envs=1, num_vehicles=2)
    row = np.zeros(1, dtype=np.int64)
    bank.reset(row, fold(1, row))
    truth = {
        "x_m": np.array([[1 / 3, -1e4]]),
        "y_m": np.array([[np.pi, 0.0]]),
        "speed_mps": np.array([[0.0, 33.3]]),
        "heading_deg": np.array([[0.1, 359.9]]),
        "accel_mps2": np.array([[-8.0, 2.6]]),
    }
    measured = bank.measure_start(row, Truth(**truth))
    for name, values in truth.items():
        assert np.array_equal(getattr(measured, name), values)


@pytest.mark.parametrize("preset", [name for name in MEASURED if name != "varied"])
def test_measured_presets_say_what_they_rest_on(preset: str):
    """Provenance names what was reached and marks judgement."""
    parameters = load_parameters(preset)
    assert "judgement" in parameters.provenance
    assert "mean burst" in parameters.provenance
    assert "@" not in parameters.provenance


@pytest.mark.parametrize("preset", MEASURED)
def test_every_range_takes_effect_without_error(preset: str):
    """Both ends of every range, and a draw, are taken by the channel and the sensors."""
    parameters = load_parameters(preset)
    spans = parameters.domain_randomisation
    low = {name: np.array([span[0]]) for name, span in spans.items()}
    high = {name: np.array([span[1]]) for name, span in spans.items()}
    row = np.zeros(1, dtype=np.int64)
    channel = BroadcastChannel(parameters.radio, num_envs=1, num_nodes=2)
    bank = SensorBank(parameters.sensors, num_envs=1, num_vehicles=2)
    for overrides in (low, high, draw_episode_parameters(parameters, fold(1, row))):
        channel.reset(row, fold(1, row), overrides=overrides)
        bank.reset(row, fold(1, row), overrides=overrides)
        send(channel, 0)
        poll(channel, TICK_US)
        channel.clear(row)


@pytest.mark.parametrize("preset", MEASURED)
def test_a_preset_lies_within_the_ranges_it_is_drawn_from(preset: str):
    """What is drawn lies about what is fixed; what is switched off on purpose is the exception."""
    parameters = load_parameters(preset)
    radio = parameters.model_dump()
    for name, (low, high) in parameters.domain_randomisation.items():
        value = radio
        for part in name.split("."):
            value = value[part]
        if value == 0.0 and name.endswith((".share", ".door_share")):
            continue
        assert low <= value <= high, name
