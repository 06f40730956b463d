"""Whether the reference ego can still get away: what a crash in training is charged by."""

import pytest

from ml.envs.truth.escape import would_escape

STANDS = (0.0, 0.0, 0.0)
BRAKES = (20.0, -8.0, 0.0)
SLOWS = (20.0, -8.0, 10.0)


@pytest.mark.parametrize(
    ("why", "gap_m", "own", "lead", "escapes"),
    [
        ("20 m/s stop within 20² / 16 m and 0.3 s of building up", 31.0, (20.0, 0.0), STANDS, True),
        ("and not within less", 29.0, (20.0, 0.0), STANDS, False),
        ("a braking that is built up takes 25 m", 25.5, (20.0, -8.0), STANDS, True),
        ("it has touched already", 0.0, (10.0, -8.0), (20.0, 0.0, 20.0), False),
        ("who brakes as hard from as fast stops as far on", 6.0, (20.0, 0.0), BRAKES, True),
        ("but for the building up", 4.5, (20.0, 0.0), BRAKES, False),
        ("who brakes to half the speed leaves room", 5.5, (20.0, 0.0), SLOWS, True),
    ],
)
def test_a_full_braking_from_now_on_decides(why, gap_m, own, lead, escapes):
    """The car in front goes on as it does, down to its end speed."""
    assert would_escape(gap_m, *own, lead) == escapes, why
