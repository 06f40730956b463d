"""Drive cars past the real channel and the real sensors, and keep what their boards would log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.synthetic_drive import Drive, make_drive
from ml.espnow_emulator import BroadcastChannel, NodeClocks, PayloadField
from ml.keyed_random import Stream, fold, uniform
from ml.sensors import SensorBank

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ml.parameters import Parameters

TICK_US: Final = 100_000
_PARTS: Final = 4
_PART_US: Final = TICK_US // _PARTS
_LATEST_US: Final = 18_000
_STALL_EVERY_S, _STALL_S = 150.0, (0.3, 1.6)
_PHASE, _STALL_TIME, _STALL_LENGTH = 2, 3, 4
_FIELDS: Final = ("x_m", "y_m", "speed_mps", "heading_deg", "accel_mps2")
MOST_CARS: Final = 3


@dataclass(frozen=True, slots=True)
class Recording:
    """What happened on one drive.

    Attributes:
        drive: The truth.
        slot_us: (ticks, N) int64, true time at which each node had its slot.
        sent: (ticks, N) bool; False where the board stalled.
        measured: (ticks, N, 5), x, y, speed, heading and acceleration as the node had them.
        receptions: (K, 5) int64: receiver, source, tick of the frame, hops, true time in µs.
        round_trip_us: (ticks,) int64, of the pings of the first node, 0 where none came back, or
            None where there were no pings.
        stalls: Of each node, (S, 2) int64, beginning and end in true µs.
        clocks: Of the nodes, of which the first is nobody.
    """

    drive: Drive
    slot_us: NDArray[np.int64]
    sent: NDArray[np.bool_]
    measured: NDArray[np.float64]
    receptions: NDArray[np.int64]
    round_trip_us: NDArray[np.int64] | None
    stalls: list[NDArray[np.int64]]
    clocks: NodeClocks

    def local_ms(self, node: int, t_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what a node's clock shows at true times (K,)."""
        everybody = np.repeat(t_us[None, None], self.clocks.offset_ms.shape[1], axis=1)
        shown: NDArray[np.int64] = self.clocks.local_ms(everybody)[0, node + 1]
        return shown


def stalls_of(seed: int, node: int, duration_s: float) -> NDArray[np.int64]:
    """Draw when a board stands still, as one that writes to its card does: (S, 2) in µs."""
    count = int(duration_s / _STALL_EVERY_S)
    key = fold(seed, Stream.SYNTHETIC_LOGS, _STALL_TIME, node)
    begin_s = (np.arange(count) + 0.1 + 0.8 * uniform(fold(key[0], np.arange(count)))) * (
        duration_s / max(count, 1)
    )
    low, high = _STALL_S
    u = uniform(fold(seed, Stream.SYNTHETIC_LOGS, _STALL_LENGTH, node, np.arange(count)))
    stalls = np.stack([begin_s, begin_s + low + (high - low) * u], axis=-1)
    return np.rint(1e6 * stalls.reshape(-1, 2)).astype(np.int64)


def record(
    parameters: Parameters,
    *,
    num_cars: int,
    duration_s: float,
    seed: int,
    echo: bool = False,
    stalls: bool = True,
    parked: bool = False,
    on_tick: Callable[[int, int], None] | None = None,
) -> Recording:
    """Drive, and record all receptions.

    Each node has its slot in a quarter of its own of every tick, so that of all that a receiver
    takes in nothing hides anything else; a ping is echoed in the quarter after, and the wait for
    that quarter is not counted.

    Args:
        parameters: Of radio and sensors; positions are logged as held between fixes, as a
            receiver gives them.
        num_cars: 2 or 3.
        duration_s: How long.
        seed: Of everything.
        echo: The second node echoes the frames of the first.
        stalls: Boards stand still now and then.
        parked: Nobody moves.
        on_tick: Told (tick, ticks) now and then.
    """
    drive = make_drive(num_cars, duration_s, seed, parked=parked)
    ticks, nodes = len(drive.xy_m) - 1, num_cars + 1
    listening = tuple(range(1, nodes))
    channel = BroadcastChannel(
        parameters.radio, num_envs=1, num_nodes=nodes, receivers=listening
    )
    keys, only = fold(seed, 0, 0), np.arange(1)
    channel.reset(only, keys, present=np.arange(nodes) > 0)
    u = uniform(fold(seed, Stream.SYNTHETIC_LOGS, _PHASE, np.arange(num_cars)))
    phase_us = np.arange(num_cars) * 2 % _PARTS * _PART_US + (num_cars - 1) // 2 * 0
    if num_cars == MOST_CARS:
        phase_us = np.arange(num_cars) * _PART_US
    phase_us = phase_us + np.floor(u * _LATEST_US).astype(np.int64)
    jitter = uniform(
        fold(seed, Stream.BEACON_JITTER, np.arange(ticks)[:, None], np.arange(num_cars))
    )
    jitter_us = np.floor(jitter * 1000.0 * parameters.radio.beacon.jitter_ms).astype(np.int64)
    slot_us = np.arange(ticks)[:, None] * TICK_US + phase_us + jitter_us
    windows = [stalls_of(seed, n, duration_s if stalls else 0.0) for n in range(num_cars)]
    sent = np.ones((ticks, num_cars), dtype=bool)
    for n, spells in enumerate(windows):
        for begin, end in spells:
            sent[(slot_us[:, n] >= begin) & (slot_us[:, n] < end), n] = False
    measured = _measure(parameters, drive, slot_us, keys)
    receptions, round_trip_us = _broadcast(
        channel, drive, slot_us, sent, measured, echo=echo, on_tick=on_tick
    )
    return Recording(
        drive, slot_us, sent, measured, receptions, round_trip_us, windows, channel.node_clocks
    )


