"""Who hears whom: the state of every link, moved once a transmit, and p_ok of a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ml.espnow_emulator import GilbertElliottLoss, IndependentLoss, MarginLoss
from ml.keyed_random import Stream, extend_one, normal_pair_one, uniform_one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Point = tuple[float, float]
_FAR_M = 80.0
_NEAREST_M = 3.0
_BREAK_M = 60.0
_TABLE_MARGINS_DB = np.linspace(-60.0, 80.0, 1401)


def draw_uniform(key: int, *parts: int) -> float:
    """One uniform draw in [0, 1) of a key and what it is for: `uniform(fold(key, *parts))`."""
    return uniform_one(_folded(key, parts))


def draw_normal(key: int, *parts: int) -> float:
    """One standard normal draw: `normal(fold(key, *parts))`."""
    return normal_pair_one(_folded(key, parts))[0]


def _folded(key: int, parts: tuple[int, ...]) -> np.uint64:
    # A compiled function hands back a plain int, which would be signed at the next call.
    state = np.uint64(extend_one(np.uint64(key), 0))
    for part in parts:
        state = np.uint64(extend_one(state, int(part)))
    return state


@dataclass(frozen=True)
class Scene:
    """Where everybody is at the last transmit, and who is there at all."""

    now_us: int
    xy_m: tuple[Point, ...]
    present: tuple[bool, ...]

    def distance_m(self, i: int, j: int) -> float:
        """Between two nodes."""
        (a, b), (c, d) = self.xy_m[i], self.xy_m[j]
        return math.sqrt((a - c) * (a - c) + (b - d) * (b - d))

    def cars_between(self, i: int, j: int) -> int:
        """Present nodes whose place in the row lies between."""
        low, high = min(i, j), max(i, j)
        return sum(self.present[low + 1 : high])


class LinkModel(Protocol):
    """One model of loss."""

    def move(self, scene: Scene, numbers: Sequence[int | None]) -> None:
        """Bring the states of all links to the time and places of the scene.

        Args:
            scene: Where everybody is now.
            numbers: Of the message that each node hands over now, None where it is silent.
        """

    def forget_time(self) -> None:
        """The boards were off for a time that nobody knows: the next move takes none."""

    def p_ok(self, receiver: int, sender: int, end_us: int) -> float:
        """Probability that a frame which ends at `end_us` is received."""


def create_links(
    loss: MarginLoss | GilbertElliottLoss | IndependentLoss, key: int, node_keys: Sequence[int]
) -> LinkModel:
    """Make the model that the parameters name.

    Args:
        loss: Parameters.
        key: Of the episode.
        node_keys: Names of the nodes.
    """
    if isinstance(loss, MarginLoss):
        return MarginLinks(loss, key, tuple(node_keys))
    if isinstance(loss, GilbertElliottLoss):
        return GilbertElliottLinks(loss, key, tuple(node_keys))
    return IndependentLinks(loss)


@dataclass
class MarginLinks:
    """Shadowing over the way, a slow bias in time, antennas, cars between, fading."""

    loss: MarginLoss
    key: int
    node_keys: tuple[int, ...]
    scene: Scene | None = None
    shadow: dict[tuple[int, int], float] = field(default_factory=dict)
    common: dict[int, float] = field(default_factory=dict)
    own: dict[tuple[int, int], float] = field(default_factory=dict)
    time_is_known: bool = False

    def __post_init__(self) -> None:
        """Draw what stays for the episode."""
        self.antenna_db = [self._antenna_db(node_key) for node_key in self.node_keys]
        self.success = FadingTable(self.loss.transition_db)
        blackout = self.loss.blackout
        if blackout is not None:
            period_us = round(blackout.period_s * 1e6)
            self.has_blackout = [
                draw_uniform(self.key, Stream.BLACKOUT, n, 1) < blackout.share
                for n in self.node_keys
            ]
            self.phase_us = [
                int(draw_uniform(self.key, Stream.BLACKOUT, n) * period_us) for n in self.node_keys
            ]

    def _antenna_db(self, node_key: int) -> float:
        gain_db = self.loss.antenna_sd_db * draw_normal(self.key, Stream.ANTENNA, node_key)
        behind_a_door = draw_uniform(self.key, Stream.ANTENNA, node_key, 1) < self.loss.door_share
        return gain_db - self.loss.door_loss_db if behind_a_door else gain_db

    def forget_time(self) -> None:
        """Keep the states and the places."""
        self.time_is_known = False

    def move(self, scene: Scene, numbers: Sequence[int | None]) -> None:
        """One AR(1) step: of the shadowing in travelled distance, of the bias in time."""
        del numbers
        before, self.scene = self.scene, scene
        dt_s = 0.0
        if before is not None and self.time_is_known:
            dt_s = (scene.now_us - before.now_us) * 1e-6
        self.time_is_known = True
        if before is None or dt_s > 0.0:
            self._step(before, scene, dt_s)

    def _step(self, before: Scene | None, scene: Scene, dt_s: float) -> None:
        memory = math.exp(-dt_s / self.loss.bias_time_s)
        for i, name in enumerate(self.node_keys):
            innovation = draw_normal(self.key, Stream.SLOW_BIAS_COMMON, name, scene.now_us)
            self.common[i] = _autoregress(self.common.get(i), memory, innovation)
            for j, other in enumerate(self.node_keys):
                link = i, j
                if i != j:
                    innovation = draw_normal(self.key, Stream.SLOW_BIAS, name, other, scene.now_us)
                    self.own[link] = _autoregress(self.own.get(link), memory, innovation)
                if i < j:
                    low, high = min(name, other), max(name, other)
                    innovation = draw_normal(self.key, Stream.SHADOWING, low, high, scene.now_us)
                    way = 0.0 if before is None else self._memory_of_way(link, before, scene, dt_s)
                    self.shadow[link] = _autoregress(self.shadow.get(link), way, innovation)

    def _memory_of_way(
        self, link: tuple[int, int], before: Scene, scene: Scene, dt_s: float
    ) -> float:
        ways_m = [math.dist(before.xy_m[n], scene.xy_m[n]) for n in link]
        floor_m = self.loss.standstill_mps * dt_s
        return math.exp(-max(sum(ways_m) / 2.0, floor_m) / self.loss.shadowing_distance_m)

    def margin_db(self, receiver: int, sender: int) -> float:
        """Margin of a link without the fading."""
        loss, scene = self.loss, self.scene
        assert scene is not None
        d = max(scene.distance_m(receiver, sender), _NEAREST_M)
        path_db = 10.0 * loss.exponent_near * math.log10(min(d, _BREAK_M) / 20.0)
        path_db += 10.0 * loss.exponent_far * math.log10(max(d, _BREAK_M) / _BREAK_M)
        shadow = self.shadow[min(receiver, sender), max(receiver, sender)]
        bias = math.sqrt(loss.bias_common_share) * self.common[receiver]
        bias += math.sqrt(1.0 - loss.bias_common_share) * self.own[receiver, sender]
        cars = scene.cars_between(receiver, sender)
        obstruction_db = 0.0
        if cars > 0:
            obstruction_db = min(
                loss.car_first_db + (cars - 1) * loss.car_next_db, loss.cars_cap_db
            )
        return (
            loss.margin_20m_db
            - path_db
            + self.antenna_db[receiver]
            + self.antenna_db[sender]
            + loss.shadowing_sd_db * shadow
            + loss.bias_sd_db * bias
            - obstruction_db
        )

    def p_ok(self, receiver: int, sender: int, end_us: int) -> float:
        """Margin through the fading, times the residual loss and the blackout."""
        assert self.scene is not None
        m = self.loss.fading_m
        if m is not None and self.scene.distance_m(receiver, sender) >= _FAR_M:
            m = 1.0
        p = (1.0 - self.loss.floor_loss) * self.success(self.margin_db(receiver, sender), m)
        blackout = self.loss.blackout
        if blackout is not None and self.has_blackout[receiver]:
            since_us = (end_us - self.phase_us[receiver]) % round(blackout.period_s * 1e6)
            if since_us < round(blackout.length_s * 1e6):
                p *= 1.0 - blackout.loss
        return p


@dataclass
class GilbertElliottLinks:
    """Every directed link is good or bad until its sender's next own message."""

    loss: GilbertElliottLoss
    key: int
    node_keys: tuple[int, ...]
    bad: dict[tuple[int, int], bool] = field(default_factory=dict)

    def forget_time(self) -> None:
        """Nothing depends on time."""

    def move(self, scene: Scene, numbers: Sequence[int | None]) -> None:
        """One step of each chain whose sender hands over a message, by that message's draw."""
        for i, rx_key in enumerate(self.node_keys):
            for j, tx_key in enumerate(self.node_keys):
                seq = numbers[j]
                if i == j or seq is None:
                    continue
                u = draw_uniform(self.key, Stream.RADIO_LOSS, rx_key, tx_key, tx_key, seq)
                chance = self._chance_of_bad((i, j), scene.distance_m(i, j))
                self.bad[i, j] = u < chance

    def _chance_of_bad(self, link: tuple[int, int], distance_m: float) -> float:
        was_bad = self.bad.get(link)
        p = interpolated(self.loss, "probability", distance_m)
        if p in {0.0, 1.0}:
            return p
        odds = p / (1.0 - p) * self.loss.odds_factor
        mean_burst = interpolated(self.loss, "mean_burst_frames", distance_m)
        leave = 1.0 / (mean_burst * self.loss.burst_factor)
        if was_bad is None:
            return odds / (1.0 + odds)
        return 1.0 - leave if was_bad else odds * leave

    def p_ok(self, receiver: int, sender: int, end_us: int) -> float:
        """All or nothing."""
        del end_us
        return 0.0 if self.bad[receiver, sender] else 1.0


