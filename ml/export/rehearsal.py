"""Episodes for a board: real traffic, a radio of bytes that does its worst, and Python's answers.

Convoys drive on SUMO. Each ego has a board of `ml.onboard` that hears nothing but the 90 bytes of
frames and sees nothing but fixes of whole 1e-7 degrees and samples of float32: just what a board on
the road gets. A model drives by it. All that came in is written down in the records of
`firmware/brain/replay/replay.h`, and beside it what the board believed, observed and commanded,
tick by tick.
"""

import heapq
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.envs.config import EnvConfig
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.policy_interface import PolicyInterface
from ml.errors import EmulatorError
from ml.espnow_emulator import PeerTable, V2VMessage
from ml.espnow_emulator.clock import NodeClocks
from ml.espnow_emulator.wire import GeoReference, mac_of_name, pack, unpack
from ml.export.fixed_point import Predicts
from ml.export.weights import accuracy_of
from ml.onboard.actuation import accel_from_action
from ml.onboard.board import Board
from ml.onboard.fusion import Fix, blank, fuse, fused_sd_m, turn_between
from ml.onboard.observation.spec import EGO_FEATURES, MAX_PEERS, PEER_FEATURES
from ml.onboard.views import Measurement
from ml.parameters import Parameters
from ml.sumo.scenarios import load_scenario
from ml.vehicle import DT_S, TICK_US

SOURCES: Final = 16
"""`BRAIN_SOURCES`: of so many cars a board holds something at once."""
_TICK_MS: Final = TICK_US // 1000
_WRAP_MS: Final = 2**32
_EGO_NAME: Final = "v0"
_AT_SOURCE: Final = 84
_RELAYED: Final = 0.3  # share of messages that come by a relay, too
_STEPS_KEPT: Final = 30  # BRAIN_STEPS less two
_HEADING_FROM_MPS: Final = 1.4
_WITHOUT_HEADING: Final = 20  # ticks at the beginning, of half of the episodes
_LATE_TICKS: Final = (3, 40)
_E7: Final = 1e7
_RANGE_M: Final = 60.0
_SHOCK_MPS2: Final = 50.0  # an accelerometer in a crash shows no more
_BEGIN = struct.Struct("<BI8s6siif")
_FRAME = struct.Struct("<BI90s")
_FIX = struct.Struct("<BiiffBI")
_TICK = struct.Struct("<BIfffff")


class Radio(NamedTuple):
    """What happens to frames in an episode.

    Attributes:
        name: What it tries.
        loss: Share of frames that nobody hears, in bursts of `burst` on average.
        burst: Frames.
        silences: Share of the time in which nothing comes at all, for 3 to 12 s each.
        late: Share of frames that come 50 to 400 ms late, others before them.
        stale: Share of frames that come 1 to 5 s late.
        doubled: Share of frames that come twice.
        broken: Share of frames that come with bytes changed, beside the sound one.
        reboots: Share of seconds in which a peer's board starts anew.
        lost_fixes: Share of the own fixes that are not delivered.
        late_fixes: Share of them that come 0.3 to 4 s late, others before them.
        fix_ticks: From one fix to the next.
    """

    name: str
    loss: float = 0.06
    burst: float = 1.4
    silences: float = 0.0
    late: float = 0.02
    stale: float = 0.0
    doubled: float = 0.02
    broken: float = 0.0
    reboots: float = 0.0
    lost_fixes: float = 0.0
    late_fixes: float = 0.0
    fix_ticks: int = 10


RADIOS: Final = (
    Radio("clean"),
    Radio("silence", silences=0.3),
    Radio("no peer", loss=1.0),
    Radio("reboot", reboots=0.05),
    Radio("stale", stale=0.1, loss=0.3, burst=2.5, late_fixes=0.5),
    Radio("duplicate and out of order", late=0.3, doubled=0.4, late_fixes=0.3, fix_ticks=1),
    Radio("malformed", broken=0.5),
    Radio("shadowed", loss=0.85, burst=14.0, lost_fixes=0.5),
)
"""One per convoy, in turn."""


