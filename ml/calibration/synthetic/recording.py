"""Drive cars past the real channel and the real sensors, and keep what their boards would log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words
from ml.calibration.synthetic.drive import Motion, make_drive
from ml.espnow_emulator import BroadcastChannel, NodeClocks, PayloadField, PeerTable
from ml.keyed_random import Stream, fold, uniform
from ml.parameters import Parameters
from ml.sensors import SensorBank, Truth
from ml.vehicle import TICK_US

_PARTS: Final = 4
_PART_US: Final = TICK_US // _PARTS
_LATEST_US: Final = 18_000  # of a slot within its quarter of 25 ms, before its jitter
_STALL_EVERY_S, _STALL_S = 150.0, (0.3, 1.6)
# A ping must have arrived before the quarter in which it is echoed.
_LATEST_PING_US: Final = 2_000
_PHASE, _STALL_TIME, _STALL_LENGTH = 2, 3, 4
_MOST_JITTER_MS: Final = 6.0
_ECHOES: Final = 2  # the node that echoes
MOST_CARS: Final = 3


@dataclass(frozen=True, slots=True)
class Recording:
    """What happened on one drive."""

    slot_us: Ints  # (ticks, N), true time at which each node had its slot
    sent: Bools  # (ticks, N); False where the board stalled
    relays: Bools  # (ticks, N); whether in that slot the node sends on what it has heard
    measured: Floats  # (ticks, N, 5), x, y, speed, heading and acceleration as the node had them
    receptions: Ints  # (K, 5), receiver, source, tick of the frame, hops, true time in µs
    round_trip_us: Ints | None  # (ticks,), of pings; 0: did not come back; None: no pings
    stalls: list[Ints]  # Of each node, (S, 2), beginning and end in true µs
    clocks: NodeClocks  # Of the nodes of all drives recorded together; the first node is nobody
    number: int = 0  # Of this drive among them

    def local_ms(self, node: int, t_us: Ints) -> Ints:
        """Return what a node's clock shows at true times (K,)."""
        everybody = np.broadcast_to(t_us, (*self.clocks.offset_ms.shape, t_us.size))
        shown: Ints = self.clocks.local_ms(everybody)[self.number, node + 1]
        return shown


def record(
    parameters: Parameters,
    *,
    num_cars: int,
    duration_s: float,
    seeds: Sequence[int],
    echo: bool = False,
    stalls: bool = True,
    parked: bool = False,
    hard_brakings: int = 0,
    on_tick: Callable[[int, int], None] = lambda _tick, _ticks: None,
) -> list[Recording]:
    """Drive, and record all receptions; several drives at once, each with a seed of its own.

    Each node has its slot in a quarter of its own of every tick, so that of all that a receiver
    takes in nothing hides anything else; a ping is echoed in the quarter after, and the wait for
    that quarter is not counted. Positions are logged as held between fixes, as a receiver gives
    them. A drive does not depend on those beside it.

    Args:
        parameters: Of radio and sensors.
        num_cars: 2 or 3.
        duration_s: Of each drive.
        seeds: Of everything on a drive.
        echo: The second node echoes the frames of the first.
        stalls: Boards stand still now and then.
        parked: Nobody moves.
        hard_brakings: How often the leader brakes hard on each drive; see `make_drive`.
        on_tick: Told (tick, ticks) now and then.
    """
    drives = [
        make_drive(num_cars, duration_s, seed, parked=parked, hard_brakings=hard_brakings)
        for seed in seeds
    ]
    ticks, nodes, everybody = len(drives[0].xy_m) - 1, num_cars + 1, np.arange(len(seeds))
    receivers = tuple(range(1, nodes))
    channel = BroadcastChannel(
        parameters.radio, num_envs=len(seeds), num_nodes=nodes, receivers=receivers
    )
    keys = np.concatenate([fold(seed, 0, 0) for seed in seeds])
    channel.reset(everybody, keys, present=np.arange(nodes) > 0)
    jitter_ms = min(parameters.radio.beacon.jitter_ms, _MOST_JITTER_MS)
    slots = (_slots_of(seed, ticks, num_cars, jitter_ms, echo=echo) for seed in seeds)
    spells = [
        [_stalls_of(seed, n, duration_s if stalls else 0.0) for n in range(num_cars)]
        for seed in seeds
    ]
    slot_us = np.stack(list(slots), axis=1)
    sent = np.ones(slot_us.shape, dtype=bool)
    for e, windows in enumerate(spells):
        for n, window in enumerate(windows):
            for begin, end in window:
                sent[(slot_us[:, e, n] >= begin) & (slot_us[:, e, n] < end), e, n] = False
    nobody_us = np.zeros((ticks, len(seeds), 1), dtype=np.int64)
    relays = np.stack([channel.relays_at(t) for t in np.append(nobody_us, slot_us, axis=2)])
    measured = measure(parameters, drives, slot_us, keys)
    receptions, round_trip_us = _broadcast(
        channel, drives, slot_us, sent, measured, echo=echo, on_tick=on_tick
    )
    return [
        Recording(
            slot_us[:, e],
            sent[:, e],
            relays[:, e, 1:],
            measured[:, e],
            receptions[receptions[:, 0] == e, 1:],
            round_trip_us[:, e] if echo else None,
            spells[e],
            channel.node_clocks,
            e,
        )
        for e in range(len(seeds))
    ]


