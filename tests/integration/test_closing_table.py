"""The closing table of a training tells who crashes and who does not."""

import pytest

from ml.envs import EnvConfig
from ml.evaluation.closing import as_markdown, compare, figures_of
from ml.evaluation.drivers import make_driver

pytestmark = pytest.mark.sumo


def test_the_closing_table_has_a_row_for_each_driver():
    """Who does nothing crashes in every hazard, who knows all in none."""
    config = EnvConfig(num_peers=(1, 3), episode_s=25.0)
    drivers = [make_driver("do-nothing"), make_driver("oracle")]
    found = compare(drivers, config, episodes=16, seed=3)
    rows = [figures_of(driver, of) for driver, of in found.items()]
    assert [row.episodes for row in rows] == [16, 16]
    assert rows[0].hazard_crashes.trials == rows[1].hazard_crashes.trials > 4
    assert [row.hazard_crashes.share for row in rows] == [1.0, 0.0]
    assert rows[1].mean_return > rows[0].mean_return
    assert "| do-nothing |" in as_markdown(rows)
