"""What an episode will be like, drawn at its reset from its key alone.

The whole plan (who is there, how they drive, who brakes when) is fixed before the first tick and
does not look at the ego, so that every controller meets the same episode.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from ml.envs.actuation import DT_S
from ml.envs.config import KINDS, EnvConfig, EpisodeKind
from ml.errors import ScenarioError
from ml.keyed_random import Stream, extend, fold, uniform
from ml.sumo.protocol import DriverParameters, Placement
from ml.sumo.road import CAR_LENGTH_M

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.sumo.road import Road

HAZARD, BENIGN, FREE = range(len(KINDS))

_ROAD_START_M = 20.0
ROAD_END_MARGIN_M = 20.0
_EGO_STANDSTILL_M = 5.0
_SHORTEST_EPISODE_S = 10.0
_LIMIT_SAMPLES = 500
_FULL_STOP_SHARE = 0.6
_DRIFT_M = 30.0
"""What the convoy may have moved against an ego that held its speed until the onset."""


class _Draw(IntEnum):
    """One number per question, so that adding a question changes no other answer."""

    KIND = 1
    PEERS = 2
    SPEED = 3
    EGO_GAP = 4
    START = 5
    TAU = 6
    ACCEL = 7
    DECEL = 8
    MIN_GAP = 9
    SPEED_FACTOR = 10
    GAP = 11
    RANK = 12
    ONSET = 13
    BRAKING = 14
    FINAL_SPEED = 15
    FULL_STOP = 16
    HOLD = 17


@dataclass(slots=True)
class EpisodePlan:
    """Rows of episodes; one row per convoy.

    Attributes:
        kind: (n,) int64, index into `KINDS`.
        num_peers: (n,) int64.
        brake_slot: (n,) int64, slot of the peer that brakes; 0 where nobody does.
        onset_tick: (n,) int64, first tick of its braking.
        brake_mps2: (n,) float64, its deceleration, positive.
        final_speed_mps: (n,) float64, the speed it brakes down to, in m/s.
        release_tick: (n,) int64, tick from which it follows traffic again.
        leader_factor: (n,) float64, the leader's desired speed over the limit.
    """

    kind: NDArray[np.int64]
    num_peers: NDArray[np.int64]
    brake_slot: NDArray[np.int64]
    onset_tick: NDArray[np.int64]
    brake_mps2: NDArray[np.float64]
    final_speed_mps: NDArray[np.float64]
    release_tick: NDArray[np.int64]
    leader_factor: NDArray[np.float64]

    @classmethod
    def empty(cls, rows: int) -> EpisodePlan:
        """Allocate a plan for a batch, in which nothing happens."""
        ints = [np.zeros(rows, dtype=np.int64) for _ in range(5)]
        floats = [np.zeros(rows) for _ in range(3)]
        return cls(
            kind=ints[0],
            num_peers=ints[1],
            brake_slot=ints[2],
            onset_tick=ints[3],
            brake_mps2=floats[0],
            final_speed_mps=floats[1],
            release_tick=ints[4],
            leader_factor=floats[2],
        )

    def write(self, rows: NDArray[np.int64], other: EpisodePlan) -> None:
        """Replace the given rows by another plan's."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)


