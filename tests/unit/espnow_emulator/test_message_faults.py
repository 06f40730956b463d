"""Faults of nodes: what each does to the messages, how often, and that none is on by default."""

from __future__ import annotations

import numpy as np
import pytest

from ml.espnow_emulator.faults import MessageFaults
from ml.espnow_emulator.parameters.radio import FaultParameters
from ml.keyed_random import fold
from ml.vehicle import TICK_US

OFFSET_MS = 50_000


def _run(sections: dict, ticks: int, envs: int, nodes: int, first: int = 0):
    """Send one message a node and tick; (ticks, E, N, …) of what comes out."""
    faults = MessageFaults(FaultParameters(**sections), num_envs=envs, num_nodes=nodes)
    rows = np.arange(envs)
    faults.reset(rows, fold(4, rows + first))
    sent, stamps, payloads = [], [], []
    for k in range(1, ticks + 1):
        t_us = np.full((envs, nodes), (k - 1) * TICK_US) + 7_000 * (np.arange(nodes) + 1)
        timestamp_ms = t_us // 1000 + OFFSET_MS
        payload = np.zeros((envs, nodes, 6))
        payload[..., 0], payload[..., 4] = k, 0.5
        wish = np.ones((envs, nodes), dtype=bool)
        sent.append(
            faults.apply(
                np.full(envs, k),
                sending=wish,
                t_generated_us=t_us,
                timestamp_ms=timestamp_ms,
                payload=payload,
            )
        )
        assert wish.all(), "who wants to send is the caller's"
        stamps.append(timestamp_ms)
        payloads.append(payload)
    return np.array(sent), np.array(stamps), np.array(payloads)


def _true_stamps(ticks: int, nodes: int) -> np.ndarray:
    return np.arange(ticks)[:, None] * 100 + 7 * (np.arange(nodes) + 1) + OFFSET_MS