@dataclass
class IndependentLinks:
    """No memory."""

    loss: IndependentLoss
    scene: Scene | None = None

    def forget_time(self) -> None:
        """Nothing depends on time."""

    def move(self, scene: Scene, numbers: Sequence[int | None]) -> None:
        """Take note of the distances."""
        del numbers
        self.scene = scene

    def p_ok(self, receiver: int, sender: int, end_us: int) -> float:
        """Of the distance alone."""
        del end_us
        assert self.scene is not None
        p = interpolated(self.loss, "probability", self.scene.distance_m(receiver, sender))
        if p == 1.0:
            return 0.0
        odds = p / (1.0 - p) * self.loss.odds_factor
        return 1.0 - odds / (1.0 + odds)


def interpolated(loss: IndependentLoss | GilbertElliottLoss, name: str, distance_m: float) -> float:
    """Linear between knots, constant before the first and after the last."""
    at_m, values = np.array([(k.distance_m, getattr(k, name)) for k in loss.by_distance]).T
    return float(np.interp(distance_m, at_m, values))


def _autoregress(state: float | None, memory: float, innovation: float) -> float:
    """One step of a unit AR(1); the first is drawn from what it is stationary at."""
    if state is None:
        return innovation
    return memory * state + math.sqrt(1.0 - memory * memory) * innovation


