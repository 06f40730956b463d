"""Convoys of every kind, drawn by hypothesis: what is called when, and with what."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from ml.vehicle import TICK_US
from oracle.script import NUM_FIELDS, Clear, Deliver, Script, Transmit

if TYPE_CHECKING:
    from numpy.typing import NDArray

PHASES = ("spread", "half a millisecond", "equal", "edges", "leapfrog")
LAYOUTS = ("row", "close row", "scattered")


@dataclass(frozen=True)
class Style:
    """What kind of episode; the details are drawn from `seed`.

    Attributes:
        num_nodes: N.
        ticks: Calls of `transmit`.
        phases: How the slots of a tick lie; one of PHASES.
        layout: Where the cars are; one of LAYOUTS.
        share_sending: Of the nodes that are there, in each tick.
        absent: How many nodes are never there.
        two_calls: Sometimes two transmits of one moment, of different senders and places.
        odd_delivers: Also deliver between ticks, and slots never before the last deliver.
        share_skipped: Of the delivers at the ends of ticks.
        reboots: Timestamps jump now and then, by less and by more than a second, or stand still.
        clears: Boards go off and on once.
        seed: Of everything else.
    """

    num_nodes: int
    ticks: int
    phases: str
    layout: str
    share_sending: float
    absent: int
    two_calls: bool
    odd_delivers: bool
    share_skipped: float
    reboots: bool
    clears: bool
    seed: int


@st.composite
def styles(draw: st.DrawFn, *, ticks: tuple[int, ...] = (3, 20, 30, 40)) -> Style:
    """Any style of episode, of one of the given lengths."""
    # Samples, where numbers would mostly be drawn small.
    num_nodes = draw(st.sampled_from((2, 3, 4, 5, 6, 7, 8, 9, 10, 10)))
    return Style(
        num_nodes=num_nodes,
        ticks=draw(st.sampled_from(ticks)),
        phases=draw(st.sampled_from(PHASES)),
        layout=draw(st.sampled_from(LAYOUTS)),
        share_sending=draw(st.sampled_from((1.0, 1.0, 0.8, 0.3))),
        absent=draw(st.sampled_from((0, 0, min(2, num_nodes - 2)))),
        two_calls=draw(st.sampled_from((False, False, True))),
        odd_delivers=draw(st.booleans()),
        share_skipped=draw(st.sampled_from((0.0, 0.0, 0.0, 0.3, 1.0))),
        reboots=draw(st.booleans()),
        clears=draw(st.sampled_from((False, False, True))),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def write_script(style: Style) -> Script:
    """Write the episode of a style down."""
    rng = np.random.default_rng(style.seed)
    n = style.num_nodes
    present = np.ones(n, dtype=bool)
    present[rng.choice(n, style.absent, replace=False)] = False
    phase_us = _phases_us(style.phases, n, rng)
    places = _Places(style.layout, n, rng)
    jumps_ms = np.zeros(n, dtype=np.int64)
    steps: list[Transmit | Deliver | Clear] = []
    last_deliver_us = 0
    for k in range(1, style.ticks + 1):
        now_us = k * TICK_US
        if style.phases == "leapfrog":
            phase_us = _phases_us("leapfrog", n, rng)
        generated_us = np.maximum((k - 1) * TICK_US + phase_us, last_deliver_us)
        if style.reboots:
            jumps_ms += np.where(rng.random(n) < 0.1, rng.integers(-3_000, 1_000, n), 0)
            jumps_ms -= np.where(rng.random(n) < 0.1, TICK_US // 1000, 0)
        xy_m, payload = places.at(k)
        step = Transmit(
            now_us=now_us,
            sending=present & (rng.random(n) < style.share_sending),
            t_generated_us=generated_us,
            timestamp_ms=generated_us // 1000 + jumps_ms,
            payload=payload,
            xy_m=xy_m,
        )
        if style.two_calls and rng.random() < 0.5:
            early = rng.random(n) < 0.5
            elsewhere_m = xy_m + rng.normal(0.0, 5.0, (n, 2))
            steps.append(replace(step, sending=step.sending & early, xy_m=elsewhere_m))
            step = replace(step, sending=step.sending & ~early)
        steps.append(step)
        if rng.random() < style.share_skipped:
            continue
        last_deliver_us = now_us
        steps.append(Deliver(last_deliver_us))
        if style.clears and k == style.ticks // 2:
            steps.append(Clear())
        while style.odd_delivers and rng.random() < 0.5:
            last_deliver_us += int(rng.integers(0, 40_000))
            if last_deliver_us >= now_us + TICK_US:
                last_deliver_us = now_us + TICK_US - 1
            steps.append(Deliver(last_deliver_us))
    steps.append(Deliver(max(last_deliver_us, style.ticks * TICK_US) + 7_777))
    names = tuple(int(name) for name in rng.permutation(3 * n)[:n])
    there = tuple(bool(p) for p in present)
    return Script(int(rng.integers(0, 2**63)), names, there, tuple(steps))


def _phases_us(kind: str, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Each node's slot within a tick, in [0, TICK_US]."""
    if kind == "half a millisecond":
        return int(rng.integers(0, TICK_US - 500)) + rng.integers(0, 500, n)
    if kind == "equal":
        return np.full(n, int(rng.integers(0, TICK_US)))
    if kind == "edges":
        return rng.choice(np.array([0, 1, TICK_US - 1, TICK_US]), n)
    return rng.integers(0, TICK_US, n)


class _Places:
    """Cars on their way: true positions, and what they say about themselves."""

    def __init__(self, layout: str, n: int, rng: np.random.Generator) -> None:
        self._rng = rng
        # Some keep their distances, some do not, and some stand.
        together_mps = rng.uniform(0.0, 35.0)
        self._speed_mps = together_mps + rng.uniform(-1.0, 1.0, n) * rng.choice([0.0, 3.0])
        self._speed_mps *= rng.random(n) < rng.choice([1.0, 0.5, 0.0])
        if layout == "scattered":
            self._start_m = rng.uniform(-150.0, 150.0, (n, 2))
        else:
            spacing_m = 6.0 if layout == "close row" else rng.uniform(10.0, 60.0)
            self._start_m = np.stack([spacing_m * np.arange(n), rng.normal(0.0, 1.0, n)], axis=1)
        random_heading = rng.uniform(0.0, 360.0, n)
        self._heading_deg = random_heading if layout == "scattered" else np.full(n, 90.0)

    def at(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions (N, 2) and payloads (N, F) at tick k."""
        n = len(self._start_m)
        xy_m = self._start_m.copy()
        xy_m[:, 0] += 0.1 * k * self._speed_mps
        payload = np.zeros((n, NUM_FIELDS))
        payload[:, :2] = xy_m + self._rng.normal(0.0, 2.0, (n, 2))
        payload[:, 2] = self._speed_mps
        payload[:, 3] = (self._heading_deg + self._rng.normal(0.0, 3.0, n)) % 360.0
        payload[:, 4] = self._rng.normal(0.0, 1.0, n)
        payload[:, 5] = 2.0
        return xy_m, payload