@dataclass
class Recorded:
    """An episode as a board met it.

    Attributes:
        radio: What was tried.
        content: Records of `firmware/brain/replay/replay.h`.
        ticks: What Python's board made of each tick.
    """

    radio: str
    content: bytearray = field(default_factory=bytearray)
    ticks: list["Decided"] = field(default_factory=list)

    def seen(self) -> dict[str, Floats]:
        """Return what Python's board observed, tick by tick, as a policy takes it; float32."""
        peers = np.zeros((len(self.ticks), MAX_PEERS, len(PEER_FEATURES)), dtype=np.float32)
        mask = np.zeros(peers.shape[:2], dtype=np.float32)
        for number, tick in enumerate(self.ticks):
            peers[number, : len(tick.peer_rows)] = tick.peer_rows
            mask[number, : len(tick.peer_rows)] = 1.0
        ego = np.array([tick.ego_row for tick in self.ticks], dtype=np.float32)
        return {"ego": ego, "peers": peers, "peer_mask": mask}


class Decided(NamedTuple):
    """What Python's board made of a tick; named as the fields of `struct replay_tick`."""

    accel_mps2: float
    speed_mps: float
    wish_mps2: float
    soft_mps2: float
    hard_mps2: float
    floor_mps2: float
    own_m: tuple[float, float]
    own_mps: float
    own_deg: float
    ego_row: Floats  # (21,) float32
    peer_rows: Floats  # (shown, 23) float32, in the order of the sources
    num_refused: int


@dataclass(order=True)
class _Arrival:
    at_ms: int
    number: int
    frame: bytes = field(compare=False)


class _Air:
    """What the ego of one convoy receives, and by which clocks it was sent."""

    def __init__(self, radio: Radio, num_peers: int, rng: np.random.Generator) -> None:
        self._radio, self._rng = radio, rng
        self._queue: list[_Arrival] = []
        self._number = 0
        self._in_burst = np.zeros(num_peers, dtype=bool)
        self._silent_until_ms = 0
        self._phase_ms = rng.integers(0, _TICK_MS, num_peers)
        self._booted_ms = -rng.integers(0, 10**9, num_peers)
        self._ppm = rng.normal(0.0, 10.0, num_peers)
        self._error_m = rng.normal(0.0, 1.5, (num_peers, 2))
        self._sd_m = rng.uniform(1.5, 4.0, num_peers)

    def send(
        self, now_ms: int, slot: int, pose: Floats, accel_mps2: float, reference: GeoReference
    ) -> None:
        """Send the beacon of the peer in a slot (from 1 on); `pose` is x, y, speed, heading."""
        radio, rng, peer = self._radio, self._rng, slot - 1
        if rng.random() < radio.reboots * DT_S:
            self._booted_ms[peer] = now_ms - int(rng.integers(0, 3000))
        self._in_burst[peer] = (
            rng.random() > 1.0 / radio.burst
            if self._in_burst[peer]
            else rng.random() < radio.loss / (radio.burst * max(1.0 - radio.loss, 1e-9))
        )
        if radio.silences and rng.random() < radio.silences * DT_S / 7.5 / 4:
            self._silent_until_ms = now_ms + int(rng.uniform(3000, 12000))
        sampled_ms = now_ms - _TICK_MS + int(self._phase_ms[peer])
        since_ms = max(sampled_ms - int(self._booted_ms[peer]), 0)
        x_m, y_m = pose[:2] + self._error_m[peer] + rng.normal(0.0, 0.2, 2)
        message = V2VMessage(
            vehicle_id=f"v{slot}",
            timestamp_ms=round(since_ms * (1.0 + self._ppm[peer] * 1e-6)),
            x_m=x_m,
            y_m=y_m,
            speed_mps=max(pose[2] + rng.normal(0.0, 0.15), 0.0),
            heading_deg=(pose[3] + rng.normal(0.0, 0.5)) % 360.0,
            accel_mps2=accel_mps2 + rng.normal(0.0, 0.2),
            position_sd_m=float(self._sd_m[peer]),
        )
        if radio.loss >= 1.0 or now_ms < self._silent_until_ms:
            return
        copies = [] if self._in_burst[peer] else [(0, rng.exponential(4.0) + 2.0)]
        if rng.random() < _RELAYED:
            hops = int(rng.integers(1, 4))
            copies.append((hops, rng.uniform(0.0, 100.0, hops).sum()))
        for hops, delay_ms in copies:
            relayed = message if hops == 0 else _relayed(message, hops)
            frame = pack(relayed, reference)
            at_ms = sampled_ms + delay_ms
            if rng.random() < radio.late:
                at_ms += rng.uniform(50.0, 400.0)
            if rng.random() < radio.stale:
                at_ms += rng.uniform(1000.0, 5000.0)
            self._enqueue(at_ms, frame)
            if rng.random() < radio.doubled:
                self._enqueue(at_ms + rng.uniform(0.0, 30.0), frame)
            if rng.random() < radio.broken:
                self._enqueue(at_ms, _broken(frame, rng))

    def arrived(self, now_ms: int) -> Iterator[_Arrival]:
        """Yield what has arrived by now, in order."""
        while self._queue and self._queue[0].at_ms <= now_ms:
            yield heapq.heappop(self._queue)

    def _enqueue(self, at_ms: float, frame: bytes) -> None:
        self._number += 1
        heapq.heappush(self._queue, _Arrival(max(int(at_ms), 0), self._number, frame))


