"""What holds exactly for every episode, whatever the radio: causality, and the ends of loss."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.adapt import play_on_channel, radio
from oracle.exactly import CROWD, EXACT, assert_same, play
from oracle.radios_at_random import losses, macs, radios
from oracle.script import NUM_FIELDS, Deliver, Script, Snapshot, Transmit
from oracle.scripts_at_random import TICK_US, styles, write_script


def _later_is_different(script: Script, first_changed: int, seed: int) -> Script:
    """Change positions, payloads and who sends in every transmit from a step on."""
    rng = np.random.default_rng(seed)
    n = script.num_nodes

    def changed(step: Transmit) -> Transmit:
        return replace(
            step,
            sending=np.array(script.present) & (rng.random(n) < 0.5),
            timestamp_ms=step.timestamp_ms + rng.integers(-2_000, 2_000, n),
            payload=step.payload + rng.normal(0.0, 50.0, step.payload.shape),
            xy_m=step.xy_m + rng.normal(0.0, 50.0, step.xy_m.shape),
        )

    steps = tuple(
        changed(step) if k >= first_changed and isinstance(step, Transmit) else step
        for k, step in enumerate(script.steps)
    )
    return replace(script, steps=steps)


@EXACT
@given(sections=radios(), style=styles(), share=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_what_comes_later_changes_nothing_seen_before(sections, style, share, seed):
    """Another future after any call leaves every earlier table as it was.

    The tables are read as late as can be: after what comes next was transmitted, which must make
    nothing visible before it is delivered.
    """
    parameters, script = radio(**sections), write_script(style)
    cut = int(share * len(script.steps))
    (ours,) = play_on_channel(parameters, [script])
    changed = _later_is_different(script, cut, seed)
    (others,) = play_on_channel(parameters, [changed], late=True)
    seen = sum(isinstance(step, Deliver) for step in script.steps[:cut])
    assert_same(ours[:seen], others[:seen])


def _later_slots_are_different(script: Script, t_us: int) -> Script:
    """Change what is said, and by whom, in the slots after a time, also within one transmit."""

    def changed(step: Transmit) -> Transmit:
        later = step.t_generated_us > t_us
        return replace(
            step,
            sending=step.sending & ~(later & (np.arange(script.num_nodes) % 2 == 0)),
            timestamp_ms=np.where(later, step.timestamp_ms - 700, step.timestamp_ms),
            payload=np.where(later[:, None], -step.payload[::-1], step.payload) % 360.0,
        )

    return replace(
        script,
        steps=tuple(changed(step) if isinstance(step, Transmit) else step for step in script.steps),
    )


@settings(EXACT, max_examples=300)
@given(
    loss=losses().filter(lambda loss: loss["model"] != "gilbert_elliott"),
    sections=radios().filter(lambda sections: sections["mac"].get("payload_bytes") != 1470),
    style=styles(),
    share=st.floats(0.1, 0.9),
)
def test_later_slots_of_the_same_call_change_nothing_that_arrived_before(
    loss, sections, style, share
):
    """What arrived by t stays the same if slots after t say something else, or nothing.

    Many slots are handed over before one deliver, each with a time of its own; the simulation
    must not let the later ones of them touch what happens before. Not so for the states of the
    Gilbert-Elliott chain and for what falls out of the store while it waits for a slow medium:
    both move at the call by rule.
    """
    script = write_script(replace(style, share_skipped=0.7))
    t_us = int(share * style.ticks * TICK_US)
    sections = sections | {"loss": loss}
    # The payload is taken modulo 360 for both, so that they differ in the later slots alone.
    (ours,) = play(sections, _later_slots_are_different(script, 10**12))
    (others,) = play(sections, _later_slots_are_different(script, t_us))
    for one, other in zip(ours, others, strict=True):
        by_then = [s.heard & (s.received_us <= t_us) for s in (one, other)]
        # A cell that was overwritten since by a later arrival says nothing.
        rewritten = [s.heard & (s.received_us > t_us) for s in (one, other)]
        open_cells = ~(rewritten[0] | rewritten[1])
        assert np.array_equal(by_then[0] & open_cells, by_then[1] & open_cells)
        both = by_then[0] & by_then[1]
        for name in set(Snapshot.ARRAYS) - {"age_est_ms"}:
            assert np.array_equal(getattr(one, name)[both], getattr(other, name)[both]), name


@EXACT
@given(sections=radios(), style=styles())
def test_nothing_is_seen_before_it_arrived_or_sent_before_it_was_sampled(sections, style):
    """At every deliver: sampled <= arrived <= now, and ages follow from that."""
    for snapshot in play(sections, write_script(style))[0]:
        heard = snapshot.heard
        assert (snapshot.t_generated_us <= snapshot.received_us)[heard].all()
        assert (snapshot.received_us[heard] <= snapshot.now_us).all()
        assert not heard[np.eye(len(heard), heard.shape[1], dtype=bool)].any()


# Newest wins; doubles change nothing.


@EXACT
@given(
    order=st.lists(st.integers(0, 9), min_size=1, max_size=14), mac=macs(), hops=st.integers(0, 3)
)
def test_the_newest_wins_in_whatever_order_messages_come(order, mac, hops):
    """The table holds the largest timestamp that came, and of equal ones the first."""
    steps: list[Transmit | Deliver] = []
    for k, place in enumerate(order):
        generated_us = np.array([k * 10 * TICK_US, k * 10 * TICK_US])
        payload = np.full((2, NUM_FIELDS), float(k))
        now_us = (k * 10 + 1) * TICK_US
        timestamps_ms = np.array([0, 50_000 + 100 * place])
        sending = np.array([False, True])
        steps.append(
            Transmit(now_us, sending, generated_us, timestamps_ms, payload, np.zeros((2, 2)))
        )
        steps.append(Deliver(now_us + 8 * TICK_US))
    script = Script(3, (0, 1), (True, True), tuple(steps))
    mac = mac | {"h_tx_ms": 1.1, "wait_mean_ms": 3.0} if mac.get("enabled", True) else mac
    (snapshots,) = play({"mac": mac, "relay": {"max_hops": hops}}, script)
    for k, snapshot in enumerate(snapshots):
        best = max(range(k + 1), key=lambda i: (order[i], -i))
        assert snapshot.sequence[0, 1] == best
        assert snapshot.payload[0, 1, 0] == float(best)
        assert snapshot.timestamp_ms[0, 1] == 50_000 + 100 * order[best]


def test_relays_of_what_is_known_change_nothing():
    """Without loss everybody has every message by the direct way before any relay of it.

    The relays cannot touch what is held: neither hops nor time of arrival nor payload.
    """
    quiet = {"enabled": False, "fixed_latency_ms": 0.0}
    late = {"enabled": False, "fixed_latency_ms": 170.0}
    for mac in (quiet, late):
        script = write_script(replace(CROWD, reboots=False))
        (relayed,) = play({"mac": mac, "relay": {"max_hops": 3, "front_cone": False}}, script)
        (direct,) = play({"mac": mac, "relay": {"max_hops": 0}}, script)
        assert_same(relayed, direct)
        assert relayed[-1].heard.sum() > 30


@EXACT
@given(sections=radios(), style=styles())
def test_what_is_held_of_a_message_never_changes(sections, style):
    """Further copies of it leave hops, time of arrival and payload as the first one set them."""
    snapshots = play(sections, write_script(replace(style, clears=False)))[0]
    for before, after in pairwise(snapshots):
        same = before.heard & after.heard & (before.sequence == after.sequence)
        assert (after.heard | ~before.heard).all()
        for name in set(Snapshot.ARRAYS) - {"age_est_ms"}:
            assert np.array_equal(getattr(before, name)[same], getattr(after, name)[same]), name


# The ends: nothing lost, everything lost.


@EXACT
@given(style=styles(), front_cone=st.booleans(), hops=st.sampled_from((0, 3)))
def test_without_loss_and_latency_everybody_holds_the_truth_at_its_phase(style, front_cone, hops):
    """Each receiver holds each node's last beacon as sent, since the moment it was sampled."""
    sections = {
        "mac": {"enabled": False, "fixed_latency_ms": 0.0},
        "relay": {"max_hops": hops, "front_cone": front_cone},
    }
    script = write_script(replace(style, reboots=False, clears=False, share_skipped=0.0))
    (snapshots,) = play(sections, script)
    latest: dict[int, tuple[int, np.ndarray]] = {}
    delivers = iter(snapshots)
    for step in script.steps:
        if isinstance(step, Transmit):
            for j in np.flatnonzero(step.sending):
                latest[int(j)] = int(step.t_generated_us[j]), step.payload[j]
            continue
        snapshot = next(delivers)
        for r, s in np.ndindex(snapshot.heard.shape):
            expected = s in latest and s not in {0, r} and script.present[r]
            assert snapshot.heard[r, s] == expected
            if expected:
                assert snapshot.t_generated_us[r, s] == latest[s][0]
                assert snapshot.received_us[r, s] == latest[s][0]
                assert snapshot.hops[r, s] == 0
                assert np.array_equal(snapshot.payload[r, s], latest[s][1])


