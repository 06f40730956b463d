"""The rules of the air, each in a case small enough to be worked out by hand.

Every case is played by the oracle and by the channel: so the judge is judged, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from oracle.adapt import ALL_LOST, play_on_channel, radio
from oracle.script import NUM_FIELDS, Clear, Deliver, Script, Snapshot, Transmit, play_on_oracle

from ml.keyed_random import Stream, fold, uniform
from ml.vehicle import TICK_US

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = 77
AIR_US = 1_256
TIMES = {"h_tx_ms": 1.1, "h_rx_ms": 0.15, "difs_us": 50, "slot_us": 20, "vulnerable_us": 20}
QUIET = TIMES | {"wait_probability": 0.0, "cw": 0}  # DIFS and nothing more
DIRECT_US = 1_100 + 50 + AIR_US + 150
NO_RELAYS = {"max_hops": 0}
TIRELESS = {"max_hops": 3, "forward_probability": 1.0}
OPEN_RELAYS = TIRELESS | {"front_cone": False}
NEIGHBOURS_ONLY = {
    "model": "independent",
    "by_distance": [
        {"distance_m": 25.0, "probability": 0.0},
        {"distance_m": 26.0, "probability": 1.0},
    ],
}


@dataclass
class Story:
    """Builds a script slot by slot: ticks of {node: time of its slot within the tick}."""

    num_nodes: int
    headings_deg: tuple[float, ...] = ()
    spacing_m: float = 20.0
    present: tuple[bool, ...] = ()
    steps: list[Transmit | Deliver | Clear] = field(default_factory=list)
    ticks: int = 0

    def tick(
        self,
        slots_us: Mapping[int, int],
        *,
        timestamps_ms: Mapping[int, int] | None = None,
        deliver: bool = True,
    ) -> Story:
        """Let nodes have their slots, in microseconds of this tick; then deliver at its end."""
        n = self.num_nodes
        self.ticks += 1
        begin_us = (self.ticks - 1) * TICK_US
        generated_us = np.full(n, begin_us)
        for node, slot_us in slots_us.items():
            generated_us[node] += slot_us
        timestamp_ms = generated_us // 1000
        for node, at_ms in (timestamps_ms or {}).items():
            timestamp_ms[node] = at_ms
        xy_m = np.zeros((n, 2))
        xy_m[:, 0] = self.spacing_m * np.arange(n)
        payload = np.zeros((n, NUM_FIELDS))
        payload[:, :2] = xy_m
        payload[:, 3] = self.headings_deg or (90.0,) * n
        payload[:, 4] = self.ticks
        now_us = self.ticks * TICK_US
        sending = np.isin(np.arange(n), list(slots_us))
        self.steps.append(Transmit(now_us, sending, generated_us, timestamp_ms, payload, xy_m))
        return self.deliver(now_us) if deliver else self

    def deliver(self, now_us: int) -> Story:
        """Deliver at any time."""
        self.steps.append(Deliver(now_us))
        return self

    def script(self) -> Script:
        """What was told so far; nodes are named 0, 1, ... and the key is KEY."""
        there = self.present or (True,) * self.num_nodes
        return Script(KEY, tuple(range(self.num_nodes)), there, tuple(self.steps))


@pytest.fixture(params=["oracle", "channel"])
def play(request):
    """Play a story with sections of parameters; returns the snapshots."""

    def on_oracle(story: Story, **sections: Any) -> list[Snapshot]:
        return play_on_oracle(story.script(), radio(**sections))[0]

    def on_channel(story: Story, **sections: Any) -> list[Snapshot]:
        return play_on_channel(radio(**sections), [story.script()])[0]

    return on_oracle if request.param == "oracle" else on_channel


def arrivals(snapshot: Snapshot) -> dict[tuple[int, int], tuple[int, int, int]]:
    """(receiver, source) -> (seq, hops, arrival) of all that is held."""
    return {
        (int(r), int(s)): (
            int(snapshot.sequence[r, s]),
            int(snapshot.hops[r, s]),
            int(snapshot.received_us[r, s]),
        )
        for r, s in np.argwhere(snapshot.heard)
    }


def draw(stream: Stream, *parts: int) -> float:
    """The uniform draw of a key."""
    return float(uniform(fold(KEY, stream, *parts))[0])


def test_a_frame_alone_takes_the_sum_of_its_parts(play):
    """Slot, sender's delay, DIFS, air, receiver's delay: and not a microsecond before."""
    story = Story(3).tick({1: 40_000}, deliver=False)
    story.deliver(100_000).tick({})
    (first, _) = play(story, mac=QUIET, relay=NO_RELAYS)
    assert arrivals(first) == {(r, 1): (0, 0, 40_000 + DIRECT_US) for r in (0, 2)}
    late = Story(2).tick({1: 99_000}).deliver(99_000 + DIRECT_US + 1_000)
    before, after = play(late, mac=QUIET, relay=NO_RELAYS)
    assert arrivals(before) == {}
    assert arrivals(after) == {(0, 1): (0, 0, 99_000 + DIRECT_US)}
    for at_us, heard in ((99_000 + DIRECT_US - 1, False), (99_000 + DIRECT_US, True)):
        (_, edge) = play(Story(2).tick({1: 99_000}).deliver(at_us), mac=QUIET, relay=NO_RELAYS)
        assert edge.heard[0, 1] == heard


def test_payload_and_rate_set_the_time_on_the_air(play):
    """192 us and (43 + payload) bytes at the rate: 4,448 us for 90 bytes at 250 kb/s."""
    mac = QUIET | {"rate_kbps": 250.0}
    (only,) = play(Story(2).tick({1: 0}), mac=mac, relay=NO_RELAYS)
    assert arrivals(only) == {(0, 1): (0, 0, 1_100 + 50 + 4_448 + 150)}


def test_who_comes_while_the_medium_is_busy_waits_for_its_end(play):
    """The second frame starts a DIFS after the first one's end."""
    (only,) = play(Story(3).tick({1: 0, 2: 500}), mac=QUIET, relay=NO_RELAYS)
    first_end_us = 1_100 + 50 + AIR_US
    assert arrivals(only)[0, 1] == (0, 0, first_end_us + 150)
    assert arrivals(only)[0, 2] == (0, 0, first_end_us + 50 + AIR_US + 150)


