"""A channel of one row of cars, for tests that say in one line what is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml.espnow_emulator import (
    BroadcastChannel,
    ClockParameters,
    IndependentLoss,
    LossPoint,
    MacParameters,
    RadioParameters,
    RelayParameters,
    WireParameters,
)
from ml.keyed_random import fold

if TYPE_CHECKING:
    from ml.espnow_emulator import PeerTable


def loss_of(probability: float) -> IndependentLoss:
    """The same loss at every distance, frame by frame."""
    return IndependentLoss(by_distance=(LossPoint(distance_m=0.0, probability=probability),))


def plain_radio(**sections: Any) -> RadioParameters:
    """No loss, no rounding, no relays, no contention, no latency, unless a section says so."""
    plain = {
        "loss": loss_of(0.0),
        "mac": MacParameters(enabled=False),
        "relay": RelayParameters(max_hops=0),
        "wire": WireParameters(quantise=False),
        "clock": ClockParameters(drift_sd_ppm=0.0),
    }
    return RadioParameters(**plain | sections)


def open_channel(radio: RadioParameters, num_envs: int, num_nodes: int, **options: Any):
    """Build a channel whose convoys run episodes of their own."""
    channel = BroadcastChannel(radio, num_envs=num_envs, num_nodes=num_nodes, **options)
    rows = np.arange(num_envs)
    channel.reset(rows, fold(4, rows, 0))
    return channel


def frame_arrays(
    channel: BroadcastChannel, at_us: int, now_us: int | None = None, gap_m: float = 25.0
) -> dict[str, np.ndarray]:
    """What `transmit` takes if every node sends at one time; a row of cars along north."""
    envs, nodes = channel.node_clocks.offset_ms.shape
    xy_m = np.zeros((envs, nodes, 2))
    xy_m[:, :, 1] = gap_m * np.arange(nodes)
    return {
        "sending": np.ones((envs, nodes), dtype=bool),
        "t_generated_us": np.full((envs, nodes), at_us),
        "timestamp_ms": np.full((envs, nodes), at_us // 1000),
        "payload": np.zeros((envs, nodes, 6)),
        "node_xy_m": xy_m,
        "now_us": np.full(envs, at_us if now_us is None else now_us),
    }


def send(channel: BroadcastChannel, at_us: int, **changes: Any) -> None:
    """Let every node send at one time, but for what is said otherwise."""
    channel.transmit(**frame_arrays(channel, at_us) | changes)


def poll(channel: BroadcastChannel, now_us: int) -> PeerTable:
    """Deliver to all convoys at one time."""
    return channel.deliver(np.full(channel.node_clocks.offset_ms.shape[0], now_us))
