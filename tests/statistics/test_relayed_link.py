"""What relays rescue, and how long news from two ahead stays away, against one recorded link.

The recorded pair lost 0.43 of its frames with one car between. The preset `blackout` drives the
reference drive, its margin set so that as much is lost: 96 convoys of 582 s, 0.56 million frames.
"""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration.fits.field_tables import TWO_AHEAD
from ml.calibration.trials.two_ahead import link_two_ahead
from ml.parameters import load_parameters

pytestmark = pytest.mark.statistics

CONVOYS, MARGIN_DB = 96, 12.0
RESCUED = "share of lost frames rescued"
SILENCES = tuple(name for name in TWO_AHEAD if "without news" in name)


def _figures(**forward: float) -> dict[str, float]:
    """Figures of the link, with some of the relays' numbers changed."""
    values = {"radio.loss.margin_20m_db": MARGIN_DB}
    values |= {f"radio.relay.forward_{name}": value for name, value in forward.items()}
    overrides = {name: np.full(CONVOYS, value) for name, value in values.items()}
    figures = link_two_ahead(load_parameters("blackout").radio, CONVOYS, overrides=overrides)
    assert list(figures) == list(TWO_AHEAD)
    assert abs(figures["direct loss"] - TWO_AHEAD["direct loss"]) < 0.02
    print(forward, {name: round(figure, 4) for name, figure in figures.items()})  # noqa: T201
    return figures


def _too_far_off(figures: dict[str, float]) -> set[str]:
    """Which figures miss: 0.06 for what is rescued, a factor of 1.5 for silences."""
    failed = {n for n in SILENCES if not 1 / 1.5 <= figures[n] / TWO_AHEAD[n] <= 1.5}
    if abs(figures[RESCUED] - TWO_AHEAD[RESCUED]) > 0.06:
        failed.add(RESCUED)
    return failed


def test_relays_rescue_as_many_frames_and_are_silent_as_long_as_recorded():
    """The preset meets all four figures of the recorded link."""
    assert _too_far_off(_figures()) == set()


def test_relays_that_forward_all_they_hear_rescue_too_much():
    """Three quarters of the lost frames, and silences a third to a tenth as frequent."""
    figures = _figures(probability=1.0)
    assert _too_far_off(figures) == {RESCUED, *SILENCES}
    assert 0.71 < figures[RESCUED] < 0.79


def test_relays_that_forget_frame_by_frame_are_silent_too_briefly():
    """As many rescued, but half a second without news comes at less than half its frequency."""
    figures = _figures(time_s=0.05)
    failed = _too_far_off(figures)
    assert RESCUED not in failed
    assert failed >= set(SILENCES[1:])
    assert figures[SILENCES[2]] < TWO_AHEAD[SILENCES[2]] / 2.5