def test_backoff_is_drawn_per_frame_and_goes_on_where_it_was_interrupted(play):
    """Slots counted down before another frame began need not be counted again after it."""
    mac = TIMES | {"wait_probability": 0.0, "cw": 31, "vulnerable_us": 0}
    slots = {j: math.floor(draw(Stream.MAC_BACKOFF, j, j, 0) * 32) for j in (1, 2)}
    assert slots[1] != slots[2]
    early, late = sorted(slots, key=slots.__getitem__)
    (only,) = play(Story(3).tick({1: 0, 2: 0}), mac=mac, relay=NO_RELAYS)
    start_us = 1_150 + 20 * slots[early]
    end_us = start_us + AIR_US
    assert arrivals(only)[0, early] == (0, 0, end_us + 150)
    left = slots[late] - slots[early]
    assert arrivals(only)[0, late] == (0, 0, end_us + 50 + 20 * left + AIR_US + 150)


def test_some_frames_wait_in_the_sender(play):
    """With probability p a frame is ready later, by an exponential time of its own draw."""
    mac = TIMES | {"wait_probability": 0.5, "wait_mean_ms": 4.0, "cw": 0}
    story = Story(2)
    for _ in range(12):
        story.tick({1: 20_000})
    waited = 0
    for k, snapshot in enumerate(play(story, mac=mac, relay=NO_RELAYS)):
        u = draw(Stream.MAC_WAIT, 1, 1, k)
        wait_us = round(-4_000.0 * math.log(1.0 - u / 0.5)) if u < 0.5 else 0
        waited += wait_us > 0
        at_us = k * TICK_US + 20_000 + wait_us + DIRECT_US
        assert arrivals(snapshot) == {(0, 1): (k, 0, at_us)}
    assert 2 <= waited <= 10


