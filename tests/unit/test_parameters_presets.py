"""Each preset, run through the channel, against the measurements that its provenance names."""

from __future__ import annotations

import numpy as np
import pytest

from ml.espnow_emulator import BeaconSchedule, BroadcastChannel
from ml.keyed_random import fold
from ml.parameters import draw_episode_parameters, load_parameters
from ml.sensors import SensorBank

NEVER = np.iinfo(np.int64).max
ENVS, SOURCES = 48, 8


def _run(preset: str, distances_m: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Send frames from fixed distances (S,); return lost (frames, E, S) and latencies in ms."""
    radio = load_parameters(preset).radio
    channel = BroadcastChannel(radio, num_envs=ENVS, num_sources=SOURCES)
    rows = np.arange(ENVS)
    channel.reset(rows, fold(21, rows))
    sender = np.zeros((ENVS, SOURCES, 2))
    sender[:, :, 1] = distances_m
    lost = np.zeros((frames, ENVS, SOURCES), dtype=bool)
    latency_ms = []
    for k in range(frames):
        generated_us = np.full((ENVS, SOURCES), k * 1_000_000)
        channel.transmit(
            sending=np.ones((ENVS, SOURCES), dtype=bool),
            t_generated_us=generated_us,
            timestamp_ms=generated_us // 1000,
            payload=np.zeros((ENVS, SOURCES, 6)),
            sender_xy_m=sender,
            receiver_xy_m=np.zeros((ENVS, 1, 2)),
        )
        table = channel.deliver(np.full(ENVS, (k + 1) * 1_000_000 - 1))
        arrived = (table.heard & (table.sequence == k))[:, 0]
        lost[k] = ~arrived
        latency_ms.append(table.age_at_reception_ms[:, 0][arrived])
    return lost, np.concatenate(latency_ms)


def _mean_burst(lost: np.ndarray) -> float:
    """Lost frames per burst, over all links."""
    starts = lost[1:] & ~lost[:-1]
    return float(lost[1:].sum() / max(starts.sum(), 1))


def test_ideal_takes_nothing_away():
    """No loss, no latency, clocks alike, and sensors that tell the truth to the last bit."""
    lost, latency_ms = _run("ideal", np.linspace(1.0, 5000.0, SOURCES), 20)
    assert not lost.any()
    assert (latency_ms == 0.0).all()
    parameters = load_parameters("ideal")
    assert parameters.domain_randomisation == {}
    channel = BroadcastChannel(parameters.radio, num_envs=2, num_sources=1)
    now_us = np.array([0, 123_456_789])
    assert channel.receiver_clocks.local_ms(now_us)[:, 0].tolist() == [0, 123_456]
    schedule = BeaconSchedule(parameters.radio, num_envs=2, num_sources=3)
    schedule.reset(np.arange(2), fold(1, np.arange(2)))
    assert (schedule.phase_us == 0).all()
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
    for measured in (bank.measure_start(row, **truth), bank.measure(np.array([1]), **truth)):
        for name, values in truth.items():
            assert np.array_equal(getattr(measured, name), values)


def test_clean_loses_as_the_healthy_convoy_did():
    """5.8 % at 0-20 m and 11.6 % at 20-50 m within their own sampling error, bursts 1.13-1.39."""
    near, _ = _run("clean", np.linspace(1.25, 18.75, SOURCES), 400)
    far, _ = _run("clean", np.linspace(21.9, 48.1, SOURCES), 400)
    assert abs(near.mean() - 0.058) < 2.0 * np.sqrt(0.058 * 0.942 / 7581)
    assert abs(far.mean() - 0.116) < 2.0 * np.sqrt(0.116 * 0.884 / 570)
    assert 1.13 <= _mean_burst(near) <= 1.39
    assert 1.13 <= _mean_burst(far) <= 1.39


def test_bursty_loses_as_the_rural_drive_did():
    """33.4 % and bursts of 2.11 up to 50 m; 40.5 % and 2.84 at 100 m."""
    near, _ = _run("bursty", np.linspace(2.0, 50.0, SOURCES), 600)
    far, _ = _run("bursty", np.full(SOURCES, 100.0), 600)
    assert abs(near.mean() - 0.334) < 0.01
    assert abs(_mean_burst(near) - 2.11) < 0.05
    assert abs(far.mean() - 0.405) < 0.01
    assert abs(_mean_burst(far) - 2.84) < 0.07


def test_shadowed_loses_as_the_board_in_the_door_did():
    """84-86 % and bursts of 14-15, whatever the distance up to 50 m; hence long silences."""
    lost, _ = _run("shadowed", np.linspace(2.0, 50.0, SOURCES), 1500)
    assert 0.84 <= lost.mean() <= 0.86
    assert 14.0 <= _mean_burst(lost) <= 15.2
    # Episodes do not begin with a spell of good radio.
    assert lost[0].mean() > 0.85 - 4.0 * np.sqrt(0.85 * 0.15 / lost[0].size)
    eight_in_a_row = np.lib.stride_tricks.sliding_window_view(lost, 8, axis=0).all(axis=-1)
    assert 0.45 < eight_in_a_row.mean() < 0.60  # .85 (1 - 1 / 14.5)^7 = .52


@pytest.mark.parametrize("preset", ["clean", "bursty", "shadowed"])
def test_latency_is_that_of_the_field_logs(preset: str):
    """Mean 3.35-4.01 ms, median 2.5-3.5, 95th percentile 6.0-6.5, skewed, rarely over 85."""
    _, latency_ms = _run(preset, np.full(SOURCES, 10.0), 400)
    p50, p95, largest = np.percentile(latency_ms, [50, 95, 100])
    assert 3.35 <= latency_ms.mean() <= 4.01
    assert 2.5 <= p50 <= 3.53
    assert 6.0 <= p95 <= 6.5
    assert latency_ms.mean() > p50
    assert latency_ms.min() >= 1.26, "no frame is faster than its time on the air"
    assert largest < 85.0


@pytest.mark.parametrize("preset", ["clean", "bursty", "shadowed"])
def test_measured_presets_say_what_they_rest_on_and_vary(preset: str):
    """Provenance names numbers, marks judgement, and every range takes effect without error."""
    parameters = load_parameters(preset)
    assert "judgement" in parameters.provenance
    assert "mean burst" in parameters.provenance
    low = {name: np.array([span[0]]) for name, span in parameters.domain_randomisation.items()}
    high = {name: np.array([span[1]]) for name, span in parameters.domain_randomisation.items()}
    row = np.zeros(1, dtype=np.int64)
    channel = BroadcastChannel(parameters.radio, num_envs=1, num_sources=1)
    bank = SensorBank(parameters.sensors, num_envs=1, num_vehicles=1)
    for overrides in (low, high, draw_episode_parameters(parameters, fold(1, row))):
        channel.reset(row, fold(1, row), overrides=overrides)
        bank.reset(row, fold(1, row), overrides=overrides)
    losses = [knot.probability for knot in parameters.radio.loss.by_distance]
    assert losses == sorted(losses)
