"""What a picture of one episode needs: what really happened, and what the ego's board held."""

import io
import zipfile
from dataclasses import dataclass, fields
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
    def window_s(self) -> tuple[float, float]:
        """The part worth looking at, s: from 4 s before the hazard until 2 s after a crash."""
        first, last = 0.0, float(self.time_s[-1])
        if not np.isnan(self.onset_s):
            first = max(float(self.onset_s) - 4.0, 0.0)
            last = min(last, float(self.onset_s) + 16.0)
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