def _relayed(message: V2VMessage, hops: int) -> V2VMessage:
    values = {name: getattr(message, name) for name in message.__dataclass_fields__}
    return V2VMessage(**values | {"vehicle_id": "v9", "hop_count": hops})


def _broken(frame: bytes, rng: np.random.Generator) -> bytes:
    """Change one to four bytes; of the source's address only what makes it none of one station."""
    changed = bytearray(frame)
    for at in rng.integers(0, _AT_SOURCE + 1, rng.integers(1, 5)):
        changed[at] = 0xFF if at == _AT_SOURCE else int(rng.integers(0, 256))
    return bytes(changed)


def _without_fix(vehicle_mps: float, num_refused: int) -> Decided:
    """What comes of a tick before the first fix that has a heading."""
    return Decided(
        *(0.0, vehicle_mps, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0), 0.0, 0.0),
        ego_row=np.zeros(len(EGO_FEATURES), dtype=np.float32),
        peer_rows=np.zeros((0, len(PEER_FEATURES)), dtype=np.float32),
        num_refused=num_refused,
    )


class _NoRanging:
    """The egos' ranging sensors, which the rehearsal fills."""

    def __init__(self, num_envs: int) -> None:
        self.range_m: Floats = np.zeros(num_envs)
        self.is_valid: Bools = np.zeros(num_envs, dtype=bool)