@pytest.mark.parametrize(("apart_us", "collide"), [(0, True), (19, True), (20, False)])
def test_frames_that_start_together_are_lost_for_everybody(play, apart_us, collide):
    """Within the vulnerable time nobody hears the other begin; both are lost, the next waits."""
    story = Story(4).tick({1: 1_000, 2: 1_000 + apart_us, 3: 1_500})
    (only,) = play(story, mac=QUIET, relay=NO_RELAYS)
    start_us = 1_000 + 1_150
    if collide:
        busy_until_us = start_us + apart_us + AIR_US
        assert set(arrivals(only)) == {(r, 3) for r in (0, 1, 2)}
        assert arrivals(only)[0, 3] == (0, 0, busy_until_us + 50 + AIR_US + 150)
    else:
        # Node 2 waits until the first frame's end, and so does node 3: now these two collide.
        assert set(arrivals(only)) == {(r, 1) for r in (0, 2, 3)}


def test_a_relay_leaves_in_the_relayers_own_next_slot(play):
    """Node 1 hears node 2 and passes it on after its own next frame, a hop older each time."""
    story = Story(4).tick({3: 50_000, 2: 10_000, 1: 30_000})
    for _ in range(2):
        story.tick({3: 50_000, 2: 10_000, 1: 30_000})
    sections = {"loss": NEIGHBOURS_ONLY, "mac": QUIET, "relay": TIRELESS}
    first, second, third = play(story, **sections)
    assert arrivals(first)[2, 3] == (0, 0, 50_000 + DIRECT_US)
    assert (1, 3) not in arrivals(first)
    # The relay starts a DIFS after the relayer's own frame.
    after_own_us = DIRECT_US + 50 + AIR_US
    assert arrivals(second)[1, 3] == (0, 1, TICK_US + 10_000 + after_own_us)
    # Node 1 hears it before its own slot at 30 ms and passes it on, after node 2's own message.
    frames_before = 2
    at_us = TICK_US + 30_000 + DIRECT_US + frames_before * (50 + AIR_US)
    assert arrivals(second)[0, 3] == (0, 2, at_us)
    assert arrivals(third)[0, 3] == (1, 2, at_us + TICK_US)
    # In the first tick node 1 had not sent yet, and so did not know what lies ahead.
    assert (0, 2) not in arrivals(first)
    assert arrivals(second)[0, 2] == (1, 1, TICK_US + 30_000 + after_own_us)
    shorter = sections | {"relay": TIRELESS | {"max_hops": 1}}
    assert (0, 3) not in arrivals(play(story, **shorter)[-1])
    assert arrivals(play(story, **shorter)[-1])[1, 3][1] == 1


def test_a_relay_waits_while_its_relayer_is_silent(play):
    """No own frame, no relay: it leaves with the next own frame, however late."""
    story = Story(3).tick({1: 0, 2: 50_000}).tick({}).tick({}).tick({1: 60_000})
    *silent, last = play(story, loss=NEIGHBOURS_ONLY, mac=QUIET, relay=OPEN_RELAYS)
    assert all((0, 2) not in arrivals(snapshot) for snapshot in silent)
    at_us = 3 * TICK_US + 60_000 + DIRECT_US + 50 + AIR_US
    assert arrivals(last)[0, 2] == (0, 1, at_us)


