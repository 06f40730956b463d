"""What a vehicle does whose board has not answered."""

from __future__ import annotations

from ml.hil.driver import SafeState
from ml.hil.protocol import Answer


def answer(accel_mps2):
    """An answer that commands an acceleration."""
    return Answer(0, accel_mps2, *[0.0] * 5, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0, ())


def test_a_lost_answer_is_no_braking_and_three_are():
    """Held without acceleration for two ticks, then 1.5 m/s² until an answer comes."""
    safe = SafeState()
    assert safe.command(answer(1.25)) == 1.25
    assert [safe.command(None) for _ in range(5)] == [0.0, 0.0, -1.5, -1.5, -1.5]
    assert safe.command(answer(0.5)) == 0.5
    assert safe.command(None) == 0.0


def test_who_was_braking_goes_on_braking():
    """As hard as it was last told, also beyond 1.5 m/s²."""
    safe = SafeState()
    safe.command(answer(-0.75))
    assert [safe.command(None) for _ in range(3)] == [-0.75, -0.75, -1.5]
    safe.command(answer(-6.0))
    assert [safe.command(None) for _ in range(4)] == [-6.0] * 4


def test_a_board_that_never_answered_is_no_reason_to_accelerate():
    """From the first tick on."""
    safe = SafeState()
    assert [safe.command(None) for _ in range(3)] == [0.0, 0.0, -1.5]
