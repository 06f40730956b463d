"""What the exact tests of the radio share: a busy convoy, and equality to the bit."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

from oracle.adapt import play_on_channel, radio
from oracle.script import Script, Snapshot
from oracle.scripts_at_random import Style

EXACT = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
CROWD = Style(
    num_nodes=8,
    ticks=40,
    phases="spread",
    layout="row",
    share_sending=0.9,
    absent=1,
    two_calls=False,
    odd_delivers=True,
    share_skipped=0.0,
    reboots=True,
    clears=False,
    seed=11,
)
EVERYTHING: dict[str, Any] = {
    "loss": {"model": "margin", "blackout": {"length_s": 0.3, "period_s": 1.0}},
    "relay": {"max_hops": 3, "front_cone": False},
}
MARGIN = {"model": "margin"}
NO_OBSTRUCTION = {"car_first_db": 0.0, "car_next_db": 0.0, "cars_cap_db": 0.0}


def assert_same(ours: list[Snapshot], others: list[Snapshot]) -> None:
    """Assert that two lists of snapshots are equal to the bit."""
    assert len(ours) == len(others)
    for one, other in zip(ours, others, strict=True):
        for name in Snapshot.ARRAYS:
            values, others_values = getattr(one, name), getattr(other, name)
            assert values.tobytes() == others_values.tobytes(), f"{name} at {one.now_us} µs"


def play(sections: dict[str, Any], *scripts: Script) -> list[list[Snapshot]]:
    """Play scripts side by side on one channel."""
    return play_on_channel(radio(**sections), scripts)