def _slots_of(seed: int, ticks: int, num_cars: int, jitter_ms: float, *, echo: bool) -> Ints:
    """Draw when the nodes of a drive have their slots, (ticks, N) in µs."""
    nodes = np.arange(num_cars)
    quarters = nodes * (1 if num_cars == MOST_CARS else 2)
    latest_us = np.where(echo & (nodes == 0), _LATEST_PING_US, _LATEST_US)
    phase = uniform(fold(seed, Stream.SYNTHETIC_LOGS, _PHASE, nodes))
    phase_us = quarters * _PART_US + np.floor(phase * latest_us).astype(np.int64)
    jitter = uniform(fold(seed, Stream.BEACON_JITTER, np.arange(ticks)[:, None], nodes))
    jitter_us = np.floor(jitter * 1000.0 * jitter_ms).astype(np.int64)
    return np.arange(ticks)[:, None] * TICK_US + phase_us + jitter_us


def _stalls_of(seed: int, node: int, duration_s: float) -> Ints:
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


def measure(parameters: Parameters, drives: Sequence[Motion], slot_us: Ints, keys: Words) -> Floats:
    """Return what each node believes of itself in its slots, (ticks, E, N, 5)."""
    ticks, num_envs, num_cars = slot_us.shape
    position = parameters.sensors.position.model_copy(update={"mode": "hold"})
    sensors = parameters.sensors.model_copy(update={"position": position})
    bank = SensorBank(sensors, num_envs=num_envs, num_vehicles=num_cars)
    everybody = np.arange(num_envs)
    bank.reset(everybody, keys)
    columns = {
        name: np.stack([getattr(drive, name) for drive in drives], axis=1)
        for name in Motion._fields
    }
    bank.measure_start(everybody, Truth(**{name: values[0] for name, values in columns.items()}))
    share = slot_us / TICK_US - np.arange(ticks)[:, None, None]
    out = np.zeros((ticks, num_envs, num_cars, len(Motion._fields)))
    # Truth in the slot: between two ticks everything moves in a straight line.
    at_slot = {name: (1.0 - share) * v[:-1] + share * v[1:] for name, v in columns.items()}
    for k in range(ticks):
        found = bank.measure(
            np.full(num_envs, k + 1),
            Truth(**{name: values[k] for name, values in at_slot.items()}),
            sampled_us=slot_us[k],
        )
        for f, name in enumerate(Motion._fields):
            out[k, ..., f] = getattr(found, name)
    return out


