"""From the peer table to the policy's input: only what the board could compute itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.onboard.actuation import Bounds
from ml.onboard.message_history import remember_messages
from ml.onboard.observation.kernel import fill
from ml.onboard.observation.spec import (
    EGO_FEATURES,
    EGO_HIGH,
    EGO_LOW,
    EGO_SCALE,
    HISTORY,
    MAX_PEERS,
    PEER_FEATURES,
    PEER_HIGH,
    PEER_LOW,
    PEER_SCALE,
)
from ml.vehicle import MAX_ACCEL_MPS2, MAX_BRAKING_MPS2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.espnow_emulator import PeerTable
    from ml.onboard.peer_order import PeerOrder
    from ml.sensors import Measurement, RangingSensor

Observation = dict[str, "NDArray[np.float32]"]

_SPEED_TICKS = 5


class ObservationBuilder:
    """Builds observations for a batch and keeps the short memory that they need.

    Args:
        num_envs: E.
        num_sources: S.
        time_to_live_ms: A peer whose newest message is older is not shown.

    Attributes:
        commands: (num_envs, 2) float64, the last two commanded accelerations, the newest first.
        wanted_s: (num_envs,) float64, the time gap that each driver has set.
        soft_bound_mps2: (num_envs,) float64, acceleration that silence still allows, and
        hard_bound_mps2: the largest acceleration that the safety layer (`ml.onboard.safety_layer`)
            lets pass, and
        floor_mps2: the least that it lets a policy wish, as of the last observation.
        clipped: Values held to their bounds so far.
        built: Values computed so far.
    """

    def __init__(self, num_envs: int, num_sources: int, time_to_live_ms: float) -> None:
        self._time_to_live_ms = float(time_to_live_ms)
        self._all = np.arange(num_envs)
        self.commands = np.zeros((num_envs, 2))
        self.wanted_s = np.zeros(num_envs)
        self.soft_bound_mps2 = np.full(num_envs, MAX_ACCEL_MPS2)
        self.hard_bound_mps2 = np.full(num_envs, MAX_ACCEL_MPS2)
        self.floor_mps2 = np.full(num_envs, -MAX_BRAKING_MPS2)
        self._speeds = np.zeros((num_envs, _SPEED_TICKS))
        shape = (num_envs, num_sources)
        self._known = np.full(shape, -1, dtype=np.int64)
        self._messages = np.zeros(num_envs, dtype=np.int64)
        self._silent_share = np.zeros(num_envs)
        self._said = np.zeros((*shape, HISTORY + 1, 2))
        self._said_ms = np.zeros((*shape, HISTORY + 1), dtype=np.int64)
        self._ego_bounds = np.stack([EGO_SCALE, EGO_LOW, EGO_HIGH])
        self._peer_bounds = np.stack(
            [PEER_SCALE, np.minimum(PEER_LOW, 0.0), np.maximum(PEER_HIGH, 0.0)]
        )
        self.clipped = 0
        self.built = 0

    @property
    def bounds_mps2(self) -> Bounds:
        """What the safety layer lets pass."""
        return Bounds(self.soft_bound_mps2, self.hard_bound_mps2, self.floor_mps2)

    def start(
        self,
        rows: NDArray[np.int64],
        table: PeerTable,
        measured: Measurement,
        ranging: RangingSensor,
        order: PeerOrder,
    ) -> Observation:
        """Forget the past of the given convoys and see their first tick, when nobody is heard yet.

        Args:
            rows: (n,) convoys; their tables are empty.
            table: The ego's peer table, (num_envs, 1, num_sources).
            measured: What their egos believe of themselves; slot 0 of (n, num_slots) arrays.
            ranging: The egos' ranging sensors, of all convoys.
            order: What is known of the peers' order.

        Returns:
            The observation's rows, (n, …).
        """
        self.commands[rows] = 0.0
        self.hard_bound_mps2[rows] = MAX_ACCEL_MPS2
        self._speeds[rows] = measured.speed_mps[:, :1]
        self._known[rows] = -1
        self._messages[rows] = 0
        self._silent_share[rows] = 0.0
        self._said[rows] = 0.0
        self._said_ms[rows] = 0
        return self._fill(rows, table, np.zeros(table.heard.shape), measured, ranging, order)

    def build(
        self,
        table: PeerTable,
        measured: Measurement,
        ranging: RangingSensor,
        order: PeerOrder,
        age_ms: NDArray[np.float64],
    ) -> Observation:
        """Build the batch's observation and move the memory on by one tick.

        Args:
            table: The ego's peer table, (num_envs, 1, num_sources).
            measured: What the nodes believe of themselves; the ego is slot 0.
            ranging: The egos' ranging sensors.
            order: What is known of the peers' order.
            age_ms: (num_envs, 1, num_sources) float64, estimated ages of their newest messages.

        Returns:
            `ego (num_envs, 21)`, `peers (num_envs, 8, 23)`, `peer_mask (num_envs, 8)`, float32.
        """
        remember_messages(
            table.heard,
            table.sequence,
            table.timestamp_ms,
            table.payload,
            self._known,
            self._said,
            self._said_ms,
            self._messages,
        )
        return self._fill(self._all, table, age_ms, measured, ranging, order)

    def _fill(
        self,
        rows: NDArray[np.int64],
        table: PeerTable,
        age_ms: NDArray[np.float64],
        measured: Measurement,
        ranging: RangingSensor,
        order: PeerOrder,
    ) -> Observation:
        observation = {
            "ego": np.empty((rows.size, len(EGO_FEATURES)), dtype=np.float32),
            "peers": np.zeros((rows.size, MAX_PEERS, len(PEER_FEATURES)), dtype=np.float32),
            "peer_mask": np.zeros((rows.size, MAX_PEERS), dtype=np.float32),
        }
        clipped, built = fill(
            rows,
            (
                measured.x_m,
                measured.y_m,
                measured.speed_mps,
                measured.heading_deg,
                measured.accel_mps2,
                measured.position_sd_m,
            ),
            ranging.range_m,
            ranging.is_valid,
            table.heard,
            age_ms,
            table.payload,
            table.hops,
            self._time_to_live_ms,
            self.commands,
            self._speeds,
            self.wanted_s,
            order.ahead_m,
            order.travelled_m,
            order.speed_mps,
            order.accel_mps2,
            self._said,
            self._said_ms,
            self._ego_bounds,
            self._peer_bounds,
            observation["ego"],
            observation["peers"],
            observation["peer_mask"],
            self.soft_bound_mps2,
            self.hard_bound_mps2,
            self.floor_mps2,
            self._messages,
            self._silent_share,
        )
        self.clipped += clipped
        self.built += built
        return observation
