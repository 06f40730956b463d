"""What holds for every episode: the same bits in every run, batch and order, and causality."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from oracle.adapt import (
    CROWD,
    EVERYTHING,
    EXACT,
    NO_OBSTRUCTION,
    assert_same,
    begin_episodes,
    heard_bytes,
    open_channel,
    play,
    play_on_channel,
    radio,
)
from oracle.radios_at_random import losses, radios
from oracle.script import Deliver, Script, Snapshot, Transmit
from oracle.scripts_at_random import styles, write_script


def test_the_episode_that_the_identities_are_shown_on_is_a_busy_one():
    """Relayed, out of order and lossy: an identity of silence would show nothing."""
    (snapshots,) = play(EVERYTHING, write_script(CROWD))
    last = snapshots[-1]
    assert last.heard.mean() > 0.5
    assert len(np.unique(last.hops[last.heard])) > 1
    assert len(np.unique(np.stack([s.received_us for s in snapshots]))) > 250


def test_runs_and_processes_hear_the_same():
    """Twice in this process, and once in a spawned one: the same bits."""
    first, second = heard_bytes(4), heard_bytes(4)
    assert first == second
    assert first != heard_bytes(5)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(heard_bytes, (4,)).get(timeout=300.0) == first


def _batch(size: int, **changes: Any) -> list[Script]:
    """Convoys with times in common, and places, words, senders and keys of their own."""
    first = write_script(replace(CROWD, odd_delivers=False, **changes))
    scripts = [first]
    for env in range(1, size):
        rng = np.random.default_rng(env)
        there = tuple(bool(p) for p in rng.permutation(first.present))
        steps = tuple(
            replace(
                step,
                sending=np.array(there) & (rng.random(first.num_nodes) < 0.9),
                xy_m=step.xy_m + rng.normal(0.0, 10.0, step.xy_m.shape),
                payload=step.payload + rng.normal(0.0, 10.0, step.payload.shape) % 1.0,
            )
            if isinstance(step, Transmit)
            else step
            for step in first.steps
        )
        keys = tuple(int(k) for k in rng.permutation(40)[: first.num_nodes])
        scripts.append(Script(first.key + env, keys, there, steps))
    return scripts


def test_a_convoy_hears_the_same_alone_and_in_any_batch():
    """Alone, among 3 and among 16, in any place: the same bits."""
    scripts = _batch(16)
    together = play(EVERYTHING, *scripts)
    for env in (0, 7, 15):
        assert_same(play(EVERYTHING, scripts[env])[0], together[env])
    three = play(EVERYTHING, scripts[15], scripts[3], scripts[0])
    for place, env in enumerate((15, 3, 0)):
        assert_same(three[place], together[env])
    with pytest.raises(AssertionError):
        assert_same(together[0], together[1])


@EXACT
@given(sections=radios(), style=styles())
def test_an_episode_leaves_nothing_behind_for_the_next(sections, style):
    """After a reset everything is as on a new channel, whatever happened before it."""
    parameters, script = radio(**sections), write_script(style)
    (fresh,) = play_on_channel(parameters, [script])
    channel = open_channel(parameters, [replace(script, key=script.key ^ 1)])
    play_on_channel(parameters, [script], channel=channel)
    begin_episodes(channel, [script])
    (again,) = play_on_channel(parameters, [script], channel=channel)
    assert_same(again, fresh)


@EXACT
@given(
    sections=radios(),
    style=styles(),
    order_seed=st.integers(0, 10**6),
)
def test_the_order_of_the_vehicles_changes_nothing(sections, style, order_seed):
    """Nodes written in other columns, by the same names, hear the same.

    Exactly so unless the place in the row is part of the physics: obstruction is off. And two
    boards that do the same at the same microsecond are served in the order of their columns, so
    the slots differ, and with `vulnerable_us` 0 (a tie goes to the lower column) it is left out.
    """
    loss = sections["loss"]
    if loss["model"] == "margin":
        loss = loss | NO_OBSTRUCTION
    assume(sections["mac"].get("vulnerable_us", 1) > 0)
    script = _with_slots_apart(write_script(replace(style, phases="spread")))
    order = np.random.default_rng(order_seed).permutation(script.num_nodes)
    sections = sections | {"loss": loss}
    (ours,) = play(sections, script)
    (others,) = play(sections, script.reordered(order))
    for one, other in zip(ours, others, strict=True):
        for name in Snapshot.ARRAYS:
            expected = getattr(one, name)[order][:, order]
            got = getattr(other, name).copy()
            # Nobody records what node 0 says: leave both out.
            unrecorded = (order == 0) | (np.arange(len(order)) == 0)
            assert np.array_equal(got[:, ~unrecorded], expected[:, ~unrecorded]), name


def _with_slots_apart(script: Script) -> Script:
    """Give slots that fall on one microsecond one each, in the order that they would have had."""

    def apart(step: Transmit) -> Transmit:
        at_us = step.t_generated_us
        if len(np.unique(at_us)) == len(at_us):
            return step
        ranks = np.argsort(np.argsort(at_us, kind="stable"))
        return replace(step, t_generated_us=np.minimum(at_us.min() + ranks, step.now_us))

    steps = tuple(apart(step) if isinstance(step, Transmit) else step for step in script.steps)
    return replace(script, steps=steps)


@EXACT
@given(loss=losses(), latency_ms=st.sampled_from((0.0, 3.0)), style=styles(), share=st.floats(0, 1))
def test_removing_a_node_changes_no_other_link(loss, latency_ms, style, share):
    """Without contention, relays and obstruction all other links lose and receive the same.

    Exactly so with `mac.enabled` false, `relay.max_hops` 0 and, in the margin model, no loss by
    cars in between: the only three ways in which one node can matter to the link of two others.
    """
    if loss["model"] == "margin":
        loss = loss | NO_OBSTRUCTION
    sections = {
        "loss": loss,
        "mac": {"enabled": False, "fixed_latency_ms": latency_ms},
        "relay": {"max_hops": 0},
    }
    script = write_script(replace(style, num_nodes=max(3, style.num_nodes)))
    gone = 1 + int(share * (script.num_nodes - 2))
    keep = np.arange(script.num_nodes) != gone
    absent = replace(
        script, present=tuple(p and bool(k) for p, k in zip(script.present, keep, strict=True))
    )
    silent = replace(
        absent,
        steps=tuple(
            replace(step, sending=step.sending & keep) if isinstance(step, Transmit) else step
            for step in absent.steps
        ),
    )
    (full,) = play(sections, script)
    (fewer,) = play(sections, script.without(gone))
    (muted,) = play(sections, silent)
    for all_, without, mute in zip(full, fewer, muted, strict=True):
        for name in Snapshot.ARRAYS:
            expected = getattr(all_, name)[keep][:, keep]
            assert np.array_equal(getattr(without, name), expected), name
            assert np.array_equal(getattr(mute, name)[keep][:, keep], expected), name


@EXACT
@given(sections=radios(), style=styles(), chosen=st.sets(st.integers(0, 9), min_size=1))
def test_recording_fewer_receivers_changes_nothing(sections, style, chosen):
    """Who writes down is not who hears: any subset records what it would record among all."""
    parameters, script = radio(**sections), write_script(style)
    receivers = sorted({node % script.num_nodes for node in chosen})
    (full,) = play_on_channel(parameters, [script])
    channel = open_channel(parameters, [script], receivers=receivers)
    (some,) = play_on_channel(parameters, [script], channel=channel)
    for one, other in zip(full, some, strict=True):
        for name in Snapshot.ARRAYS:
            assert np.array_equal(getattr(one, name)[receivers], getattr(other, name)), name


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


@EXACT
@given(sections=radios(), style=styles())
def test_nothing_is_seen_before_it_arrived_or_sent_before_it_was_sampled(sections, style):
    """At every deliver: sampled <= arrived <= now, and ages follow from that."""
    for snapshot in play(sections, write_script(style))[0]:
        heard = snapshot.heard
        assert (snapshot.t_generated_us <= snapshot.received_us)[heard].all()
        assert (snapshot.received_us[heard] <= snapshot.now_us).all()
        assert not heard[np.eye(len(heard), heard.shape[1], dtype=bool)].any()


# The ends: nothing lost, everything lost.


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