@EXACT
@given(sections=radios(), style=styles())
def test_with_loss_one_nobody_hears_anything(sections, style):
    """The mask is empty in every model, with every MAC, relays or not."""
    knot = {"distance_m": 0.0, "probability": 1.0}
    loss = sections["loss"]
    if loss["model"] == "margin":
        loss = loss | {"floor_loss": 1.0}
    elif loss["model"] == "gilbert_elliott":
        loss = loss | {"by_distance": [knot | {"mean_burst_frames": 1.5}]}
    else:
        loss = loss | {"by_distance": [knot]}
    for snapshot in play(sections | {"loss": loss}, write_script(style))[0]:
        for name in Snapshot.ARRAYS:
            assert not getattr(snapshot, name).any()


@EXACT
@given(sections=radios(), style=styles(), quantise=st.booleans())
def test_all_receivers_hold_the_same_bytes_of_a_message(sections, style, quantise):
    """A message is rounded and stamped once, at its source: every copy of it is the same."""
    said: dict[tuple[int, int], tuple[bytes, ...]] = {}
    script = write_script(style)
    sections = sections | {"wire": {"quantise": quantise}}
    for snapshot in play(sections, script)[0]:
        for r, s in np.argwhere(snapshot.heard):
            copy = tuple(
                getattr(snapshot, name)[r, s].tobytes()
                for name in ("payload", "timestamp_ms", "t_generated_us")
            )
            assert said.setdefault((s, int(snapshot.sequence[r, s])), copy) == copy
    counts = [0] * script.num_nodes
    for step in script.steps:
        if not isinstance(step, Transmit):
            continue
        for j in np.flatnonzero(step.sending):
            held = said.get((j, counts[j]))
            counts[j] += 1
            if held is not None:
                assert held[1] == step.timestamp_ms[j].tobytes()
                assert held[2] == step.t_generated_us[j].tobytes()
                assert (held[0] == step.payload[j].tobytes()) == (not quantise)
                # Degrees in float32 are exact to a quarter of a metre; half of that on average.
                assert np.allclose(np.frombuffer(held[0]), step.payload[j], atol=0.5)