def exchange(
    channel: BroadcastChannel,
    t_us: Ints,
    now_us: Ints,
    payload: Floats,
    xy_m: Floats,
    sending: Bools | None = None,
) -> PeerTable:
    """Send a frame of each of N nodes of E convoys, and deliver what has arrived by now.

    Frames are sampled at `t_us` (E, N) and it is `now_us` (E,), both in true time; the payload is
    (E, N, fields of `PayloadField`), the nodes are at `xy_m` (E, N, 2), and those `sending` (E, N)
    send, by default all.
    """
    channel.transmit(
        sending=np.ones(t_us.shape, dtype=bool) if sending is None else sending,
        t_generated_us=t_us,
        timestamp_ms=t_us // 1000,
        payload=payload,
        node_xy_m=xy_m,
        now_us=now_us,
    )
    return channel.deliver(now_us)


def _broadcast(
    channel: BroadcastChannel,
    drives: Sequence[Motion],
    slot_us: Ints,
    sent: Bools,
    measured: Floats,
    *,
    echo: bool,
    on_tick: Callable[[int, int], None],
) -> tuple[Ints, Ints]:
    """Return receptions (K, 6), convoy first, and round trips (ticks, E)."""
    ticks, num_envs, num_cars = slot_us.shape
    nodes = num_cars + 1
    part_of = slot_us % TICK_US // _PART_US
    payload = np.zeros((ticks, num_envs, nodes, len(PayloadField)))
    payload[:, :, 1:, : len(Motion._fields)] = measured
    xy_m = np.zeros((num_envs, nodes, 2))
    along = np.stack([drive.xy_m for drive in drives], axis=1)
    # The tick of each frame by its source and number; an echo of tick k is -1 - k.
    tick_of = np.zeros((num_envs, nodes, 2 * ticks + 1), dtype=np.int64)
    handed = np.zeros((num_envs, nodes), dtype=np.int64)
    last = np.full((num_envs, num_cars, num_cars), -1, dtype=np.int64)
    there_us = np.full(num_envs, -1, dtype=np.int64)
    round_trip_us = np.zeros((ticks, num_envs), dtype=np.int64)
    found = []
    for k in range(ticks):
        if k % 250 == 0:
            on_tick(k, ticks)
        for part in range(_PARTS - 1):  # nobody has a slot in the last quarter
            begin_us = k * TICK_US + part * _PART_US
            now_us = np.full(num_envs, begin_us + _PART_US)
            share = (part + 1) / _PARTS
            xy_m[:, 1:] = (1.0 - share) * along[k] + share * along[k + 1]
            sending = np.zeros((num_envs, nodes), dtype=bool)
            sending[:, 1:] = sent[k] & (part_of[k] == part)
            t_us = np.full((num_envs, nodes), begin_us, dtype=np.int64)
            t_us[:, 1:] = np.where(sending[:, 1:], slot_us[k], begin_us)
            number = np.full((num_envs, nodes), k)
            if echo and part == 1:
                sending[:, _ECHOES] = there_us >= 0
                number[:, _ECHOES] = -1 - k
            e, n = np.nonzero(sending)
            tick_of[e, n, handed[e, n]] = number[e, n]
            handed[e, n] += 1
            table = exchange(channel, t_us, now_us, payload[k], xy_m, sending)
            e, r, s = np.nonzero(table.heard & (table.sequence != last))
            sequence, received_us = table.sequence[e, r, s], table.received_us[e, r, s]
            last[e, r, s] = sequence
            tick, hops = tick_of[e, s + 1, sequence], table.hops[e, r, s]
            beacon = tick >= 0
            found.append(np.stack([e, r, s, tick, hops, received_us], axis=-1)[beacon])
            if not echo:
                continue
            pinged = beacon & (r == 1) & (s == 0) & (hops == 0) & (tick == k)
            there_us[e[pinged]] = received_us[pinged] - slot_us[k, e[pinged], 0]
            back = ~beacon & (r == 0)
            back_us = received_us - table.t_generated_us[e, r, s]
            at = -1 - tick[back]
            round_trip_us[at, e[back]] = there_us[e[back]] + back_us[back]
        there_us[:] = -1
    return np.concatenate(found), round_trip_us