class Rehearsal:
    """Convoys whose egos a model drives by what a board on the road would get.

    Args:
        model: The policy.
        interface: How it is plugged in.
        parameters: Of the sensors, and of the wire.
        num_envs: Convoys at once; each has the radio of its place in `RADIOS`.
        num_peers: Least and most cars ahead.
        episode_s: Length of an episode, s.
        seed: Of traffic and radio.
    """

    def __init__(
        self,
        model: Predicts,
        interface: PolicyInterface,
        parameters: Parameters,
        *,
        num_envs: int,
        num_peers: tuple[int, int] = (1, 8),
        episode_s: float = 50.0,
        seed: int = 0,
    ) -> None:
        self._model, self._interface = model, interface
        config = EnvConfig(num_peers=num_peers, episode_s=episode_s, stop_at_collision=False)
        self._batch = ConvoyBatch(config, num_envs=num_envs, seed=seed, observing=False)
        self._road = load_scenario(config.scenario).road
        self._reference = GeoReference.of(parameters.radio.wire)
        self._accuracy = accuracy_of(parameters.sensors)
        self._rng = np.random.default_rng(seed)
        clocks = NodeClocks(parameters.radio, num_envs=num_envs, num_nodes=SOURCES + 1)
        self._table = PeerTable(clocks, np.zeros(1, dtype=np.int64))
        self._ranging = _NoRanging(num_envs)
        self._board = Board(
            self._table,
            self._ranging,
            time_to_live_ms=parameters.radio.time_to_live_ms,
            lag_s=interface.action_lag_s,
            safety_layer=interface.safety_layer,
            common_share=interface.position_common_share,
        )
        self._fused = blank(num_envs, _STEPS_KEPT)
        self._everyone = np.arange(num_envs)
        self._has_speedometer = np.ones(num_envs, dtype=bool)
        self._has_speedometer[3::4] = False
        self._refused = np.zeros(num_envs, dtype=np.int64)
        self._heading_deg = np.zeros(num_envs)
        self._accel_bias = np.zeros(num_envs)
        self._fix_error_m = np.zeros((num_envs, 2))
        self._boot_ms = np.zeros(num_envs, dtype=np.int64)
        self._past: list[list[Floats]] = [[] for _ in range(num_envs)]
        self._slots: list[dict[bytes, int]] = [{} for _ in range(num_envs)]
        self._airs: list[_Air] = [None] * num_envs  # type: ignore[list-item]
        self._recorded: list[Recorded] = [None] * num_envs  # type: ignore[list-item]

    def run(self, num_ticks: int) -> list[Recorded]:
        """Drive for so many ticks; return the episodes, in the order in which they began."""
        episodes: list[Recorded] = []
        try:
            self._batch.reset()
            episodes += self._begin(self._everyone)
            for _ in range(num_ticks):
                accel_mps2 = self._tick()
                self._batch.step(accel_mps2)
                ended = np.flatnonzero(self._batch.status)
                if ended.size:
                    self._batch.reset(ended)
                    episodes += self._begin(ended)
        finally:
            self._batch.close()
        return [episode for episode in episodes if episode.ticks]

    def _begin(self, rows: Ints) -> list[Recorded]:
        self._table.clear(rows)
        for values in self._fused:
            values[rows] = 0
        self._boot_ms[rows] = self._rng.integers(0, 2**31, rows.size)
        self._accel_bias[rows] = self._rng.normal(0.0, 0.2, rows.size)
        self._fix_error_m[rows] = self._rng.normal(0.0, 1.5, (rows.size, 2))
        for e in rows:
            radio = RADIOS[e % len(RADIOS)]
            self._past[e], self._slots[e] = [], {}
            self._airs[e] = _Air(radio, self._batch.num_slots - 1, self._rng)
            self._recorded[e] = Recorded(radio.name)
            self._recorded[e].content += _BEGIN.pack(
                1,
                int(self._boot_ms[e]),
                _EGO_NAME.encode(),
                mac_of_name(_EGO_NAME),
                round(self._reference.lat_deg * _E7),
                round(self._reference.lon_deg * _E7),
                self._interface.time_gap_s,
            )
        return [self._recorded[e] for e in rows]

    def _tick(self) -> Floats:
        """Receive, sense, decide; return what the egos are commanded, (E,) m/s²."""
        batch, truth, board = self._batch, self._batch.truth, self._board
        x_m, y_m, heading_deg = self._road.pose(truth.route_pos_m)
        poses = np.stack([x_m, y_m, truth.speed_mps, heading_deg], axis=-1)
        self._refused[:] = 0
        for e in range(batch.num_envs):
            now_ms = int(batch.tick[e]) * _TICK_MS
            if now_ms:
                for slot in (np.flatnonzero(truth.present[e, 1:]) + 1).tolist():
                    self._airs[e].send(
                        now_ms, slot, poses[e, slot], truth.accel_mps2[e, slot], self._reference
                    )
            for arrival in self._airs[e].arrived(now_ms):
                self._hear(e, arrival)
        measured, sample = self._sense(poses, truth.accel_mps2[:, 0], truth.gap_m)
        age_ms = self._table.poll(batch.now_us)
        begun = np.flatnonzero(self._fused.num_steps == 1)
        if begun.size:
            gap_s = np.full(begun.size, np.float32(self._interface.time_gap_s), dtype=np.float64)
            board.start(begun, measured, gap_s)
        board.hear(age_ms, measured)
        seen = board.observe()
        action, _ = self._model.predict(seen, deterministic=True)
        wish_mps2 = accel_from_action(action[:, 0])
        bounds = board.bounds() if self._interface.safety_layer else None
        vehicle_mps = np.where(sample[:, 2:3] < 0.0, measured.speed_mps, sample[:, 2:3])
        speed_mps = np.empty_like(vehicle_mps)
        board.command(wish_mps2, vehicle_mps, speed_mps)
        is_begun = self._fused.num_steps > 0
        accel_mps2 = np.where(is_begun, board.memory.commands_mps2[:, 0], 0.0)
        for e in range(batch.num_envs):
            self._recorded[e].content += _TICK.pack(
                4, self._clock(e, int(batch.tick[e]) * _TICK_MS), *sample[e], accel_mps2[e]
            )
            if not is_begun[e]:
                refused = int(self._refused[e])
                self._recorded[e].ticks.append(_without_fix(max(sample[e, 2], 0.0), refused))
                continue
            shown = seen["peer_mask"][e] > 0.0
            soft, hard, floor = (
                (np.inf, np.inf, -np.inf) if bounds is None else (b[e] for b in bounds)
            )
            self._recorded[e].ticks.append(
                Decided(
                    accel_mps2=accel_mps2[e],
                    speed_mps=speed_mps[e, 0],
                    wish_mps2=wish_mps2[e],
                    soft_mps2=soft,
                    hard_mps2=hard,
                    floor_mps2=floor,
                    own_m=(self._fused.x_m[e], self._fused.y_m[e]),
                    own_mps=self._fused.speed_mps[e],
                    own_deg=self._fused.heading_deg[e],
                    ego_row=seen["ego"][e].copy(),
                    peer_rows=seen["peers"][e][shown].copy(),
                    num_refused=int(self._refused[e]),
                )
            )
        return accel_mps2

    def _clock(self, e: int, now_ms: int) -> int:
        return (int(self._boot_ms[e]) + now_ms) % _WRAP_MS

    def _hear(self, e: int, arrival: _Arrival) -> None:
        """Write a frame down, and let Python's board hear it if it is a message."""
        self._recorded[e].content += _FRAME.pack(2, self._clock(e, arrival.at_ms), arrival.frame)
        try:
            message = unpack(arrival.frame, self._reference)
        except EmulatorError:
            self._refused[e] += 1
            return
        slots, address = self._slots[e], arrival.frame[-6:]
        if message.source_id == _EGO_NAME or (address not in slots and len(slots) == SOURCES):
            self._refused[e] += 1
            return
        self._table.receive(
            np.array([e]),
            slots.setdefault(address, len(slots)),
            timestamp_ms=message.timestamp_ms,
            payload=np.array(message.payload(), dtype=np.float64),
            t_generated_us=0,
            received_us=arrival.at_ms * 1000,
            hops=message.hop_count,
        )

    def _sense(
        self, poses: Floats, accel_mps2: Floats, gap_m: Floats
    ) -> tuple[Measurement, Floats]:
        """Sense, fuse, and return what the egos believe, (E, 1), and their samples, (E, 4)."""
        rng, num_envs, tick = self._rng, self._everyone.size, self._batch.tick
        heading_deg = poses[:, 0, 3]
        begun = tick == 0
        self._heading_deg[begun] = heading_deg[begun]
        turn_deg = [
            turn_between(before, now)
            for before, now in zip(self._heading_deg, heading_deg, strict=True)
        ]
        self._heading_deg[:] = heading_deg
        range_m = np.where(gap_m < _RANGE_M, gap_m + rng.normal(0.0, 0.3, num_envs), -1.0)
        range_m[::2] = -1.0
        sample = np.stack(
            [
                np.clip(accel_mps2, -_SHOCK_MPS2, _SHOCK_MPS2)
                + self._accel_bias
                + rng.normal(0.0, 0.15, num_envs),
                np.array(turn_deg) + rng.normal(0.0, 0.02, num_envs),
                np.where(self._has_speedometer, poses[:, 0, 2], -1.0),
                np.maximum(range_m, -1.0),
            ],
            axis=1,
        )
        sample = sample.astype(np.float32).astype(np.float64)
        self._ranging.is_valid[:] = sample[:, 3] >= 0.0
        self._ranging.range_m[:] = np.maximum(sample[:, 3], 0.0)
        fix = self._fixes(poses[:, 0])
        hold_mps = float(np.float32(self._accuracy.heading_hold_mps))
        now_us = (self._boot_ms + tick * _TICK_MS) * 1000
        fuse(now_us, sample[:, 0], sample[:, 1], hold_mps, fix, self._fused)
        fused = self._fused
        age_s = (fused.now_us - fused.fix_us) * 1e-6
        sd_m = [
            fused_sd_m(age, speed, self._accuracy)
            for age, speed in zip(age_s, fused.speed_mps, strict=True)
        ]
        columns = (fused.x_m, fused.y_m, fused.speed_mps, fused.heading_deg, sample[:, 0], sd_m)
        return Measurement(*(np.array(column)[:, None] for column in columns)), sample

    def _fixes(self, own: Floats) -> Fix:
        """Deliver fixes, most of one or two ticks ago, and write them down."""
        rng, num_envs = self._rng, self._everyone.size
        x, y, speeds, headings = np.zeros((4, num_envs))
        is_new, with_heading = np.zeros((2, num_envs), dtype=bool)
        age_us = np.zeros(num_envs, dtype=np.int64)
        fix = Fix(is_new, age_us, x, y, speeds, headings, with_heading)
        for e in range(num_envs):
            self._past[e].append(own[e])
            tick, radio = int(self._batch.tick[e]), RADIOS[e % len(RADIOS)]
            if tick and ((tick + e) % radio.fix_ticks or rng.random() < radio.lost_fixes):
                continue
            is_late = rng.random() < radio.late_fixes
            back = min(tick, int(rng.integers(*(_LATE_TICKS if is_late else (1, 3)))))
            x_m, y_m, speed_mps, heading_deg = self._past[e][-1 - back]
            error_m = self._fix_error_m[e] + rng.normal(0.0, 0.3, 2)
            east, north = self._reference.east_m_per_deg, self._reference.north_m_per_deg
            lat_e7 = round((self._reference.lat_deg + (y_m + error_m[1]) / north) * _E7)
            lon_e7 = round((self._reference.lon_deg + (x_m + error_m[0]) / east) * _E7)
            speed = float(np.float32(max(speed_mps + rng.normal(0.0, 0.15), 0.0)))
            heading = float(np.float32((heading_deg + rng.normal(0.0, 0.5)) % 360.0))
            has_heading = speed > _HEADING_FROM_MPS
            if self._fused.num_steps[e] == 0:  # of two convoys with a radio one begins without
                has_heading = tick >= _WITHOUT_HEADING * ((e + e // len(RADIOS)) % 2)
            self._recorded[e].content += _FIX.pack(
                3, lat_e7, lon_e7, speed, heading, has_heading, back * _TICK_MS
            )
            fix.is_new[e], fix.age_us[e] = True, back * TICK_US
            fix.x_m[e] = (lon_e7 - round(self._reference.lon_deg * _E7)) / _E7 * east
            fix.y_m[e] = (lat_e7 - round(self._reference.lat_deg * _E7)) / _E7 * north
            fix.speed_mps[e], fix.heading_deg[e] = speed, heading
            fix.has_heading[e] = has_heading
        return fix
