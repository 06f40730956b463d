"""What a perfect and instant radio, and perfect sensors, would bring a controller to know."""

import numpy as np

from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.truth.lanes import WANDERING_M
from ml.onboard.views import EgoView, PeerView

_EAST_DEG = 90.0


def of_truth(batch: ConvoyBatch) -> tuple[PeerView, EgoView]:
    """View ground truth as a board would hold it, of age 0 and without error.

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
