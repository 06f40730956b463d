"""Views of traffic for the tests of controllers, laid along a straight road to the east."""

from __future__ import annotations

import numpy as np

from ml.onboard.prediction import travel
from ml.onboard.views import EgoView, PeerView

CAR_M = 4.5


def peers(*cars, num_envs=1, sources=None):
    """Peers from dicts with gap_m, speed_mps and, if wanted, accel_mps2, age_s, sd_m."""
    sources = sources or max(len(cars), 1)
    columns = {
        name: np.zeros((num_envs, sources))
        for name in ("age_s", "x_m", "y_m", "speed_mps", "accel_mps2", "position_sd_m")
    }
    heard = np.zeros((num_envs, sources), dtype=bool)
    for slot, car in enumerate(cars):
        heard[:, slot] = True
        columns["x_m"][:, slot] = car["gap_m"] + CAR_M
        columns["speed_mps"][:, slot] = car["speed_mps"]
        columns["accel_mps2"][:, slot] = car.get("accel_mps2", 0.0)
        columns["age_s"][:, slot] = car.get("age_s", 0.0)
        columns["position_sd_m"][:, slot] = car.get("sd_m", 0.0)
    moved = np.array(
        [
            [
                travel(
                    columns["speed_mps"][e, s], columns["accel_mps2"][e, s], columns["age_s"][e, s]
                )
                for s in range(sources)
            ]
            for e in range(num_envs)
        ]
    )
    return PeerView(
        heard=heard,
        travelled_m=moved[..., 0],
        now_mps=moved[..., 1],
        now_mps2=moved[..., 2],
        heading_deg=np.full((num_envs, sources), 90.0),
        hops=np.zeros((num_envs, sources), dtype=np.int64),
        ahead_m=np.zeros((num_envs, sources, sources)),
        **columns,
    )


def ego(speed_mps, *, num_envs=1, accel_mps2=0.0, sd_m=0.0, common_share=0.0):
    """Return an ego at the origin."""
    every = np.ones(num_envs)
    return EgoView(
        x_m=0.0 * every,
        y_m=0.0 * every,
        speed_mps=speed_mps * every,
        heading_deg=90.0 * every,
        accel_mps2=accel_mps2 * every,
        position_sd_m=sd_m * every,
        last_command_mps2=accel_mps2 * every,
        common_share=common_share * every,
    )


def act(controller, peer_view, ego_view, *, begin=True):
    """Ask a controller once; at an episode's beginning unless said otherwise."""
    num_envs = ego_view.speed_mps.size
    if begin:
        controller.reset(np.arange(num_envs), num_envs)
    return controller.act(peer_view, ego_view)