@dataclass(frozen=True)
class FadingTable:
    """P(M, m): the chance of a frame at margin M, the fading averaged out.

    Tabulated at every 0.1 dB of M in [-60, 80] and every 0.25 of m in [1, 5], linear in between; M
    beyond the ends counts as the ends. Without fading it is the logistic step itself.

    Attributes:
        transition_db: Width of that step.
    """

    transition_db: float = 1.0

    def __call__(self, margin_db: float, m: float | None) -> float:
        """Look one chance up."""
        if m is None:
            return 1.0 / (1.0 + math.exp(-margin_db / self.transition_db))
        below = min(math.floor((m - 1.0) * 4.0), 15)
        weight = (m - 1.0) * 4.0 - below
        low, high = (
            float(
                np.interp(
                    margin_db, _TABLE_MARGINS_DB, _averaged(1.0 + k / 4.0, self.transition_db)
                )
            )
            for k in (below, below + 1)
        )
        return (1.0 - weight) * low + weight * high


@cache
def _averaged(m: float, transition_db: float) -> NDArray[np.float64]:
    return success_by_quadrature(_TABLE_MARGINS_DB, m, transition_db)


def success_by_quadrature(
    margin_db: NDArray[np.float64], m: float, transition_db: float
) -> NDArray[np.float64]:
    """E[1 / (1 + exp(-(M + F) / w))], F the power of Nakagami-m fading in dB, by fine sums.

    The gamma density is integrated over the logarithm z of the power, where it is smooth for
    every m: f(z) = m^m / Gamma(m) exp(m (z - exp z)).
    """
    z = np.linspace(-40.0, 6.0, 2301)
    density = np.exp(m * math.log(m) - math.lgamma(m) + m * (z - np.exp(z)))
    power_db = 10.0 / math.log(10.0) * z
    exponent = np.clip((margin_db[:, None] + power_db) / transition_db, -700.0, 700.0)
    averages: NDArray[np.float64] = (1.0 / (1.0 + np.exp(-exponent))) @ density * (z[1] - z[0])
    return averages
