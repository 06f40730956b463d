"""What happened in each tick of an episode: a trace for its figures, a recording for its pictures.

A trace is ground truth and what the radio delivered; a recording says what the ego's board held.
"""

import io
import zipfile
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ml.atomic_files import write_atomically
from ml.envs.config import KINDS
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.worlds.live import V2VStack
from ml.errors import EvaluationError
from ml.espnow_emulator.air import AirFrames
from ml.vehicle import DT_S

_US = 1e6
_HELD_MPS2 = 0.05


class Column(IntEnum):
    """A column of a trace; values are as of the tick's end."""

    SPEED_MPS = 0
    """Of the ego."""
    ACCEL_MPS2 = 1
    """Of the ego, realised over the tick."""
    GAP_M = 2
    """Bumper to bumper, to the car in front."""
    LEAD_POS_M = 3
    """Of the car in front, in the ego's lane: front bumper along the route."""
    LEAD_SPEED_MPS = 4
    LEAD_ACCEL_MPS2 = 5
    BRAKE_ACCEL_MPS2 = 6
    """Of the peer that brings the hazard; 0 where there is none."""
    NEEDLESS = 7
    """Whether the ego braked hard without cause in the tick: 0 or 1."""
    HEARD = 8
    """Whether a message of the first peer is held: 0 or 1. It is the car in front, or cuts in."""
    AGE_S = 9
    """True age of the newest message of the first peer; 0 where not heard."""
    FRESH = 10
    """Whether the tick brought a newer message of the first peer: 0 or 1."""
    FRESH_PEERS = 11
    """Peers of which the tick brought a newer message."""
    REWARD = 12
    LEAD_SLOT = 13
    """Who is in front; changes when a car cuts in."""


@dataclass(frozen=True, slots=True)
class EpisodeTrace:
    """One episode."""

    values: NDArray[np.float64]
    """(columns, ticks + 1)."""

    def __getitem__(self, column: Column) -> NDArray[np.float64]:
        values: NDArray[np.float64] = self.values[column]
        return values

    @property
    def ticks(self) -> int:
        """Length of the record."""
        return int(self.values.shape[1]) - 1

    @property
    def crash_tick(self) -> int | None:
        """The first tick at whose end the ego touches the car in front; None without a crash."""
        touching = np.flatnonzero(self[Column.GAP_M] <= 0.0)
        return int(touching[0]) if touching.size else None


class TraceRecorder:
    """Records a batch, each convoy at its own tick.

    Attributes:
        values: (columns, ticks + 1, E) float64; row 0 is the start.
    """

    def __init__(self, num_envs: int, num_sources: int, ticks: int) -> None:
        self.values = np.zeros((len(Column), ticks + 1, num_envs))
        self._rows = np.arange(num_envs)
        self._newest = np.full((num_envs, num_sources), -1, dtype=np.int64)

    def record(self, batch: ConvoyBatch, reward: NDArray[np.float64]) -> None:
        """Note what the last tick brought, at each convoy's tick; `reward` is (E,) float64."""
        truth, table, plan, rows = batch.truth, batch.peer_table, batch.plan, self._rows
        lead, brake = truth.lead_slot, plan.brake_slot
        heard, sequence = table.heard[:, 0], table.sequence[:, 0]
        is_peer = np.arange(heard.shape[1]) < plan.num_peers[:, None]
        fresh = heard & (sequence != self._newest) & is_peer
        self._newest[fresh] = sequence[fresh]
        age_us = batch.now_us - table.t_generated_us[:, 0, 0]
        # In the order of `Column`.
        self.values[:, batch.tick, rows] = (
            truth.speed_mps[:, 0],
            truth.accel_mps2[:, 0],
            truth.gap_m,
            truth.route_pos_m[rows, lead],
            truth.speed_mps[rows, lead],
            truth.accel_mps2[rows, lead],
            np.where(brake > 0, truth.accel_mps2[rows, brake], 0.0),
            batch.needless,
            heard[:, 0],
            np.where(heard[:, 0], age_us / 1e6, 0.0),
            fresh[:, 0],
            fresh.sum(axis=1),
            reward,
            lead,
        )

    def begin(self, batch: ConvoyBatch, rows: NDArray[np.int64]) -> None:
        """Note the start of episodes in some convoys."""
        truth = batch.truth
        lead = truth.lead_slot[rows]
        self._newest[rows] = -1
        self.values[:, 0, rows] = 0.0
        for column, values in (
            (Column.SPEED_MPS, truth.speed_mps[rows, 0]),
            (Column.GAP_M, truth.gap_m[rows]),
            (Column.LEAD_SLOT, lead),
            (Column.LEAD_POS_M, truth.route_pos_m[rows, lead]),
            (Column.LEAD_SPEED_MPS, truth.speed_mps[rows, lead]),
        ):
            self.values[column, 0, rows] = values

    def episode(self, row: int, ticks: int) -> EpisodeTrace:
        """Copy what was recorded of the episode that has ended in a convoy."""
        return EpisodeTrace(self.values[:, : ticks + 1, row].copy())


