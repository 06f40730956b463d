"""What a controller may know: the peers as the ego's board holds them, and the ego's own sensors.

Three views have the same form: by radio; of the truth, which is what a perfect and instant radio
with perfect sensors would bring; and of nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.envs.lanes import WANDERING_M
from ml.espnow_emulator import PayloadField

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.envs.convoy_batch import ConvoyBatch

_EAST_DEG = 90.0


@dataclass(frozen=True, slots=True)
class PeerView:
    """What the ego's board holds of each peer; arrays (E, S) float64 unless said otherwise.

    The values are those of the newest message, as the sender's sensors measured them.

    Attributes:
        heard: bool, whether there is a message at all; where False every value is 0.
        age_s: Age of that message as the board can estimate it, s.
        x_m: Position of the front bumper, east, m.
        y_m: North, m.
        speed_mps: Speed, m/s.
        heading_deg: Heading, degrees clockwise from north.
        accel_mps2: Acceleration, m/s².
        position_sd_m: Standard deviation that the sender believes its position has, per axis, m.
        hops: int64, relays that the message has passed.
        ahead_m: (E, S, S), how far the second peer is known to drive ahead of the first; 0 where
            nothing is known (`ml.envs.peer_order`).
        travelled_m: How far it is predicted to have driven since that message, m.
        now_mps: Speed that is predicted for now, m/s.
        now_mps2: Acceleration, likewise, m/s².
    """

    heard: NDArray[np.bool_]
    age_s: NDArray[np.float64]
    x_m: NDArray[np.float64]
    y_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    heading_deg: NDArray[np.float64]
    accel_mps2: NDArray[np.float64]
    position_sd_m: NDArray[np.float64]
    hops: NDArray[np.int64]
    ahead_m: NDArray[np.float64]
    travelled_m: NDArray[np.float64]
    now_mps: NDArray[np.float64]
    now_mps2: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EgoView:
    """What the ego's own sensors say; arrays (E,) float64.

    Attributes:
        x_m: Position of the front bumper, east, m.
        y_m: North, m.
        speed_mps: Speed, m/s.
        heading_deg: Heading, degrees clockwise from north.
        accel_mps2: Acceleration, m/s².
        position_sd_m: Standard deviation that the node believes its position has, per axis, m.
        last_command_mps2: Acceleration commanded in the last tick, within the vehicle's limits;
            0 in an episode's first tick.
    """

    x_m: NDArray[np.float64]
    y_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    heading_deg: NDArray[np.float64]
    accel_mps2: NDArray[np.float64]
    position_sd_m: NDArray[np.float64]
    last_command_mps2: NDArray[np.float64]


def by_radio(batch: ConvoyBatch) -> PeerView:
    """View the ego's peer table as of the last delivery."""
    table = batch.peer_table
    payload = np.moveaxis(table.payload[:, 0], -1, 0)
    return PeerView(
        heard=table.heard[:, 0],
        age_s=batch.age_est_ms[:, 0] / 1000.0,
        x_m=payload[PayloadField.X_M],
        y_m=payload[PayloadField.Y_M],
        speed_mps=payload[PayloadField.SPEED_MPS],
        heading_deg=payload[PayloadField.HEADING_DEG],
        accel_mps2=payload[PayloadField.ACCEL_MPS2],
        position_sd_m=payload[PayloadField.POSITION_SD_M],
        hops=table.hops[:, 0],
        ahead_m=batch.order.ahead_m,
        travelled_m=batch.order.travelled_m,
        now_mps=batch.order.speed_mps,
        now_mps2=batch.order.accel_mps2,
    )


def own_sensors(batch: ConvoyBatch) -> EgoView:
    """View what the ego's own node believes."""
    ego = batch.ego
    return EgoView(
        x_m=ego.x_m[:, 0],
        y_m=ego.y_m[:, 0],
        speed_mps=ego.speed_mps[:, 0],
        heading_deg=ego.heading_deg[:, 0],
        accel_mps2=ego.accel_mps2[:, 0],
        position_sd_m=ego.position_sd_m[:, 0],
        last_command_mps2=batch.commanded_accel_mps2,
    )


def of_truth(batch: ConvoyBatch) -> tuple[PeerView, EgoView]:
    """View ground truth, of age 0 and without error.

    The road is unrolled into a straight line to the east, so that distances along it are exact.
    Cars in another lane are not shown until they leave it.
    """
    truth = batch.truth
    # Who drives beside the lane and does not come over is not in the way.
    coming = truth.lateral_m <= np.maximum(batch.lane_offset_m - WANDERING_M, 0.0)
    peers, straight = (truth.present & coming)[:, 1:], np.full(truth.present.shape, _EAST_DEG)
    still = np.zeros(truth.present.shape)
    return (
        PeerView(
            heard=peers,
            age_s=still[:, 1:],
            x_m=truth.route_pos_m[:, 1:],
            y_m=still[:, 1:],
            speed_mps=truth.speed_mps[:, 1:],
            heading_deg=straight[:, 1:],
            accel_mps2=truth.accel_mps2[:, 1:],
            position_sd_m=still[:, 1:],
            hops=np.zeros(peers.shape, dtype=np.int64),
            ahead_m=np.zeros((*peers.shape, peers.shape[1])),
            travelled_m=still[:, 1:],
            now_mps=truth.speed_mps[:, 1:],
            now_mps2=truth.accel_mps2[:, 1:],
        ),
        EgoView(
            x_m=truth.route_pos_m[:, 0],
            y_m=still[:, 0],
            speed_mps=truth.speed_mps[:, 0],
            heading_deg=straight[:, 0],
            accel_mps2=truth.accel_mps2[:, 0],
            position_sd_m=still[:, 0],
            last_command_mps2=batch.commanded_accel_mps2,
        ),
    )


def of_nobody(num_envs: int, num_sources: int) -> PeerView:
    """View a board that has heard nothing: a radio that is off."""
    shape = (num_envs, num_sources)
    nothing = np.zeros(shape)
    return PeerView(
        heard=np.zeros(shape, dtype=bool),
        age_s=nothing,
        x_m=nothing,
        y_m=nothing,
        speed_mps=nothing,
        heading_deg=nothing,
        accel_mps2=nothing,
        position_sd_m=nothing,
        hops=np.zeros(shape, dtype=np.int64),
        ahead_m=np.zeros((*shape, num_sources)),
        travelled_m=nothing,
        now_mps=nothing,
        now_mps2=nothing,
    )
