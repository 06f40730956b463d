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
from ml.errors import EvaluationError
from ml.vehicle import DT_S

_US = 1e6


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


@dataclass(frozen=True, slots=True)
class Recording:
    """One episode, tick by tick; T ticks from the start on, V cars of which slot 0 is the ego.

    Attributes:
        time_s: (T,) float64, since the start.
        route_pos_m: (T, V) float64, front bumpers.
        speed_mps: (T, V) float64.
        accel_mps2: (T, V) float64.
        lateral_m: (T, V) float64, left of the convoy's lane.
        gap_m: (T,) float64, true, of the ego to the car in front, in its lane.
        heard: (T, S) bool, S = V − 1: whether the ego's board holds a message of the peer.
        age_s: (T, S) float64, of its newest message, as the board can tell.
        believed_gap_m: (T, S) float64, to the peer's rear bumper, predicted from that message.
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
    heard: NDArray[np.bool_]
    age_s: NDArray[np.float64]
    believed_gap_m: NDArray[np.float64]
    arrival_s: NDArray[np.float64]
    arrival_source: NDArray[np.int64]
    onset_s: NDArray[np.float64]
    brake_slot: NDArray[np.int64]
    informed_s: NDArray[np.float64]
    crash_s: NDArray[np.float64]

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

    def watch(self, batch: ConvoyBatch) -> None:
        """Note the state of the batch; the first call is the episode's start."""
        row, truth = self._row, batch.truth
        peers = slice(0, int(batch.plan.num_peers[row]))
        cars = slice(0, peers.stop + 1)
        believed = batch.board.estimate()
        self._ticks.append(
            {
                "time_s": np.float64(batch.tick[row] * DT_S),
                "route_pos_m": truth.route_pos_m[row, cars].copy(),
                "speed_mps": truth.speed_mps[row, cars].copy(),
                "accel_mps2": truth.accel_mps2[row, cars].copy(),
                "lateral_m": truth.lateral_m[row, cars].copy(),
                "gap_m": truth.gap_m[row],
                "heard": believed.heard[row, peers].copy(),
                "age_s": believed.age_s[row, peers].copy(),
                "believed_gap_m": believed.gap_m[row, peers].copy(),
            }
        )
        self._note_arrivals(batch, peers)
        reference, plan = batch.reference, batch.plan
        braking, informed = KINDS[int(plan.kind[row])] != "free", reference.informed[row]
        self._end = {
            "onset_s": plan.onset_tick[row] * DT_S if braking else np.nan,
            "informed_s": reference.informed_us[row] / _US if informed else np.nan,
            "brake_slot": plan.brake_slot[row],
        }

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
        end: dict[str, Any] = {name: np.array(value) for name, value in self._end.items()}
        return Recording(**columns, arrival_s=moments, arrival_source=sources, **end)
