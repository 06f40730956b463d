"""Drive convoys on a straight road past the radio alone, and write down what arrives."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.calibration.synthetic.recording import exchange
from ml.espnow_emulator import (
    BEACON_PERIOD_US,
    BeaconSchedule,
    BroadcastChannel,
    PayloadField,
    PeerTable,
    RadioParameters,
)
from ml.keyed_random import Stream, fold, uniform
from ml.parameters import Parameters, draw_episode_parameters

CRUISE_MPS: Final = 10.6
"""Speed where none is given: the mean of the recorded convoy drive."""
_LATEST_PHASE_US: Final = 80_000
_SEED: Final = 1


class DirectLinks(NamedTuple):
    """What became of every own frame on every link, relays off.

    Source s is node s + 1, and a node's link to itself is all lost.
    """

    latency_ms: Floats  # (ticks, E, R, S) from sampling to reception; NaN where it was lost
    generated_us: Ints  # (ticks, E, S), true time of sampling

    @property
    def lost(self) -> Bools:
        """(ticks, E, R, S)."""
        return np.isnan(self.latency_ms)


def straight(position_m: Floats, ticks: int) -> Floats:
    """Let convoys cruise with constant gaps from positions along the road, (E, N).

    Returns:
        (ticks + 1, E, N), where they are, from the start on.
    """
    travelled_m = CRUISE_MPS * 1e-6 * BEACON_PERIOD_US * np.arange(ticks + 1)
    return position_m + travelled_m[:, None, None]


def without_relays(radio: RadioParameters) -> RadioParameters:
    """Return the radio with relays off."""
    return radio.model_copy(update={"relay": radio.relay.model_copy(update={"max_hops": 0})})


def drawn_always(parameters: Parameters, count: int) -> dict[str, Floats]:
    """Draw what is drawn in every episode, whether or not training randomises, for some convoys.

    Returns:
        Dotted name to (count,), for the `overrides` below; none of a preset.
    """
    keys = fold(_SEED, np.arange(count))
    return draw_episode_parameters(parameters, keys, randomise=False)


def record_direct_links(
    radio: RadioParameters,
    position_m: Floats,
    *,
    receivers: tuple[int, ...] = (0,),
    seed: int = _SEED,
    identities: Ints | None = None,
    overrides: Mapping[str, Floats] | None = None,
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
    steps, num_envs, num_nodes = position_m.shape
    channel = BroadcastChannel(
        without_relays(radio), num_envs=num_envs, num_nodes=num_nodes, receivers=receivers
    )
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
        table = drive_on(channel, tick, t_us, position_m[tick])
        fresh = table.heard & (table.sequence == tick - 1)
        latency_ms[tick - 1][fresh] = table.age_at_reception_ms[fresh]
        generated_us[tick - 1] = t_us[:, 1:]
    return DirectLinks(latency_ms, generated_us)


def sample_ages_s(
    radio: RadioParameters, position_m: Floats, *, overrides: Mapping[str, Floats] | None = None
) -> Floats:
    """Broadcast from every node and sample the true age of what node 0 knows, relays as given.

    Nodes are at `position_m` (ticks + 1, E, N) along a straight road; `overrides` are those of
    `BroadcastChannel.reset`.

    Returns:
        (ticks, E, S) at the end of each tick; infinite where nothing was heard yet.
    """
    steps, num_envs, num_nodes = position_m.shape
    channel = BroadcastChannel(radio, num_envs=num_envs, num_nodes=num_nodes)
    beacons = BeaconSchedule(radio, channel.node_clocks)
    rows = np.arange(num_envs)
    keys = fold(_SEED, rows)
    channel.reset(rows, keys, overrides=overrides)
    beacons.reset(rows, keys)
    ages_s = np.full((steps - 1, num_envs, num_nodes - 1), np.inf)
    for tick in range(1, steps):
        t_us = beacons.generated_us(np.full(num_envs, tick))
        table = drive_on(channel, tick, t_us, position_m[tick])
        now_us = np.full(num_envs, tick * BEACON_PERIOD_US)
        heard = table.heard[:, 0]
        ages_s[tick - 1][heard] = table.age_true_us(now_us)[:, 0][heard] / 1e6
    return ages_s


def drive_on(channel: BroadcastChannel, tick: int, t_us: Ints, along_m: Floats) -> PeerTable:
    """Let convoys that go north at cruising speed send a frame each, and deliver to a tick's end.

    Args:
        channel: Of E convoys of N nodes.
        tick: Which one, from 1 on.
        t_us: (E, N), true times of sampling within it.
        along_m: (E, N), where the nodes are at its end.
    """
    payload = np.zeros((*along_m.shape, len(PayloadField)))
    payload[..., PayloadField.Y_M] = along_m
    payload[..., PayloadField.SPEED_MPS] = CRUISE_MPS
    xy_m = np.stack([np.zeros_like(along_m), along_m], axis=-1)
    return exchange(channel, t_us, np.full(len(t_us), tick * BEACON_PERIOD_US), payload, xy_m)