class Holder(IntEnum):
    """What decided on a wish in a tick."""

    NOBODY = 0
    """It passed as it was."""
    NEED = 1
    """The braking that a peer's newest message demands."""
    SILENCE = 2
    """The age of the newest message of the car in front, or a car that may be between."""
    FLOOR = 3
    """It was harder braking than anything demands."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One episode, tick by tick; T ticks from the start on, V cars of which slot 0 is the ego.

    What a row says was known at its time; `wish_mps2`, `command_mps2` and `withheld_mps2` are what
    was made of it, in the tick that follows. Peers are columns, slot − 1; S = V − 1 of them.

    Attributes:
        time_s: (T,) float64, since the start.
        route_pos_m: (T, V) float64, front bumpers.
        speed_mps: (T, V) float64.
        accel_mps2: (T, V) float64, realised over the tick that ended.
        lateral_m: (T, V) float64, left of the convoy's lane.
        gap_m: (T,) float64, true, of the ego to the car in front, in its lane.
        lead_slot: (T,) int64, which car that is; 0 for nobody.
        ttc_s: (T,) float64, true time to collision with it, at most 60.
        needless: (T,) bool, the ego braked hard without cause.
        heard: (T, S) bool, S = V − 1: whether the ego's board holds a message of the peer.
        age_s: (T, S) float64, of its newest message, as the board can tell.
        number: (T, S) int64, which of the peer's messages that is, from 0 on.
        believed_gap_m: (T, S) float64, to the peer's rear bumper, predicted from that message;
            infinite where not heard, as the next three are 0.
        believed_speed_mps: (T, S) float64.
        believed_accel_mps2: (T, S) float64.
        position_sd_m: (T, S) float64, standard deviation of that gap, as the board can tell.
        needed_mps2: (T, S) float64, the deceleration that the peer's message demands, 0 to 8.
        own_error_m: (T,) float64, how far the ego believes to be ahead of where it is.
        own_sd_m: (T,) float64, standard deviation that it believes its position has, per axis.
        floor_mps2: (T,) float64, the least acceleration that the safety layer lets through.
        soft_mps2: (T,) float64, the largest that silence allows, before the low-pass.
        hard_mps2: (T,) float64, the largest that the peers' messages allow.
        wish_mps2: (T,) float64, what the driver wished; not a number in the last row, and where
            SUMO drives.
        command_mps2: (T,) float64, what the vehicle was told; not a number there, too.
        safety_layer: () bool, whether commands were held to these bounds.
        time_gap_s: () float64, that the ego's driver has set.
        frame_sent_s: (F,) float64, when each frame went on the air; all those of the episode.
        frame_arrival_s: (F,) float64, when who receives it has it.
        frame_sender: (F,) int64, slot of the car that sent it: the source, or a relay.
        frame_source: (F,) int64, slot of the car whose message it is.
        frame_number: (F,) int64, which of its messages.
        frame_hops: (F,) int64, relays that it had passed; 0 for the source's own frame.
        frame_receivers: (F,) int64, a bit per slot that received it and did not have it before.
        frame_alone: (F,) bool, no other frame was on the air: else it was lost in a collision.
        arrival_s: (N,) float64, when a newer message of a peer arrived.
        arrival_source: (N,) int64, of which peer: slot − 1.
        onset_s: () float64, when the planned braking began; not a number in free driving.
        brake_slot: () int64, who brakes; 0 for nobody.
        informed_s: () float64, when a message that shows it arrived; not a number if none did.
        crash_s: () float64, when the ego touched the car in front; not a number if it did not.
    """

    time_s: NDArray[np.float64]
    route_pos_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    accel_mps2: NDArray[np.float64]
    lateral_m: NDArray[np.float64]
    gap_m: NDArray[np.float64]
    lead_slot: NDArray[np.int64]
    ttc_s: NDArray[np.float64]
    needless: NDArray[np.bool_]
    heard: NDArray[np.bool_]
    age_s: NDArray[np.float64]
    number: NDArray[np.int64]
    believed_gap_m: NDArray[np.float64]
    believed_speed_mps: NDArray[np.float64]
    believed_accel_mps2: NDArray[np.float64]
    position_sd_m: NDArray[np.float64]
    needed_mps2: NDArray[np.float64]
    own_error_m: NDArray[np.float64]
    own_sd_m: NDArray[np.float64]
    floor_mps2: NDArray[np.float64]
    soft_mps2: NDArray[np.float64]
    hard_mps2: NDArray[np.float64]
    wish_mps2: NDArray[np.float64]
    command_mps2: NDArray[np.float64]
    safety_layer: NDArray[np.bool_]
    time_gap_s: NDArray[np.float64]
    frame_sent_s: NDArray[np.float64]
    frame_arrival_s: NDArray[np.float64]
    frame_sender: NDArray[np.int64]
    frame_source: NDArray[np.int64]
    frame_number: NDArray[np.int64]
    frame_hops: NDArray[np.int64]
    frame_receivers: NDArray[np.int64]
    frame_alone: NDArray[np.bool_]
    arrival_s: NDArray[np.float64]
    arrival_source: NDArray[np.int64]
    onset_s: NDArray[np.float64]
    brake_slot: NDArray[np.int64]
    informed_s: NDArray[np.float64]
    crash_s: NDArray[np.float64]

    @property
    def holder(self) -> NDArray[np.int64]:
        """(T,) of `Holder`: what decided on the wish; nobody where there is no safety layer.

        What is held back by less than 0.05 m/s² passed.
        """
        most = np.minimum(self.soft_mps2, self.hard_mps2)
        above = self.wish_mps2 > most + _HELD_MPS2
        below = self.wish_mps2 < self.floor_mps2 - _HELD_MPS2
        reason = np.where(self.hard_mps2 <= self.soft_mps2, Holder.NEED, Holder.SILENCE)
        found = np.where(above, reason, np.where(below, Holder.FLOOR, Holder.NOBODY))
        return np.where(self.safety_layer, found, int(Holder.NOBODY)).astype(np.int64)

    @property
    def deciding_slot(self) -> NDArray[np.int64]:
        """(T,) int64, the peer that decides: the one whose message demands the hardest braking.

        Where it is silence that holds the ego back it is the car in front, as the board believes.
        0 where no peer demands anything.
        """
        hardest = np.where(self.heard, self.needed_mps2, 0.0)
        nearest = np.where(self.heard, self.believed_gap_m, np.inf)
        if not self.num_peers:
            return np.zeros(self.time_s.size, dtype=np.int64)
        front = np.where(self.heard.any(axis=1), nearest.argmin(axis=1) + 1, 0)
        by_need = np.where(hardest.max(axis=1) > 0.0, hardest.argmax(axis=1) + 1, 0)
        return np.where(self.holder == Holder.SILENCE, front, by_need).astype(np.int64)

    @property
    def num_peers(self) -> int:
        """Cars ahead of the ego."""
        return int(self.heard.shape[1])

    @property
    def in_another_lane(self) -> bool:
        """Whether the first peer starts beside the convoy's lane."""
        return bool(self.lateral_m[0, 1] > 0.0)

    @property
    def hazard_window_s(self) -> tuple[float, float]:
        """From 4 s before the hazard until 16 s after it, s; without one, the whole episode."""
        first, last = 0.0, float(self.time_s[-1])
        if not np.isnan(self.onset_s):
            first = max(float(self.onset_s) - 4.0, 0.0)
            last = min(last, float(self.onset_s) + 16.0)
        return first, last

    @property
    def window_s(self) -> tuple[float, float]:
        """The part worth looking at, s: from 4 s before the hazard until 2 s after a crash."""
        first, last = self.hazard_window_s
        if not np.isnan(self.crash_s):
            crash_s = float(self.crash_s)
            first = min(first, max(crash_s - 4.0, 0.0))
            last = min(crash_s + 2.0, float(self.time_s[-1]))
        return first, max(last, first + DT_S)

    def save(self, file: Path) -> None:
        """Write to a compressed file of arrays, whole or not at all.

        Raises:
            OSError: The disk is full, or the folder cannot be written.
        """
        stream = io.BytesIO()
        np.savez_compressed(stream, **{f.name: getattr(self, f.name) for f in fields(self)})
        write_atomically(file, stream.getvalue())

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read such a file; nothing in it is executed.

        Raises:
            EvaluationError: It cannot be read.
        """
        try:
            with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise EvaluationError(
                f"{file} is no recording of this version ({error}). Delete it; it is made again."
            ) from error


class Recorder:
    """Watches one convoy of a batch: show it the batch after each reset and each tick."""

    def __init__(self, row: int = 0) -> None:
        self._row = row
        self._ticks: list[dict[str, Any]] = []
        self._arrivals: list[tuple[float, int]] = []
        self._last_us = np.zeros(0, dtype=np.int64)
        self._end: dict[str, Any] = {}
        self._air: list[AirFrames] = []

    def watch(self, batch: ConvoyBatch) -> None:
        """Note the state of the batch; the first call is the episode's start."""
        row, truth = self._row, batch.truth
        if not self._ticks and isinstance(batch.stack, V2VStack):
            batch.stack.channel.listen_in()
        if self._ticks:
            self._note_decision(batch)
        peers = slice(0, int(batch.plan.num_peers[row]))
        cars = slice(0, peers.stop + 1)
        believed, bounds = batch.board.estimate(), batch.board.bounds()
        heard = believed.heard[row, peers].copy()
        needed_mps2 = batch.board.demands().of_peer_mps2[row, peers]
        table = batch.peer_table
        self._ticks.append(
            {
                "time_s": np.float64(batch.tick[row] * DT_S),
                "route_pos_m": truth.route_pos_m[row, cars].copy(),
                "speed_mps": truth.speed_mps[row, cars].copy(),
                "accel_mps2": truth.accel_mps2[row, cars].copy(),
                "lateral_m": truth.lateral_m[row, cars].copy(),
                "gap_m": truth.gap_m[row],
                "lead_slot": truth.lead_slot[row],
                "ttc_s": truth.ttc_s[row],
                "needless": batch.needless[row],
                "heard": heard,
                "age_s": believed.age_s[row, peers].copy(),
                "number": np.where(heard, table.sequence[row, 0, peers], -1),
                "believed_gap_m": believed.gap_m[row, peers].copy(),
                "believed_speed_mps": believed.speed_mps[row, peers].copy(),
                "believed_accel_mps2": believed.accel_mps2[row, peers].copy(),
                "position_sd_m": believed.position_sd_m[row, peers].copy(),
                "needed_mps2": np.where(heard, needed_mps2, 0.0),
                "own_error_m": self._own_error_m(batch),
                "own_sd_m": batch.board.ego.position_sd_m[row],
                "floor_mps2": bounds.floor[row],
                "soft_mps2": bounds.soft[row],
                "hard_mps2": bounds.hard[row],
                "wish_mps2": np.nan,
                "command_mps2": np.nan,
            }
        )
        self._note_arrivals(batch, peers)
        reference, plan = batch.reference, batch.plan
        braking, informed = KINDS[int(plan.kind[row])] != "free", reference.informed[row]
        self._end = {
            "onset_s": plan.onset_tick[row] * DT_S if braking else np.nan,
            "informed_s": reference.informed_us[row] / _US if informed else np.nan,
            "brake_slot": plan.brake_slot[row],
            "safety_layer": batch.config.safety_layer,
            "time_gap_s": batch.wanted_time_gap_s[row],
        }

    def _note_decision(self, batch: ConvoyBatch) -> None:
        """Add to the tick before what was made of what it knew, and what went on the air since."""
        if batch.config.ego_control == "policy":
            before = self._ticks[-1]
            before["wish_mps2"] = batch.wish_mps2[self._row]
            before["command_mps2"] = batch.commanded_accel_mps2[self._row]
        if isinstance(batch.stack, V2VStack):
            self._air.append(batch.stack.channel.take_frames(self._row))

    def _own_error_m(self, batch: ConvoyBatch) -> np.float64:
        """How far along the road the ego believes to be ahead of where it is."""
        ego, row = batch.board.ego, self._row
        x_m, y_m, heading_deg = batch.stack.road.pose(batch.truth.route_pos_m[row, :1])
        east_m, north_m = ego.x_m[row] - x_m[0], ego.y_m[row] - y_m[0]
        heading = np.radians(heading_deg[0])
        return np.float64(east_m * np.sin(heading) + north_m * np.cos(heading))

    def _note_arrivals(self, batch: ConvoyBatch, peers: slice) -> None:
        table = batch.peer_table
        heard = table.heard[self._row, 0, peers]
        received_us = np.where(heard, table.received_us[self._row, 0, peers], -1)
        if self._last_us.size != received_us.size:
            self._last_us = np.full(received_us.size, -1, dtype=np.int64)
        for source in np.flatnonzero(received_us != self._last_us):
            self._arrivals.append((float(received_us[source] / _US), int(source)))
        self._last_us = received_us

    def recording(self) -> Recording:
        """Return what was seen.

        Raises:
            EvaluationError: Nothing was.
        """
        if not self._ticks:
            raise EvaluationError("nothing was recorded: the episode has no tick")
        columns: dict[str, Any] = {
            name: np.array([tick[name] for tick in self._ticks]) for name in self._ticks[0]
        }
        touching = columns["time_s"][columns["gap_m"] <= 0.0]
        self._end["crash_s"] = touching[0] if touching.size else np.nan
        moments = np.array([moment for moment, _ in self._arrivals], dtype=np.float64)
        sources = np.array([source for _, source in self._arrivals], dtype=np.int64)
        air = AirFrames.joined(self._air)
        columns |= {f"frame_{name}": values for name, values in air._asdict().items()}
        end: dict[str, Any] = {name: np.array(value) for name, value in self._end.items()}
        return Recording(**columns, arrival_s=moments, arrival_source=sources, **end)
