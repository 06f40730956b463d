"""What a board takes for the error of a distance between two positions."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.boards import HandFed
from support.driving import ego, peers

from ml.compiled import compiled
from ml.onboard.estimator import difference_sd_m, estimate
from ml.onboard.observation.spec import EGO, EGO_FEATURES
from ml.onboard.safety_layer import MARGIN_M, MARGIN_SDS, needed_braking
from ml.vehicle import CAR_LENGTH_M

SDS_M = st.floats(0.0, 1e5)


@pytest.mark.parametrize(
    ("peer_m", "own_m", "share", "sd_m"),
    [
        (2.1, 2.1, 0.5, 2.1),
        (2.1, 2.1, 0.0, 2.1 * math.sqrt(2.0)),
        (2.1, 2.1, 1.0, 0.0),
        (3.0, 4.0, 0.0, 5.0),
        (3.0, 2.0, 0.5, math.sqrt(7.0)),
        (2.0, 5.0, 1.0, 3.0),
    ],
)
def test_what_is_common_to_both_positions_is_no_error_of_their_distance(peer_m, own_m, share, sd_m):
    """The root of a² + b² − 2cab: independent errors add in squares, common ones cancel."""
    known = estimate(
        peers({"gap_m": 30.0, "speed_mps": 20.0, "sd_m": peer_m}),
        ego(20.0, sd_m=own_m, common_share=share),
    )
    assert known.position_sd_m[0, 0] == pytest.approx(sd_m)
    assert known.lead().position_sd_m[0] == pytest.approx(sd_m)


@compiled
def _hypotenuse(a: float, b: float) -> float:
    """The compiled one: Python's own may round the last bit otherwise."""
    return math.hypot(a, b)


@given(SDS_M, SDS_M)
@example(82486.89027617128, 82486.89027617128)
def test_without_a_common_share_it_is_the_hypotenuse_to_the_last_bit(peer_m, own_m):
    """A model that was made when errors were taken for independent drives as it did."""
    assert difference_sd_m(peer_m, own_m, 0.0) == _hypotenuse(peer_m, own_m)


@given(SDS_M, SDS_M, st.floats(0.0, 1.0))
def test_whatever_is_common_it_is_between_the_difference_and_the_hypotenuse(peer_m, own_m, share):
    """It is a number, also where rounding would leave a square below 0; less where more is."""
    sd_m = difference_sd_m(peer_m, own_m, share)
    slack_m = 1e-9 * (peer_m + own_m)
    assert abs(peer_m - own_m) - slack_m <= sd_m <= math.hypot(peer_m, own_m) + slack_m


def test_observation_and_safety_layer_go_by_the_share_that_the_board_was_given():
    """Two nodes of 2.1 m: 2.1 m of a distance at half in common, and a margin of that error."""
    for share, sd_m in ((0.0, 2.1 * math.sqrt(2.0)), (0.5, 2.1)):
        fed = HandFed(speed_mps=20.0, sd_m=2.1, common_share=share)
        fed.message(0, x_m=150.0 + CAR_LENGTH_M, sd_m=2.1)
        fed.tick()
        assert fed.board.estimate().position_sd_m[0, 0] == pytest.approx(sd_m)
        seen = fed.board.observe()["ego"][0]
        assert seen[EGO.nearest_sd] == pytest.approx(sd_m / EGO_FEATURES[EGO.nearest_sd].scale)
        free_m = 150.0 - MARGIN_M - MARGIN_SDS * sd_m
        needed = needed_braking(20.0, free_m, 0.0, 0.0, 0.0)
        needed /= EGO_FEATURES[EGO.needed_braking].scale
        assert seen[EGO.needed_braking] == pytest.approx(needed, rel=1e-5)
