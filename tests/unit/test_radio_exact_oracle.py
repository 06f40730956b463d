"""The compiled radio against a heap of events in plain Python, to the microsecond."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from oracle.adapt import clocks_of, open_channel, oracle_parameters, play_on_channel, radio
from oracle.links import FadingTable, success_by_quadrature
from oracle.radios_at_random import MARGINS, radios
from oracle.script import Snapshot, play_on_oracle
from oracle.scripts_at_random import Style, styles, write_script

if TYPE_CHECKING:
    from oracle.radio import OracleRadio


def agree(ours: list[Snapshot], expected: list[Snapshot]) -> None:
    """Assert that two accounts of an episode are the same, and say where they part."""
    assert len(ours) == len(expected)
    for is_, should in zip(ours, expected, strict=True):
        for name in Snapshot.ARRAYS:
            np.testing.assert_array_equal(
                getattr(is_, name), getattr(should, name), f"{name} at {should.now_us} µs"
            )


def judge(sections: dict[str, Any], style: Style) -> OracleRadio:
    """Play one episode on both and compare all that every node holds after every deliver."""
    parameters, script = radio(**sections), write_script(style)

    channel = open_channel(parameters, [script])
    (ours,) = play_on_channel(parameters, [script], channel=channel)
    expected, oracle = play_on_oracle(script, oracle_parameters(parameters), clocks_of(channel))
    agree(ours, expected)
    drained = channel.drain_counters()
    assert drained.get("radio/queue_drops", 0.0) == oracle.drops
    assert drained.get("radio/duplicates", 0.0) == oracle.duplicates
    assert drained.get("radio/expired", 0.0) == oracle.expired
    collided = sum(frame.collided for frame in oracle.on_air)
    assert drained.get("radio/collision_share", 0.0) == collided / max(1, len(oracle.on_air))
    return oracle


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(sections=radios(), style=styles())
def test_the_channel_agrees_with_the_oracle(sections, style):
    """Every receiver holds the same messages, by the same ways, since the same microsecond."""
    oracle = judge(sections, style)
    event(f"relayed: {any(r.hops for r in oracle.receptions)}")
    event(f"collided: {any(frame.collided for frame in oracle.on_air)}")
    event(f"dropped: {oracle.drops > 0}")
    event(f"expired: {oracle.expired > 0}")
    event(f"duplicates: {oracle.duplicates > 0}")


@pytest.mark.slow
@settings(max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(sections=radios(), style=styles(ticks=(20, 60, 150)))
def test_the_channel_agrees_with_the_oracle_on_many_more(sections, style):
    """The same on thousands of longer episodes, other ones each time."""
    judge(sections, style)


LONG = Style(
    num_nodes=10,
    ticks=120,
    phases="spread",
    layout="row",
    share_sending=1.0,
    absent=1,
    odd_delivers=True,
    share_skipped=0.0,
    reboots=True,
    clears=False,
    seed=5,
)


@pytest.mark.parametrize("front_cone", [True, False])
@pytest.mark.parametrize("values", MARGINS, ids=lambda values: "-".join(values) or "default")
def test_long_episodes_of_the_margin_model_agree(values, front_cone):
    """Twelve seconds of ten cars: correlated states drift apart if one step of them differs."""
    oracle = judge(
        {"loss": {"model": "margin"} | values, "relay": {"front_cone": front_cone}}, LONG
    )
    assert len(oracle.receptions) > 500
    assert any(frame.collided for frame in oracle.on_air)
    assert {reception.hops for reception in oracle.receptions} >= {0, 1, 2}


def test_doubles_are_received_and_passed_on_once():
    """Late receivers get copies by several relayers; only the first to arrive counts.

    The boards take 25 ms to hand a frame up, so that others relay what is still on its way.
    """
    sections = {
        "loss": {
            "model": "independent",
            "by_distance": [{"distance_m": 0.0, "probability": 0.5}],
        },
        "mac": {"h_rx_ms": 25.0},
        "relay": {"max_hops": 3, "front_cone": False},
    }
    style = replace(LONG, num_nodes=6, absent=0, reboots=False, odd_delivers=False)
    oracle = judge(sections, style)
    assert oracle.duplicates > 100
    told = [(r.receiver, r.message.source, r.message.seq) for r in oracle.receptions]
    assert len(told) == len(set(told))
    sent = [(f.sender, f.frame.message.source, f.frame.message.seq) for f in oracle.on_air]
    assert len(sent) == len(set(sent))


def test_the_chance_of_a_frame_is_the_mean_over_its_fading():
    """The tabulated P(M, m) is that of the integral, at the table's points and between them."""
    margins_db = np.array([-59.97, -20.0, -7.33, -0.04, 0.0, 0.31, 4.0, 12.25, 33.3])
    for m in (1.0, 2.25, 3.0, 5.0):
        exact = success_by_quadrature(margins_db, m, 1.0)
        table = [FadingTable()(margin_db, m) for margin_db in margins_db]
        np.testing.assert_allclose(table, exact, atol=2e-4)
    # Rayleigh fading (m = 1) over a sharp step passes with exp(-1 / mean power).
    sharp = success_by_quadrature(margins_db, 1.0, 0.01)
    np.testing.assert_allclose(sharp, np.exp(-(10.0 ** (-margins_db / 10.0))), atol=1e-3)