def _measure(
    parameters: Parameters, drive: Drive, slot_us: NDArray[np.int64], keys: NDArray[np.uint64]
) -> NDArray[np.float64]:
    """What each node believes of itself in its slots, (ticks, N, 5)."""
    ticks, num_cars = slot_us.shape
    position = parameters.sensors.position.model_copy(update={"mode": "hold"})
    sensors = parameters.sensors.model_copy(update={"position": position})
    bank = SensorBank(sensors, num_envs=1, num_vehicles=num_cars)
    only = np.arange(1)
    bank.reset(only, keys)
    columns = {
        "x_m": drive.xy_m[..., 0],
        "y_m": drive.xy_m[..., 1],
        "speed_mps": drive.speed_mps,
        "heading_deg": drive.heading_deg,
        "accel_mps2": drive.accel_mps2,
    }
    bank.measure_start(only, **{name: values[:1] for name, values in columns.items()})
    share = slot_us / TICK_US - np.arange(ticks)[:, None]
    out = np.zeros((ticks, num_cars, len(_FIELDS)))
    # Truth in the slot: between two ticks everything moves in a straight line.
    at_slot = {name: (1.0 - share) * v[:-1] + share * v[1:] for name, v in columns.items()}
    for k in range(ticks):
        found = bank.measure(
            np.array([k + 1]),
            **{name: values[k : k + 1] for name, values in at_slot.items()},
            sampled_us=slot_us[k : k + 1],
        )
        for f, name in enumerate(_FIELDS):
            out[k, :, f] = getattr(found, name)[0]
    return out


def _broadcast(
    channel: BroadcastChannel,
    drive: Drive,
    slot_us: NDArray[np.int64],
    sent: NDArray[np.bool_],
    measured: NDArray[np.float64],
    *,
    echo: bool,
    on_tick: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    ticks, num_cars = slot_us.shape
    nodes = num_cars + 1
    part_of = slot_us % TICK_US // _PART_US
    payload = np.zeros((ticks, 1, nodes, len(PayloadField)))
    payload[:, 0, 1:, : len(_FIELDS)] = measured
    tick_of: list[list[int]] = [[] for _ in range(nodes)]  # of each frame by its sequence number
    last = np.full((num_cars, num_cars), -1, dtype=np.int64)
    found: list[tuple[int, int, int, int, int]] = []
    round_trip_us = np.zeros(ticks, dtype=np.int64)
    xy_m = np.zeros((1, nodes, 2))
    there_us = -1
    for k in range(ticks):
        if on_tick is not None and k % 500 == 0:
            on_tick(k, ticks)
        for part in range(_PARTS):
            begin_us = k * TICK_US + part * _PART_US
            now_us = np.array([begin_us + _PART_US])
            share = (part + 1) / _PARTS
            xy_m[0, 1:] = (1.0 - share) * drive.xy_m[k] + share * drive.xy_m[k + 1]
            sending = np.zeros((1, nodes), dtype=bool)
            sending[0, 1:] = sent[k] & (part_of[k] == part)
            t_us = np.full((1, nodes), begin_us, dtype=np.int64)
            t_us[0, 1:] = np.where(sending[0, 1:], slot_us[k], begin_us)
            echoing = echo and there_us >= 0 and part == part_of[k, 0] + 1
            if echoing:
                sending[0, 2] = True
                t_us[0, 2] = begin_us
            for n in np.flatnonzero(sending[0]):
                tick_of[n].append(-1 - k if echoing and n == 2 else k)  # noqa: PLR2004
            channel.transmit(
                sending=sending,
                t_generated_us=t_us,
                timestamp_ms=t_us // 1000,
                payload=payload[k],
                node_xy_m=xy_m,
                now_us=now_us,
            )
            table = channel.deliver(now_us)
            fresh = table.heard[0] & (table.sequence[0] != last)
            for r, s in zip(*np.nonzero(fresh), strict=True):
                sequence, received_us = int(table.sequence[0, r, s]), int(table.received_us[0, r, s])
                tick = tick_of[s + 1][sequence]
                if tick >= 0:
                    found.append((int(r), int(s), tick, int(table.hops[0, r, s]), received_us))
                    if echo and (r, s) == (1, 0) and table.hops[0, r, s] == 0:
                        there_us = received_us - int(slot_us[tick, 0])
                elif r == 0:
                    back_us = received_us - int(table.t_generated_us[0, r, s])
                    round_trip_us[-1 - tick] = there_us + back_us
                last[r, s] = sequence
            if echoing:
                there_us = -1
    return np.array(found, dtype=np.int64).reshape(-1, 5), round_trip_us if echo else None
