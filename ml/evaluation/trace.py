"""What happened in each tick of an episode, from ground truth and from what the radio delivered."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.vehicle import DT_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.envs.convoy_batch import ConvoyBatch


class Column(IntEnum):
    """A column of a trace; values are as of the tick's end."""

    SPEED_MPS = 0
    """Of the ego."""
    ACCEL_MPS2 = 1
    """Of the ego, realised over the tick."""
    COMMAND_MPS2 = 2
    """What the ego was told for the tick, within the vehicle's limits."""
    GAP_M = 3
    """Bumper to bumper, to the car in front."""
    LEAD_POS_M = 4
    """Of the car in front, in the ego's lane: front bumper along the route."""
    LEAD_SPEED_MPS = 5
    LEAD_ACCEL_MPS2 = 6
    BRAKE_ACCEL_MPS2 = 7
    """Of the peer that brings the hazard; 0 where there is none."""
    HARDEST_PEER_MPS2 = 8
    """The lowest acceleration of any peer."""
    HEARD = 9
    """Whether a message of the first peer is held: 0 or 1. It is the car in front, or cuts in."""
    AGE_S = 10
    """True age of the newest message of the first peer; 0 where not heard."""
    BRAKE_AGE_S = 11
    """The same of the peer that brings the hazard."""
    FRESH = 12
    """Whether the tick brought a newer message of the first peer: 0 or 1."""
    FRESH_PEERS = 13
    """Peers of which the tick brought a newer message."""
    REWARD = 14
    LEAD_SLOT = 15
    """Who is in front; changes when a car cuts in."""


class TraceRecorder:
    """Records a batch, each convoy at its own tick.

    Args:
        num_envs: E.
        num_sources: Peers in the batch, S.
        ticks: Longest episode.

    Attributes:
        values: (columns, ticks + 1, E) float64; row 0 is the start.
    """

    def __init__(self, num_envs: int, num_sources: int, ticks: int) -> None:
        self.values = np.zeros((len(Column), ticks + 1, num_envs))
        self._newest = np.full((num_envs, num_sources), -1, dtype=np.int64)

    def record(self, batch: ConvoyBatch, reward: NDArray[np.float64]) -> None:
        """Note what the last tick brought, at each convoy's tick.

        Args:
            batch: After its `judge`.
            reward: (E,) float64.
        """
        truth, table = batch.truth, batch.peer_table
        _record(
            batch.tick,
            batch.now_us,
            batch.plan.num_peers,
            batch.plan.brake_slot,
            truth.route_pos_m,
            truth.speed_mps,
            truth.accel_mps2,
            truth.gap_m,
            truth.lead_slot,
            batch.commanded_accel_mps2,
            table.heard,
            table.sequence,
            table.t_generated_us,
            reward,
            self._newest,
            self.values,
        )

    def begin(self, batch: ConvoyBatch, rows: NDArray[np.int64]) -> None:
        """Note the start of episodes in some convoys."""
        truth = batch.truth
        self._newest[rows] = -1
        self.values[:, 0, rows] = 0.0
        self.values[Column.SPEED_MPS, 0, rows] = truth.speed_mps[rows, 0]
        self.values[Column.GAP_M, 0, rows] = truth.gap_m[rows]
        lead = truth.lead_slot[rows]
        self.values[Column.LEAD_SLOT, 0, rows] = lead
        self.values[Column.LEAD_POS_M, 0, rows] = truth.route_pos_m[rows, lead]
        self.values[Column.LEAD_SPEED_MPS, 0, rows] = truth.speed_mps[rows, lead]

    def episode(self, row: int, ticks: int) -> EpisodeTrace:
        """Copy what was recorded of the episode that has ended in a convoy."""
        return EpisodeTrace(self.values[:, : ticks + 1, row].copy())


class EpisodeTrace:
    """One episode.

    Args:
        values: (columns, ticks + 1) float64.
    """

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.values = values

    def __getitem__(self, column: Column) -> NDArray[np.float64]:
        values: NDArray[np.float64] = self.values[column]
        return values

    @property
    def ticks(self) -> int:
        """Length of the record."""
        return int(self.values.shape[1]) - 1

    @property
    def time_s(self) -> NDArray[np.float64]:
        """(ticks + 1,) float64, since reset."""
        return np.arange(self.ticks + 1, dtype=np.float64) * DT_S

    @property
    def crash_tick(self) -> int | None:
        """The first tick at whose end the ego touches the car in front; None without a crash."""
        touching = np.flatnonzero(self[Column.GAP_M] <= 0.0)
        return int(touching[0]) if touching.size else None


# What a compiled loop reads must be plain numbers.
(
    _SPEED,
    _ACCEL,
    _COMMAND,
    _GAP,
    _LEAD_POS,
    _LEAD_SPEED,
    _LEAD_ACCEL,
    _BRAKE_ACCEL,
    _HARDEST,
    _HEARD,
    _AGE,
    _BRAKE_AGE,
    _FRESH,
    _FRESH_PEERS,
    _REWARD,
    _LEAD_SLOT,
) = (int(column) for column in Column)


@compiled
def _record(
    tick: NDArray[np.int64],
    now_us: NDArray[np.int64],
    num_peers: NDArray[np.int64],
    brake_slot: NDArray[np.int64],
    route_pos_m: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    accel_mps2: NDArray[np.float64],
    gap_m: NDArray[np.float64],
    lead_slot: NDArray[np.int64],
    command_mps2: NDArray[np.float64],
    heard: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    t_generated_us: NDArray[np.int64],
    reward: NDArray[np.float64],
    newest: NDArray[np.int64],
    values: NDArray[np.float64],
) -> None:
    """Fill row `tick[e]` of each convoy's column; `newest` (E, S) are the messages known before."""
    for e in range(tick.size):
        t, brake = tick[e], brake_slot[e]
        values[_SPEED, t, e] = speed_mps[e, 0]
        values[_ACCEL, t, e] = accel_mps2[e, 0]
        values[_COMMAND, t, e] = command_mps2[e]
        values[_GAP, t, e] = gap_m[e]
        lead = lead_slot[e]
        values[_LEAD_SLOT, t, e] = lead
        values[_LEAD_POS, t, e] = route_pos_m[e, lead]
        values[_LEAD_SPEED, t, e] = speed_mps[e, lead]
        values[_LEAD_ACCEL, t, e] = accel_mps2[e, lead]
        values[_BRAKE_ACCEL, t, e] = accel_mps2[e, brake] if brake > 0 else 0.0
        hardest, fresh_peers = np.inf, 0.0
        for v in range(1, num_peers[e] + 1):
            hardest = min(hardest, accel_mps2[e, v])
            s = v - 1
            if heard[e, 0, s] and sequence[e, 0, s] != newest[e, s]:
                newest[e, s] = sequence[e, 0, s]
                fresh_peers += 1.0
                if s == 0:
                    values[_FRESH, t, e] = 1.0
            elif s == 0:
                values[_FRESH, t, e] = 0.0
        values[_HARDEST, t, e] = hardest
        values[_FRESH_PEERS, t, e] = fresh_peers
        values[_HEARD, t, e] = 1.0 if heard[e, 0, 0] else 0.0
        age_us = now_us[e] - t_generated_us[e, 0, 0]
        values[_AGE, t, e] = age_us / 1e6 if heard[e, 0, 0] else 0.0
        values[_BRAKE_AGE, t, e] = 0.0
        if brake > 0 and heard[e, 0, brake - 1]:
            values[_BRAKE_AGE, t, e] = (now_us[e] - t_generated_us[e, 0, brake - 1]) / 1e6
        values[_REWARD, t, e] = reward[e]
