"""The compiled radio against a heap of events in plain Python, to the microsecond."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from oracle.adapt import clocks_of, open_channel, play_on_channel, radio
from oracle.links import FadingTable, success_by_quadrature
from oracle.radios_at_random import MARGINS, radios
from oracle.script import Snapshot, play_on_oracle
from oracle.scripts_at_random import Style, styles, write_script

if TYPE_CHECKING:
    from oracle.radio import OracleRadio
    from oracle.script import Script

_MANY = int(os.environ.get("ROADSENSE_FUZZ_EXAMPLES", "100"))


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
    expected, oracle = play_on_oracle(script, parameters, clocks_of(channel))
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
@settings(max_examples=_MANY, deadline=None, suppress_health_check=list(HealthCheck))
@given(sections=radios(), style=styles(ticks=(20, 60, 150)))
def test_the_channel_agrees_with_the_oracle_on_many_more(sections, style):
    """The same on longer episodes, other ones each time: a hundred, by `make soak` thousands."""
    judge(sections, style)


LONG = Style(
    num_nodes=10,
    ticks=120,
    phases="spread",
    layout="row",
    share_sending=1.0,
    absent=1,
    two_calls=False,
    odd_delivers=True,
    share_skipped=0.0,
    reboots=True,
    clears=False,
    seed=14,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "which", range(len(MARGINS)), ids=lambda k: "-".join(MARGINS[k]) or "plain"
)
def test_long_episodes_of_the_margin_model_agree(which):
    """Twelve seconds of ten cars: correlated states drift apart if one step of them differs."""
    sections = {
        "loss": {"model": "margin"} | MARGINS[which],
        "relay": {"front_cone": which % 2 == 0, "forward_probability": 0.8},
    }
    oracle = judge(sections, LONG)
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
        "relay": {"max_hops": 3, "front_cone": False, "forward_probability": 1.0},
    }
    style = replace(LONG, num_nodes=6, absent=0, reboots=False, odd_delivers=False)
    oracle = judge(sections, style)
    assert oracle.duplicates > 100
    told = [(r.receiver, r.message.source, r.message.seq) for r in oracle.receptions]
    assert len(told) == len(set(told))
    sent = [(f.sender, f.frame.message.source, f.frame.message.seq) for f in oracle.on_air]
    assert len(sent) == len(set(sent))


def test_a_convoy_of_thirty_two_agrees():
    """As many nodes as a channel can hold, each relaying what it hears."""
    style = replace(LONG, num_nodes=32, ticks=12, share_sending=0.5)
    oracle = judge({"loss": {"model": "margin", "margin_20m_db": 25.0}}, style)
    assert {reception.receiver for reception in oracle.receptions} >= {0, 30, 31}
    assert any(reception.hops for reception in oracle.receptions)


RANDOMISED = {
    "mac.h_tx_ms": (0.6, 2.0),
    "mac.h_rx_ms": (0.1, 0.5),
    "mac.wait_probability": (0.1, 0.9),
    "mac.wait_mean_ms": (1.0, 4.0),
    "loss.margin_20m_db": (3.0, 18.0),
    "loss.exponent_near": (0.6, 2.2),
    "loss.exponent_far": (2.0, 3.5),
    "loss.shadowing_sd_db": (3.0, 8.0),
    "loss.shadowing_distance_m": (6.0, 25.0),
    "loss.bias_sd_db": (0.0, 4.0),
    "loss.bias_time_s": (1.0, 60.0),
    "loss.antenna_sd_db": (1.0, 6.0),
    "loss.fading_m": (1.0, 5.0),
    "loss.car_first_db": (3.0, 12.0),
    "loss.floor_loss": (0.0, 0.05),
    "loss.blackout.loss": (0.2, 0.7),
    "loss.blackout.length_s": (0.1, 0.5),
    "loss.blackout.period_s": (0.6, 2.0),
    "relay.forward_probability": (0.3, 0.9),
    "relay.forward_spread": (0.0, 0.5),
    "relay.forward_time_s": (0.1, 1.0),
}


def test_a_convoy_with_overrides_is_one_with_these_parameters():
    """What is drawn for an episode acts as if the file had said it, in each convoy its own."""
    rng = np.random.default_rng(3)
    scripts = [write_script(replace(LONG, num_nodes=6, ticks=40))] * 3
    drawn = {name: rng.uniform(low, high, 3) for name, (low, high) in RANDOMISED.items()}
    plain: dict[str, Any] = {"loss": {"model": "margin", "blackout": {}}}
    overrides = {f"radio.{name}": values for name, values in drawn.items()}
    channel = open_channel(radio(**plain), scripts, overrides=overrides)
    played = play_on_channel(radio(**plain), scripts, channel=channel)
    for env, ours in enumerate(played):
        sections: dict[str, Any] = {
            "mac": {},
            "relay": {},
            "loss": {"model": "margin", "blackout": {}},
        }
        for name, values in drawn.items():
            *path, last = name.split(".")
            section = sections
            for part in path:
                section = section[part]
            section[last] = float(values[env])
        parameters = radio(**sections)
        agree(ours, play_on_oracle(scripts[env], parameters, clocks_of(channel, env))[0])
    assert not np.array_equal(played[0][-1].received_us, played[1][-1].received_us)


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


def _stretched(script: Script, factor: int) -> Script:
    """The same episode with all times a multiple: later than the window of ages reaches back."""

    def later(step: Any) -> Any:
        times = {"now_us", "t_generated_us", "timestamp_ms"} & {f.name for f in fields(step)}
        return replace(step, **{name: getattr(step, name) * factor for name in times})

    return replace(script, steps=tuple(later(step) for step in script.steps))


@pytest.mark.parametrize("factor", [30, 100, 400])
def test_ages_agree_while_the_minute_of_the_estimate_passes(factor):
    """Messages every 3 to 40 s, over a fast clock: the estimate forgets what is a minute old."""
    parameters = radio(
        loss={"model": "independent", "by_distance": [{"distance_m": 0.0, "probability": 0.5}]},
        clock={"drift_sd_ppm": 300.0, "drift_limit_ppm": 900.0},
    )
    script = _stretched(write_script(replace(LONG, num_nodes=4, ticks=40)), factor)
    channel = open_channel(parameters, [script])
    (ours,) = play_on_channel(parameters, [script], channel=channel)
    agree(ours, play_on_oracle(script, parameters, clocks_of(channel))[0])