def test_a_relay_works_for_a_while_and_is_idle_for_a_while(play):
    """Node 1 passes on all of node 2's messages of a spell, or none, as its one draw for it says.

    Its share of the time is its own: the mean, give or take what the spread allows.
    """
    mean, spread, spell_us = 0.5, 0.3, 700_000
    story = Story(3).tick({1: 10_000})
    for _ in range(90):
        story.tick({1: 10_000, 2: 50_000})
    times = {"forward_spread": spread, "forward_time_s": spell_us / 1e6}
    relay = OPEN_RELAYS | times | {"forward_probability": mean}
    snapshots = play(story, loss=NEIGHBOURS_ONLY, mac=QUIET, relay=relay)
    share = mean + (2.0 * draw(Stream.RELAYING, 1, 1) - 1.0) * spread
    begun_us = int(draw(Stream.RELAYING, 1, 2) * spell_us)
    works = [
        draw(Stream.RELAYING, 1, 0, (k * TICK_US + 10_000 + begun_us) // spell_us) < share
        for k in range(2, 91)
    ]
    held = [arrivals(snapshot).get((0, 2), (-1,))[0] for snapshot in snapshots[1:]]
    assert [now > before for before, now in pairwise(held)] == works
    assert 0.2 < np.mean(works) < 0.8
    assert 4 < np.count_nonzero(np.diff(works)) < 20
    never = play(story, loss=NEIGHBOURS_ONLY, mac=QUIET, relay=relay | {"forward_probability": 0.0})
    assert (0, 2) not in arrivals(never[-1])


def test_only_what_lies_ahead_is_relayed_with_the_front_cone(play):
    """Node 1 passes node 2 on if it drives towards it, and not if it drives away."""
    for heading_deg, half_deg, relayed in (
        (90.0, 90.0, True),
        (270.0, 90.0, False),
        (270.0, 180.0, True),
        (40.0, 60.0, True),
        (20.0, 60.0, False),
        (359.0, 90.0, False),
        (1.0, 90.0, True),
    ):
        story = Story(3, headings_deg=(90.0, heading_deg, 90.0))
        story.tick({1: 10_000, 2: 50_000}).tick({1: 10_000})
        relay = TIRELESS | {"cone_half_angle_deg": half_deg}
        last = play(story, loss=NEIGHBOURS_ONLY, mac=QUIET, relay=relay)[-1]
        assert ((0, 2) in arrivals(last)) == relayed, heading_deg


def test_without_a_mac_frames_go_on_the_air_at_once_and_never_collide(play):
    """All nodes of one instant are heard after the fixed latency."""
    story = Story(4).tick({0: 7, 1: 7, 2: 7, 3: 8})
    mac = {"enabled": False, "fixed_latency_ms": 2.5}
    (only,) = play(story, mac=mac, relay=NO_RELAYS)
    assert arrivals(only) == {
        (r, s): (0, 0, 2_507 + (s == 3)) for r in range(4) for s in range(1, 4) if r != s
    }
    assert arrivals(play(story, mac={"enabled": False}, relay=NO_RELAYS)[0])[0, 1] == (0, 0, 7)


@pytest.mark.parametrize(("ego_us", "last_seq"), [(10_000, 14), (30_000, 15)])
def test_a_full_queue_drops_what_comes(play, ego_us, last_seq):
    """A board has 32 transmit buffers: the own frame and 31 relays fit, the others are gone.

    Node 2 and the ego talk in turn, 16 times, while node 1 only listens: 32 messages wait for its
    slot. Of the 31 that fit, 15 are node 2's if the ego was first, else 16.
    """
    story = Story(3, spacing_m=20.0).tick({1: 0})
    for _ in range(16):
        story.tick({0: ego_us, 2: 20_000})
    story.tick({1: 0}).tick({}).tick({})
    last = play(story, loss=NEIGHBOURS_ONLY, mac=QUIET, relay=OPEN_RELAYS)[-1]
    assert arrivals(last)[0, 2][:2] == (last_seq, 1)


def test_a_relay_of_a_message_that_left_the_store_is_dropped(play):
    """Sixteen messages a source are remembered; an older one in a buffer does not leave."""
    for ticks, relayed in ((14, True), (15, True), (16, False)):
        story = Story(3).tick({1: 0, 2: 20_000}, timestamps_ms={2: 90_000})
        for k in range(ticks):
            # Collisions with the ego keep node 1 from hearing any later message.
            story.tick({0: 20_000, 2: 20_000}, timestamps_ms={2: 89_500 - k})
        story.tick({1: 0})
        last = play(story, loss=NEIGHBOURS_ONLY, mac=QUIET, relay=OPEN_RELAYS)[-1]
        assert ((0, 2) in arrivals(last)) == relayed, ticks


def test_whatever_is_lost_is_not_heard(play):
    """Loss 1 in each model: nobody holds anything."""
    knot = {"distance_m": 0.0, "probability": 1.0}
    for loss in (
        ALL_LOST,
        {"model": "gilbert_elliott", "by_distance": [knot | {"mean_burst_frames": 2.0}]},
        {"model": "margin", "floor_loss": 1.0, "margin_20m_db": 80.0},
    ):
        story = Story(4)
        for _ in range(5):
            story.tick(dict.fromkeys(range(4), 10_000) | {2: 40_000})
        for snapshot in play(story, loss=loss, relay=OPEN_RELAYS):
            assert not snapshot.heard.any()
            assert not snapshot.received_us.any()
