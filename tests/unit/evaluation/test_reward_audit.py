"""When the reward's audit complains that perfect knowledge does not pay best."""

from typing import get_args

import pytest

from ml.envs.config import EpisodeKind
from ml.envs.scoring.reward import PENALTIES
from ml.evaluation.closing import DriverFigures
from ml.evaluation.reward_audit import AuditCell, _complaints
from ml.evaluation.summary import Rate

RETURNS = {"do-nothing": 20.0, "always-brake": -30.0, "SUMO's car-following": 45.0, "oracle": 46.0}


def cells(**benign):
    """The audit's figures, with a standard error of 0.3 each; `benign` changes those returns."""
    found = {}
    for kind in get_args(EpisodeKind):
        for driver, usual in RETURNS.items():
            value = benign.get(driver.replace("-", "_"), usual) if kind == "benign" else usual
            figures = DriverFigures(
                driver=driver,
                episodes=16,
                invalid=0,
                hazard_crashes=Rate.of(0, 16),
                other_crashes=Rate.of(0, 16),
                false_brakes_per_km=0.0,
                time_headway_s=1.5,
                mean_return=value,
                return_se=0.3,
            )
            found[driver, kind] = AuditCell(figures, {}, dict.fromkeys(PENALTIES, 0.0))
    return found


@pytest.mark.parametrize(("oracle", "complains"), [(46.0, False), (44.9, False), (44.2, True)])
def test_a_tie_within_the_errors_is_no_complaint(oracle, complains):
    """Who follows in SUMO knows all, too: 0.1 less is a tie, 0.8 less is not."""
    found = _complaints(cells(oracle=oracle))
    assert any("perfect knowledge must pay best" in words for words in found) == complains
    assert len(found) == complains


def test_a_reward_that_pays_for_doing_nothing_is_complained_of():
    """Whoever does it."""
    (words,) = _complaints(cells(do_nothing=50.0))
    assert words.startswith("benign: do-nothing earns 50.0, the oracle only 46.0")
