"""In free episodes nobody brakes for the road: not for limits, crossings, stops, or turns."""

import numpy as np
import pytest
from support.roads import ROADS

from ml.envs import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.envs.scoring.termination import EpisodeStatus

pytestmark = [pytest.mark.sumo, pytest.mark.slow]

CONVOYS = 40
KINDS = ("crossing", "all_way_stop", "limits", "step_down", "tight_turn", "short_lanes", "turns",
         "roundabout", "sidewalks", "osm")  # fmt: skip
HELD = np.zeros((CONVOYS, 1), dtype=np.float32)


def drive_freely(scenario, seed, *, peers=(3, 3), ego_control="policy"):
    """Drive each convoy's first free episode with an ego that holds its speed.

    Returns:
        Who crashed, and the leaders' lowest speeds as shares of what they want.
    """
    config = EnvConfig(scenario=str(scenario), num_peers=peers, ego_control=ego_control)
    env = ConvoyVecEnv(CONVOYS, config, seed=seed, forced_kind="free")
    env.reset()
    batch = env.batch
    leader, wanted_mps = batch.plan.num_peers.copy(), batch.plan.leader_speed_mps.copy()
    crashed = np.zeros(CONVOYS, dtype=bool)
    lowest = np.ones(CONVOYS)
    running = np.ones(CONVOYS, dtype=bool)
    try:
        while running.any():
            _, _, done, infos = env.step(HELD)
            for row in np.flatnonzero(running & done):
                status = infos[row]["episode_summary"]["status"]
                crashed[row] = status == EpisodeStatus.COLLISION.name.lower()
            running &= ~done
            speed_mps = batch.truth.speed_mps[np.arange(CONVOYS), leader]
            lowest[running] = np.minimum(lowest, speed_mps / wanted_mps)[running]
    finally:
        env.close()
    return crashed, lowest


@pytest.fixture(scope="module")
def on_highway():
    """How often such an ego crashes on a road without all that, by seed."""
    return {seed: drive_freely("highway", seed)[0].sum() for seed in (0, 1, 2)}


@pytest.mark.parametrize("kind", [*KINDS, "rural"])
def test_an_ego_that_holds_its_speed_is_as_safe_as_on_the_highway(tmp_path, on_highway, kind):
    """Whatever road a stranger brings, free episodes have no more crashes than there."""
    scenario = kind if kind == "rural" else ROADS[kind](tmp_path)
    for seed in (0, 1, 2):
        assert drive_freely(scenario, seed)[0].sum() <= on_highway[seed]


@pytest.mark.parametrize("kind", ["flat", "limits", "step_down", "tight_turn", "turns", "rural"])
def test_leaders_keep_their_speed_where_limits_change(tmp_path, kind):
    """A leader's speed never falls below nine tenths of what it wants."""
    scenario = kind if kind == "rural" else ROADS[kind](tmp_path)
    crashed, lowest = drive_freely(scenario, 3, peers=(1, 1), ego_control="sumo")
    assert lowest.min() >= 0.9
    assert not crashed.any()
