"""Drive convoys on a straight road past the radio alone, and write down what arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.espnow_emulator import (
    BEACON_PERIOD_US,
    BeaconSchedule,
    BroadcastChannel,
    PayloadField,
    RadioParameters,
)
from ml.keyed_random import Stream, fold, uniform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ml.espnow_emulator import PeerTable

CRUISE_MPS: Final = 10.6
"""Speed where none is given: the mean of the recorded convoy drive."""
_LATEST_PHASE_US: Final = 80_000
_NORTH_DEG: Final = 0.0


@dataclass(frozen=True, slots=True)
class DirectLinks:
    """What became of every own frame on every link, relays off.

    Attributes:
        latency_ms: (ticks, E, R, S) float64 from sampling to reception; NaN where it was lost.
            Source s is node s + 1, and a node's link to itself is all lost.
        generated_us: (ticks, E, S) int64, true time of sampling.
        collision_share: Share of all frames that collided.
    """

    latency_ms: NDArray[np.float64]
    generated_us: NDArray[np.int64]
    collision_share: float

    @property
    def lost(self) -> NDArray[np.bool_]:
        """(ticks, E, R, S) bool."""
        return np.isnan(self.latency_ms)


def straight(position_m: NDArray[np.float64], ticks: int) -> NDArray[np.float64]:
    """Let convoys cruise with constant gaps.

    Args:
        position_m: (E, N), where the nodes start, along the road.
        ticks: How long.

    Returns:
        (ticks + 1, E, N), where they are, from the start on.
    """
    travelled_m = CRUISE_MPS * 1e-6 * BEACON_PERIOD_US * np.arange(ticks + 1)
    return position_m + travelled_m[:, None, None]


def record_direct_links(
    radio: RadioParameters,
    position_m: NDArray[np.float64],
    *,
    receivers: tuple[int, ...] = (0,),
    seed: int = 1,
    identities: NDArray[np.int64] | None = None,
    overrides: Mapping[str, NDArray[np.float64]] | None = None,
) -> DirectLinks:
    """Broadcast from every node at every tick, relays off, and record all first-hand receptions.

    Phases lie in the first 80 ms of a tick, so that a frame has arrived before the tick is over
    and no later one can hide it.

    Args:
        radio: Its parameters.
        position_m: (ticks + 1, E, N), along a straight road.
        receivers: Nodes whose receptions are recorded, R.
        seed: Of all draws.
        identities: (E,), convoys of one number draw the same antennas, shadowing and so on; each
            has its own if left out.
        overrides: As in `BroadcastChannel.reset`.
    """
    silent = radio.model_copy(update={"relay": radio.relay.model_copy(update={"max_hops": 0})})
    steps, num_envs, num_nodes = position_m.shape
    channel = BroadcastChannel(silent, num_envs=num_envs, num_nodes=num_nodes, receivers=receivers)
    rows = np.arange(num_envs)
    keys = fold(seed, rows if identities is None else identities)
    channel.reset(rows, keys, overrides=overrides)
    phase_key = fold(keys[:, None], Stream.BEACON_PHASE, np.arange(num_nodes))
    phase_us = np.floor(uniform(phase_key) * _LATEST_PHASE_US).astype(np.int64)
    links = (num_envs, len(receivers), num_nodes - 1)
    latency_ms = np.full((steps - 1, *links), np.nan)
    generated_us = np.zeros((steps - 1, num_envs, num_nodes - 1), np.int64)
    for tick in range(1, steps):
        t_us = (tick - 1) * BEACON_PERIOD_US + phase_us
        table = _broadcast(channel, tick, t_us, position_m[tick])
        fresh = table.heard & (table.sequence == tick - 1)
        latency_ms[tick - 1][fresh] = table.age_at_reception_ms[fresh]
        generated_us[tick - 1] = t_us[:, 1:]
    share = channel.drain_counters().get("radio/collision_share", 0.0)
    return DirectLinks(latency_ms, generated_us, share)


def sample_ages_s(
    radio: RadioParameters,
    position_m: NDArray[np.float64],
    *,
    seed: int = 1,
    overrides: Mapping[str, NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """Broadcast from every node and sample the true age of what node 0 knows, relays as given.

    Args:
        radio: Its parameters.
        position_m: (ticks + 1, E, N), along a straight road.
        seed: Of all draws.
        overrides: As in `BroadcastChannel.reset`.

    Returns:
        (ticks, E, S) at the end of each tick; infinite where nothing was heard yet.
    """
    steps, num_envs, num_nodes = position_m.shape
    channel = BroadcastChannel(radio, num_envs=num_envs, num_nodes=num_nodes)
    beacons = BeaconSchedule(radio, channel.node_clocks)
    rows = np.arange(num_envs)
    keys = fold(seed, rows)
    channel.reset(rows, keys, overrides=overrides)
    beacons.reset(rows, keys)
    ages_s = np.full((steps - 1, num_envs, num_nodes - 1), np.inf)
    for tick in range(1, steps):
        t_us = beacons.generated_us(np.full(num_envs, tick))
        table = _broadcast(channel, tick, t_us, position_m[tick])
        now_us = np.full(num_envs, tick * BEACON_PERIOD_US)
        heard = table.heard[:, 0]
        ages_s[tick - 1][heard] = table.age_true_us(now_us)[:, 0][heard] / 1e6
    return ages_s


def _broadcast(
    channel: BroadcastChannel, tick: int, t_us: NDArray[np.int64], along_m: NDArray[np.float64]
) -> PeerTable:
    """Send one frame of every node, (E, N), and deliver up to the end of the tick."""
    now_us = np.full(len(along_m), tick * BEACON_PERIOD_US)
    payload = np.zeros((*along_m.shape, len(PayloadField)))
    payload[..., PayloadField.Y_M] = along_m
    payload[..., PayloadField.SPEED_MPS] = CRUISE_MPS
    payload[..., PayloadField.HEADING_DEG] = _NORTH_DEG
    channel.transmit(
        sending=np.ones(along_m.shape, dtype=bool),
        t_generated_us=t_us,
        timestamp_ms=t_us // 1000,
        payload=payload,
        node_xy_m=np.stack([np.zeros_like(along_m), along_m], axis=-1),
        now_us=now_us,
    )
    return channel.deliver(now_us)
