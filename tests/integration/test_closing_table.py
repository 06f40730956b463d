"""The closing table of a training is measured by the code of `roadsense evaluate`."""

import pytest

from ml.envs import EnvConfig
from ml.evaluation.closing import as_markdown, compare
from ml.evaluation.drivers import make_driver
from ml.evaluation.rollout import run_episodes

pytestmark = pytest.mark.sumo

CONFIG = EnvConfig(num_peers=(1, 3), episode_s=25.0)


def test_the_closing_table_and_the_training_episodes_agree():
    """Crashes, headway and returns are those that the environment itself reports."""
    rows = compare([make_driver("do-nothing"), make_driver("oracle")], CONFIG, episodes=16, seed=3)
    for row, name in zip(rows, ("do-nothing", "oracle"), strict=True):
        said = run_episodes(make_driver(name), CONFIG, episodes=16, seed=3, num_envs=16).episodes
        hazards = [episode for episode in said if episode["kind"] == "hazard"]
        assert row.episodes == 16
        assert row.hazard_crashes.trials == len(hazards) > 4
        assert row.hazard_crashes.hits == sum(episode["collision"] for episode in hazards)
        returns = [episode["return"] for episode in said]
        assert row.mean_return == pytest.approx(sum(returns) / 16)
        headways = [episode["time_headway_s"] for episode in said]
        assert row.time_headway_s == pytest.approx(sum(headways) / 16, rel=0.01)
    assert rows[0].hazard_crashes.share == 1.0
    assert rows[1].hazard_crashes.share == 0.0
    assert "| do-nothing |" in as_markdown(rows)
