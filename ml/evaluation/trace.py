"""What happened in each tick of an episode, from ground truth and from what the radio delivered."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ml.envs.convoy_batch import ConvoyBatch


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