def _runs(flags: np.ndarray) -> list[int]:
    """Lengths of the spells that begin and end within (ticks, E, N)."""
    lengths = []
    for series in flags.reshape(flags.shape[0], -1).T:
        edges = np.flatnonzero(np.diff(series.astype(int)))
        if series[0]:
            edges = edges[1:]
        lengths += (edges[1::2] - edges[: 2 * (edges.size // 2) : 2]).tolist()
    return lengths


def test_by_default_nothing_goes_wrong():
    """Without a section every message leaves as it came, and the caller's array is returned."""
    sent, stamps, payloads = _run({}, 50, 8, 3)
    assert sent.all()
    assert (stamps == _true_stamps(50, 3)[:, None]).all()
    assert (payloads[..., 4] == 0.5).all()
    assert not MessageFaults(FaultParameters(), num_envs=1, num_nodes=1).is_active


def test_a_rebooted_node_is_silent_and_then_counts_from_zero():
    """Silence lasts its seconds; the first timestamp after it is the time since the reboot."""
    sent, stamps, payloads = _run(
        {"reboot": {"mean_interval_s": 60.0, "silent_s": 2.0}}, 900, 40, 3
    )
    spells = _runs(~sent)
    assert len(spells) > 100
    assert set(spells) == {20}
    # At work 1 per 60 s, silent 2 s of each 62.
    assert abs((~sent).mean() - 2.0 / 62.0) < 4.0 * 2.0 / 62.0 / np.sqrt(len(spells))
    assert (payloads[..., 0] == np.arange(1, 901)[:, None, None]).all()
    begins = ~sent & np.insert(sent[:-1], 0, values=True, axis=0)
    assert begins.sum(axis=0).max() > 2, "some nodes reboot again and again"
    assert (stamps[begins] == 0).all()
    for env, node in np.ndindex(40, 3):
        silent = np.flatnonzero(~sent[:, env, node])
        if silent.size and silent[0] + 20 < 900:
            start = silent[0]
            since = np.arange(900)[start:] - start
            until = np.flatnonzero(np.diff(silent) > 1)
            end = silent[until[0] + 1] if until.size else 900
            assert np.array_equal(stamps[start:end, env, node], 100 * since[: end - start])
            assert np.array_equal(stamps[:start, env, node], _true_stamps(900, 3)[:start, node])


def test_a_frozen_sender_repeats_one_state_under_fresh_timestamps():
    """The payload stands still for the duration, the clock does not."""
    sections = {"frozen_sender": {"mean_interval_s": 30.0, "duration_s": 1.5}}
    sent, stamps, payloads = _run(sections, 600, 20, 3)
    assert sent.all()
    assert (stamps == _true_stamps(600, 3)[:, None]).all()
    state = payloads[..., 0]
    late = np.arange(1, 601)[:, None, None] - state
    assert late.max() == 14, "the first of fifteen repeated messages is still new"
    spells = _runs(late > 0)
    assert set(spells) == {14}
    frozen = late[1:] > 0
    assert (np.diff(state, axis=0)[frozen] == 0).all()
    expected = 14.0 / 315.0
    assert abs((late > 0).mean() - expected) < 4.0 * expected / np.sqrt(len(spells))


def test_a_clock_jump_shifts_all_later_timestamps():
    """Shifts add up, go both ways, and reach the largest; nothing else changes."""
    sections = {"clock_jump": {"mean_interval_s": 20.0, "largest_ms": 500.0}}
    sent, stamps, payloads = _run(sections, 600, 30, 2)
    assert sent.all()
    assert (payloads[..., 4] == 0.5).all()
    shift = stamps - _true_stamps(600, 2)[:, None]
    jumps = np.diff(shift, axis=0, prepend=0)
    jumps = jumps[jumps != 0]
    expected = 600 * 60 * 0.1 / 20.0
    assert abs(jumps.size - expected) < 4.0 * np.sqrt(expected)
    assert -500 <= jumps.min() < -450
    assert 450 < jumps.max() <= 500
    assert abs(jumps.mean()) < 4.0 * 500.0 / np.sqrt(3.0 * jumps.size)


def test_a_spoofed_brake_changes_the_acceleration_alone():
    """For the duration the messages claim the braking; position, clock and sending are true."""
    sections = {"spoofed_brake": {"mean_interval_s": 40.0, "duration_s": 1.0, "accel_mps2": -6.0}}
    sent, stamps, payloads = _run(sections, 800, 30, 2)
    assert sent.all()
    assert (stamps == _true_stamps(800, 2)[:, None]).all()
    assert set(np.unique(payloads[..., 4])) == {-6.0, 0.5}
    assert set(_runs(payloads[..., 4] < 0.0)) == {10}
    assert (payloads[..., 0] == np.arange(1, 801)[:, None, None]).all()


EVERYTHING = {
    "reboot": {"mean_interval_s": 9.0},
    "frozen_sender": {"mean_interval_s": 8.0},
    "clock_jump": {"mean_interval_s": 7.0},
    "spoofed_brake": {"mean_interval_s": 6.0},
}


def test_faults_do_not_depend_on_the_batch_or_on_other_nodes():
    """A convoy alone, and a node without its companions, has the same faults."""
    together = _run(EVERYTHING, 300, 5, 4)
    alone = _run(EVERYTHING, 300, 1, 4, first=3)
    for many, one in zip(together, alone, strict=True):
        assert np.array_equal(many[:, 3:4], one)
    fewer = _run(EVERYTHING, 300, 5, 3)
    for many, other in zip(together, fewer, strict=True):
        assert np.array_equal(many[:, :, :3], other)
    assert not np.array_equal(together[2][:, :, 2], together[2][:, :, 3])


def test_a_fault_does_not_change_when_another_is_switched_on():
    """Each fault has draws of its own."""
    alone, _, _ = _run({"reboot": EVERYTHING["reboot"]}, 300, 10, 2)
    sent, _, _ = _run(EVERYTHING, 300, 10, 2)
    assert np.array_equal(alone, sent)


def test_a_reset_ends_all_faults_of_its_convoy_and_of_no_other():
    """The next episode begins with nodes that work; the other convoys go on."""
    faults = MessageFaults(FaultParameters(**EVERYTHING), num_envs=2, num_nodes=50)
    rows = np.arange(2)
    faults.reset(rows, fold(4, rows))
    for k in range(1, 400):
        stamps = np.full((2, 50), 1000 * k)
        payload = np.full((2, 50, 6), float(k))
        t_us = np.full((2, 50), k * TICK_US)
        if k == 399:
            faults.reset(rows[:1], fold(5, rows[:1]))
        sent = faults.apply(
            np.full(2, k),
            sending=np.ones((2, 50), dtype=bool),
            t_generated_us=t_us,
            timestamp_ms=stamps,
            payload=payload,
        )
    unharmed = (payload[..., 0] == 399.0) & (stamps == 399_000) & sent
    # Within one tick a node fails with probability 0.06; after 40 s hardly one was never hit.
    assert unharmed[0].mean() > 0.8
    assert unharmed[1].mean() < 0.2


@pytest.mark.parametrize("wrong", [{"mean_interval_s": 0.0}, {"silent_s": -1.0}, {"often": 1.0}])
def test_a_wrong_parameter_is_refused(wrong: dict):
    """Rates and durations have bounds, and unknown keys are errors."""
    with pytest.raises(ValueError, match="validation error"):
        FaultParameters(reboot=wrong)