class _Draws:
    """The uniform draws of some episodes, by question; all are drawn at once."""

    def __init__(self, keys: NDArray[np.uint64], num_slots: int) -> None:
        asked = fold(keys, Stream.SCENARIO)[:, None]
        asked = extend(asked, np.arange(len(_Draw) + 1))
        self._convoy = uniform(asked)
        self._vehicle = uniform(extend(asked[:, :, None], np.arange(num_slots)))

    def convoy(self, what: _Draw, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
        """One value per convoy, (n,)."""
        return low + (high - low) * self._convoy[:, what]

    def vehicle(self, what: _Draw, low: float, high: float) -> NDArray[np.float64]:
        """One value per vehicle, (n, num_slots)."""
        return low + (high - low) * self._vehicle[:, what]


class EpisodeSource:
    """Draws episodes for one road.

    Args:
        config: Ranges and shares.
        road: The road that carries them.
    """

    def __init__(self, config: EnvConfig, road: Road) -> None:
        self._config = config
        self._road = road
        # The road's lowest limit, so that a convoy never starts above what the road allows.
        limits = road.speed_limit_mps(np.linspace(0.0, road.length_m, _LIMIT_SAMPLES))
        self._slowest_mps = float(limits.min())
        self._has_junctions = bool(road.lane_internal.any())

    def draw(
        self,
        keys: NDArray[np.uint64],
        env_indices: NDArray[np.int64],
        forced_kind: EpisodeKind | None = None,
    ) -> tuple[EpisodePlan, Placement]:
        """Draw episodes and where their cars start.

        Args:
            keys: (n,) uint64, the episodes' keys.
            env_indices: (n,) int64, the convoys that they are for.
            forced_kind: Overrides the drawn kind.

        Returns:
            The plan and the placement, rows in the order of `keys`.

        Raises:
            ScenarioError: The road is too short for the convoy.
        """
        config, road = self._config, self._road
        num_slots = 1 + config.max_convoy_peers
        draws = _Draws(keys, num_slots)
        rows = np.arange(keys.size)

        few, many = config.num_peers
        num_peers = few + (draws.convoy(_Draw.PEERS) * (many - few + 1)).astype(np.int64)
        present = np.arange(num_slots) <= num_peers[:, None]
        drivers = _draw_drivers(draws)
        low, high = config.initial_speed_mps
        slowest_mps = self._slowest_mps
        speed = draws.convoy(_Draw.SPEED, min(low, slowest_mps), min(high, slowest_mps))
        route_pos = _place_cars(draws, config, road, num_peers, drivers, speed)
        if self._has_junctions:
            _leave_junctions(road, route_pos)

        leader_factor = speed / road.speed_limit_mps(route_pos[rows, num_peers])
        # Followers would like to go faster than the leader, as in any platoon that holds together.
        drivers.speed_factor[:] *= leader_factor[:, None]
        drivers.speed_factor[rows, num_peers] = leader_factor

        plan = EpisodePlan.empty(keys.size)
        plan.num_peers[:] = num_peers
        plan.leader_factor[:] = leader_factor
        if forced_kind is None:
            mix = config.episode_mix
            edges = [mix.hazard, mix.hazard + mix.benign]
            plan.kind[:] = np.searchsorted(edges, draws.convoy(_Draw.KIND), side="right")
        else:
            plan.kind[:] = KINDS.index(forced_kind)
        _plan_braking(plan, draws, config, speed, route_pos)

        controlled = np.zeros((keys.size, num_slots), dtype=bool)
        controlled[:, 0] = config.ego_control == "policy"
        placement = Placement(
            env_indices=env_indices,
            present=present,
            route_pos_m=np.where(present, route_pos, 0.0),
            speed_mps=np.where(present, speed[:, None], 0.0),
            controlled=controlled,
            drivers=drivers,
        )
        return plan, placement


def _draw_drivers(draws: _Draws) -> DriverParameters:
    """Peers as people: ranges around the IDM's usual values (Treiber and Kesting, 2013)."""
    drivers = DriverParameters(
        tau_s=draws.vehicle(_Draw.TAU, 0.9, 1.8),
        accel_mps2=draws.vehicle(_Draw.ACCEL, 1.2, 2.4),
        decel_mps2=draws.vehicle(_Draw.DECEL, 2.0, 3.5),
        min_gap_m=draws.vehicle(_Draw.MIN_GAP, 1.5, 3.0),
        speed_factor=draws.vehicle(_Draw.SPEED_FACTOR, 1.1, 1.4),
    )
    # The ego's own values count only where SUMO drives it: the defaults of SUMO's Krauss model.
    drivers.tau_s[:, 0] = 1.0
    drivers.accel_mps2[:, 0] = 2.6
    drivers.decel_mps2[:, 0] = 4.5
    drivers.min_gap_m[:, 0] = 2.5
    return drivers


def _place_cars(
    draws: _Draws,
    config: EnvConfig,
    road: Road,
    num_peers: NDArray[np.int64],
    drivers: DriverParameters,
    speed: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Front-bumper positions along the road, (n, num_slots) float64 m, near equilibrium."""
    # Gap of car k to car k+1: the IDM's at 80 % of the desired speed, give or take a tenth.
    relaxed = (drivers.min_gap_m + drivers.tau_s * speed[:, None]) / np.sqrt(1.0 - 0.8**4)
    gap = relaxed * draws.vehicle(_Draw.GAP, 0.9, 1.1)
    gap[:, 0] = _EGO_STANDSTILL_M + speed * draws.convoy(_Draw.EGO_GAP, *config.ego_time_gap_s)
    offset = np.zeros_like(gap)
    offset[:, 1:] = np.cumsum(gap[:, :-1] + CAR_LENGTH_M, axis=1)

    convoy_m = offset[np.arange(num_peers.size), num_peers]
    travel_m = 1.15 * speed * config.episode_s
    room = road.length_m - ROAD_END_MARGIN_M - _ROAD_START_M - convoy_m
    if (room < speed * _SHORTEST_EPISODE_S).any():
        worst = int(np.argmin(room))
        raise ScenarioError(
            f"the road is {road.length_m:.0f} m long, too short for a convoy of "
            f"{num_peers[worst]} peers over {convoy_m[worst]:.0f} m at {speed[worst]:.1f} m/s and "
            f"at least {_SHORTEST_EPISODE_S:.0f} s of driving. Use a longer route, fewer peers "
            "(num_peers) or a lower initial_speed_mps."
        )
    start = _ROAD_START_M + draws.convoy(_Draw.START) * np.maximum(room - travel_m, 0.0)
    route_pos: NDArray[np.float64] = start[:, None] + offset
    return route_pos


def _leave_junctions(road: Road, route_pos_m: NDArray[np.float64]) -> None:
    """Move a car that would be inserted inside a junction, and all ahead of it, beyond."""
    for slot in range(route_pos_m.shape[1]):
        here = np.minimum(route_pos_m[:, slot], road.length_m)
        route_pos_m[:, slot:] += (_beyond_junction(road, here) - here)[:, None]


def _beyond_junction(road: Road, route_pos_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move positions inside a junction to the start of the next lane that leads on."""
    lane, _ = road.locate(route_pos_m)
    moved = route_pos_m.copy()
    inside = road.lane_internal[lane]
    while inside.any():
        lane[inside] += 1
        moved[inside] = road.lane_start_m[lane[inside]]
        inside = road.lane_internal[lane]
    return moved


def _plan_braking(
    plan: EpisodePlan,
    draws: _Draws,
    config: EnvConfig,
    speed: NDArray[np.float64],
    route_pos: NDArray[np.float64],
) -> None:
    """Decide who brakes, when, how hard and for how long; from the initial state alone."""
    rows = np.arange(speed.size)
    hazard, benign = plan.kind == HAZARD, plan.kind == BENIGN
    plan.brake_slot[:] = np.where(
        plan.kind == FREE, 0, 1 + (draws.convoy(_Draw.RANK) * plan.num_peers).astype(np.int64)
    )
    plan.onset_tick[:] = draws.convoy(_Draw.ONSET, 0.1, 0.5) * config.episode_s / DT_S

    braking = draws.convoy(_Draw.BRAKING)
    plan.brake_mps2[:] = np.where(hazard, 3.0 + 5.0 * braking, 0.5 + 1.5 * braking)
    full_stop = draws.convoy(_Draw.FULL_STOP) < _FULL_STOP_SHARE
    slow_share = draws.convoy(_Draw.FINAL_SPEED)
    hazard_final = np.where(full_stop, 0.0, 0.4 * slow_share)
    benign_final = 1.0 - (0.1 + 0.2 * slow_share)
    plan.final_speed_mps[:] = speed * np.where(benign, benign_final, hazard_final)

    # An ego that holds its speed closes the distance to the braking car, less the cars between.
    between_m = CAR_LENGTH_M * np.maximum(plan.brake_slot - 1, 0)
    distance = route_pos[rows, plan.brake_slot] - CAR_LENGTH_M - route_pos[:, 0] - between_m

    def time_to_hit(final: NDArray[np.float64]) -> NDArray[np.float64]:
        braking_s = (speed - final) / plan.brake_mps2
        lag = distance + _DRIFT_M + braking_s * (speed + final) / 2.0
        return (lag - final * braking_s) / (speed - final)

    # Where the episode would end first, the car brakes to a stop, and sooner.
    left_s = config.episode_s - plan.onset_tick * DT_S
    plan.final_speed_mps[hazard & (time_to_hit(plan.final_speed_mps) > left_s)] = 0.0
    latest_s = np.maximum(config.episode_s - time_to_hit(plan.final_speed_mps), 1.0)
    latest_tick = (latest_s / DT_S).astype(np.int64)
    plan.onset_tick[:] = np.where(hazard, np.minimum(plan.onset_tick, latest_tick), plan.onset_tick)
    hold_s = np.where(
        hazard,
        time_to_hit(plan.final_speed_mps) * draws.convoy(_Draw.HOLD, 1.0, 1.5),
        (speed - plan.final_speed_mps) / plan.brake_mps2 + draws.convoy(_Draw.HOLD, 0.5, 3.0),
    )
    plan.release_tick[:] = plan.onset_tick + np.ceil(hold_s / DT_S)
