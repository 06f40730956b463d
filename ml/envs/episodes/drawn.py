"""What an episode will be like, drawn at its reset from its key alone.

The whole plan (who is there, how they drive, who brakes when) is fixed before the first tick and
does not look at the ego, so that every controller meets the same episode.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Self

import numpy as np

from ml.arrays import Floats, Ints, Words
from ml.envs.config import KINDS, EnvConfig, EpisodeKind
from ml.envs.episodes.placement import give_ego_defaults, leave_junctions, relaxed_gap_m
from ml.errors import ScenarioError
from ml.keyed_random import Stream, extend, fold, uniform
from ml.sumo.protocol import DriverParameters, Placement
from ml.sumo.road import Road
from ml.vehicle import CALM_STANDSTILL_M, CAR_LENGTH_M, DT_S

HAZARD, BENIGN, FREE = range(len(KINDS))

_ROAD_START_M = 20.0
ROAD_END_MARGIN_M = 20.0
_SHORTEST_EPISODE_S = 10.0
_FULL_STOP_SHARE = 0.6
_TAU_S = (0.9, 1.8)
_MIN_GAP_M = (1.5, 3.0)
_GAP_SPREAD = (0.9, 1.1)
_EARLIEST_ONSET_S = 1.0
_FAST_LEADER = 1.1
"""A leader may be this much faster than its initial speed."""
_TRAVEL_SHARE = 1.15
"""Way that a convoy is taken to drive in an episode, over that at its initial speed."""
_HARDEST_MPS2 = 8.0
_HOLD_SPREAD = (1.2, 1.8)
_DRIFT_M = 30.0
"""What the convoy may have moved against an ego that held its speed until the onset."""


# One number per question, so that adding a question (at the end) changes no other answer.
_Draw = IntEnum(
    "_Draw",
    "KIND PEERS SPEED EGO_GAP START TAU ACCEL DECEL MIN_GAP SPEED_FACTOR GAP RANK ONSET BRAKING "
    "FINAL_SPEED FULL_STOP HOLD",
)


class EpisodePlan(NamedTuple):
    """Rows of episodes; one row per convoy.

    Attributes:
        kind: (n,) int64, index into `KINDS`.
        num_peers: (n,) int64.
        brake_slot: (n,) int64, slot of the peer that brakes; 0 where nobody does.
        onset_tick: (n,) int64, first tick of its braking.
        brake_mps2: (n,) float64, its deceleration, positive.
        final_speed_mps: (n,) float64, the speed it brakes down to, in m/s.
        release_tick: (n,) int64, tick from which it follows traffic again.
        leader_speed_mps: (n,) float64, the leader's desired speed, give or take its slow changes.
        cut_in_slot: (n,) int64, slot of the peer that starts in the left lane; 0 for nobody.
        cut_in_tick: (n,) int64, the tick from which it drives towards the convoy's lane.
        cut_in_mps: (n,) float64, its lateral speed; 0 if it stays.
    """

    kind: Ints
    num_peers: Ints
    brake_slot: Ints
    onset_tick: Ints
    brake_mps2: Floats
    final_speed_mps: Floats
    release_tick: Ints
    leader_speed_mps: Floats
    cut_in_slot: Ints
    cut_in_tick: Ints
    cut_in_mps: Floats

    @classmethod
    def empty(cls, rows: int) -> Self:
        """Allocate a plan for a batch, in which nothing happens."""
        floats = {"brake_mps2", "final_speed_mps", "leader_speed_mps", "cut_in_mps"}
        return cls(
            *(np.zeros(rows, dtype=float if name in floats else np.int64) for name in cls._fields)
        )

    def write(self, rows: Ints, other: Self) -> None:
        """Replace the given rows by another plan's."""
        for mine, theirs in zip(self, other, strict=True):
            mine[rows] = theirs


@dataclass(frozen=True, slots=True)
class Strata:
    """What is given instead of drawn, so that a set of episodes is balanced; a row per episode.

    Attributes:
        kind: (n,) int64, index into `KINDS`.
        num_peers: (n,) int64, within the configured range.
        brake_rank: (n,) int64 in 1 … num_peers; not used where nobody brakes. A hazard that would
            not reach the ego before the road's end comes from the car in front all the same.
        ego_time_gap_s: (n, 2) float64, the range that the ego's time gap is drawn from.
    """

    kind: Ints
    num_peers: Ints
    brake_rank: Ints
    ego_time_gap_s: Floats


class _Draws:
    """The uniform draws of some episodes, by question; all are drawn at once."""

    def __init__(self, keys: Words, num_slots: int) -> None:
        asked = fold(keys, Stream.SCENARIO)[:, None]
        asked = extend(asked, np.arange(len(_Draw) + 1))
        self._convoy = uniform(asked)
        self._vehicle = uniform(extend(asked[:, :, None], np.arange(num_slots)))

    def convoy(self, what: _Draw, low: float = 0.0, high: float = 1.0) -> Floats:
        """One value per convoy, (n,)."""
        return low + (high - low) * self._convoy[:, what]

    def vehicle(self, what: _Draw, low: float, high: float) -> Floats:
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
        self._slowest_mps = road.slowest_mps
        self._junctions_m = float(road.lane_length_m[road.lane_internal].sum())
        self._fastest_mps = self._require_room()

    def _longest_convoy_m(self, speed_mps: float) -> float:
        config, peers = self._config, self._config.max_convoy_peers
        ego_gap = CALM_STANDSTILL_M + config.ego_time_gap_s[1] * speed_mps
        peer_gap = relaxed_gap_m(_MIN_GAP_M[1], _TAU_S[1], speed_mps) * _GAP_SPREAD[1]
        return float(ego_gap + (peers - 1) * peer_gap + peers * CAR_LENGTH_M)

    def _require_room(self) -> float:
        """Return the highest speed, m/s, at which the longest convoy can drive for a while.

        It is at most the road's highest limit.

        Raises:
            ScenarioError: The road is too short for the highest speed that it allows all along.
        """
        config, road = self._config, self._road
        ends_m = _ROAD_START_M + ROAD_END_MARGIN_M + self._junctions_m
        speed = min(config.initial_speed_mps[1], self._slowest_mps)
        convoy_m = self._longest_convoy_m(speed)
        needed_m = convoy_m + ends_m + speed * _SHORTEST_EPISODE_S
        if road.length_m < needed_m:
            raise ScenarioError(
                f"the road is {road.length_m:.0f} m long; a convoy of {config.max_convoy_peers} "
                f"peers at {speed:.1f} m/s may take {convoy_m:.0f} m and needs {needed_m:.0f} m to "
                f"drive for {_SHORTEST_EPISODE_S:.0f} s. Use a longer route, fewer peers "
                "(num_peers) or a lower initial_speed_mps."
            )
        # What is needed grows linearly with the speed.
        needed_per_mps = self._longest_convoy_m(1.0) - self._longest_convoy_m(0.0)
        needed_per_mps += _SHORTEST_EPISODE_S
        room_for_mps = speed + (road.length_m - needed_m) / needed_per_mps
        return max(speed, min(road.fastest_mps, room_for_mps))

    def draw(
        self,
        keys: Words,
        env_indices: Ints,
        forced_kind: EpisodeKind | None = None,
        cases: Ints | None = None,
        strata: Strata | None = None,
    ) -> tuple[EpisodePlan, Placement]:
        """Draw episodes and where their cars start; see `EpisodeSupply.draw`.

        A key says all of an episode, whatever its case. What `strata` gives is not drawn; the
        other draws are what they were.

        Raises:
            ScenarioError: The road is too short for the convoy.
        """
        del cases
        config, road = self._config, self._road
        num_slots = 1 + config.max_convoy_peers
        draws = _Draws(keys, num_slots)
        rows = np.arange(keys.size)

        few, many = config.num_peers
        num_peers = few + (draws.convoy(_Draw.PEERS) * (many - few + 1)).astype(np.int64)
        if strata is not None:
            num_peers = strata.num_peers
        present = np.arange(num_slots) <= num_peers[:, None]
        drivers = _draw_drivers(draws)
        low, high = config.initial_speed_mps
        fastest_mps = self._fastest_mps
        speed = draws.convoy(_Draw.SPEED, min(low, fastest_mps), min(high, fastest_mps))
        time_gap_s = draws.convoy(_Draw.EGO_GAP, *config.ego_time_gap_s)
        if strata is not None:
            low_s, high_s = strata.ego_time_gap_s.T
            time_gap_s = low_s + (high_s - low_s) * draws.convoy(_Draw.EGO_GAP)
        offset = _apart_m(draws, drivers, speed, time_gap_s)
        start = self._start_m(draws, speed, offset[rows, num_peers])
        if fastest_mps > self._slowest_mps:
            # A convoy holds its speed, so it starts no faster than the limits it will meet.
            allowed_mps = self._allowed_mps(start, start + offset[rows, num_peers])
            low_mps, high_mps = np.minimum(low, allowed_mps), np.minimum(high, allowed_mps)
            slower = low_mps + (high_mps - low_mps) * draws.convoy(_Draw.SPEED)
            speed = np.minimum(speed, slower)
            offset = _apart_m(draws, drivers, speed, time_gap_s)
        route_pos = start[:, None] + offset
        if self._junctions_m > 0.0:
            leave_junctions(road, route_pos)

        # Followers would like to go faster than the leader, as in any platoon that holds together.
        # The leader holds its speed (see PeerDirector). For SUMO, all lanes have the highest limit.
        drivers.speed_factor[:] *= (speed / road.fastest_mps)[:, None]
        drivers.speed_factor[rows, num_peers] = speed / road.fastest_mps

        plan = EpisodePlan.empty(keys.size)
        plan.num_peers[:] = num_peers
        plan.leader_speed_mps[:] = speed
        if strata is not None:
            plan.kind[:] = strata.kind
        elif forced_kind is None:
            mix = config.episode_mix
            edges = [mix.hazard, mix.hazard + mix.benign]
            plan.kind[:] = np.searchsorted(edges, draws.convoy(_Draw.KIND), side="right")
        else:
            plan.kind[:] = KINDS.index(forced_kind)
        ranks = None if strata is None else strata.brake_rank
        self._plan_braking(plan, draws, speed, route_pos, ranks)

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

    def _start_m(self, draws: _Draws, speed: Floats, convoy_m: Floats) -> Floats:
        """Draw where egos start so that, if it can be, the episode ends before the road, (n,)."""
        travel_m = _TRAVEL_SHARE * speed * self._config.episode_s
        room = self._road.length_m - ROAD_END_MARGIN_M - _ROAD_START_M - convoy_m
        start: Floats = _ROAD_START_M + draws.convoy(_Draw.START) * np.maximum(room - travel_m, 0.0)
        return start

    def _allowed_mps(self, rear_m: Floats, front_m: Floats) -> Floats:
        """Highest speed at which a convoy exceeds no limit in its episode, (n,) m/s.

        The limit of a lane counts for those who stand on it or come to it before the episode ends:
        v ≤ max(limit, distance / time). The last car's front bumper is at `rear_m`, the first one's
        at `front_m`, (n,) each.
        """
        road = self._road
        # Cars that would start inside junctions are moved on beyond them.
        ahead_m = road.lane_start_m - front_m[:, None] - self._junctions_m
        reached_at_mps = np.maximum(ahead_m, 0.0) / (_TRAVEL_SHARE * self._config.episode_s)
        allowed_mps = np.maximum(road.lane_limit_mps, reached_at_mps)
        behind = road.lane_start_m + road.lane_length_m < rear_m[:, None]
        lowest_mps: Floats = np.where(behind, np.inf, allowed_mps).min(axis=1)
        return lowest_mps

    def script_mps(self, cases: Ints) -> Floats:
        """Return nothing, (n, num_slots, 0): plans say all."""
        return np.empty((cases.size, 1 + self._config.max_convoy_peers, 0))

    def _plan_braking(
        self,
        plan: EpisodePlan,
        draws: _Draws,
        speed: Floats,
        route_pos: Floats,
        forced_rank: Ints | None,
    ) -> None:
        """Decide who brakes, when, how hard and for how long; from the initial state alone."""
        rows = np.arange(speed.size)
        hazard, benign = plan.kind == HAZARD, plan.kind == BENIGN
        rank = 1 + (draws.convoy(_Draw.RANK) * plan.num_peers).astype(np.int64)
        if forced_rank is not None:
            rank = forced_rank
        plan.brake_slot[:] = np.where(plan.kind == FREE, 0, rank)
        onset_s = draws.convoy(_Draw.ONSET, 0.1, 0.5) * self._config.episode_s
        braking = draws.convoy(_Draw.BRAKING)
        plan.brake_mps2[:] = np.where(hazard, 3.0 + 5.0 * braking, 0.5 + 1.5 * braking)
        full_stop = draws.convoy(_Draw.FULL_STOP) < _FULL_STOP_SHARE
        slow_share = draws.convoy(_Draw.FINAL_SPEED)
        # Speeds wander by a few per cent until the onset: 0.28 stays below 0.3.
        benign_final = 1.0 - (0.1 + 0.16 * slow_share)
        hazard_final = np.where(full_stop, 0.0, 0.4 * slow_share)
        plan.final_speed_mps[:] = speed * np.where(benign, benign_final, hazard_final)

        # The episode lasts until its time limit, or until the leader comes to the road's end.
        leader_pos = route_pos[rows, plan.num_peers]
        road_left_m = self._road.length_m - ROAD_END_MARGIN_M - leader_pos
        end_s = np.minimum(self._config.episode_s, road_left_m / (_FAST_LEADER * speed))

        def latest_onset_s() -> Floats:
            return end_s - _time_to_hit_s(plan, speed, route_pos)

        # Where it would end before an ego that holds its speed hits the car in front, the peer
        # brakes to a stop; then harder, and it is the car in front; and sooner.
        plan.final_speed_mps[hazard & (latest_onset_s() < onset_s)] = 0.0
        late = hazard & (latest_onset_s() < _EARLIEST_ONSET_S)
        plan.brake_slot[late] = 1
        plan.brake_mps2[late] = _HARDEST_MPS2
        latest = np.maximum(latest_onset_s(), _EARLIEST_ONSET_S)
        onset_s = np.where(hazard, np.minimum(onset_s, latest), onset_s)
        plan.onset_tick[:] = onset_s / DT_S

        slowing_s = (speed - plan.final_speed_mps) / plan.brake_mps2
        hold_s = np.where(
            hazard,
            _time_to_hit_s(plan, speed, route_pos) * draws.convoy(_Draw.HOLD, *_HOLD_SPREAD),
            slowing_s + draws.convoy(_Draw.HOLD, 0.5, 3.0),
        )
        plan.release_tick[:] = plan.onset_tick + np.ceil(hold_s / DT_S)


def _draw_drivers(draws: _Draws) -> DriverParameters:
    """Peers as people: ranges around the IDM's usual values (Treiber and Kesting, 2013)."""
    drivers = DriverParameters(
        tau_s=draws.vehicle(_Draw.TAU, *_TAU_S),
        accel_mps2=draws.vehicle(_Draw.ACCEL, 1.2, 2.4),
        decel_mps2=draws.vehicle(_Draw.DECEL, 2.0, 3.5),
        min_gap_m=draws.vehicle(_Draw.MIN_GAP, *_MIN_GAP_M),
        speed_factor=draws.vehicle(_Draw.SPEED_FACTOR, 1.1, 1.4),
    )
    give_ego_defaults(drivers)
    return drivers


def _apart_m(
    draws: _Draws, drivers: DriverParameters, speed: Floats, ego_time_gap_s: Floats
) -> Floats:
    """Front bumpers' distances from the ego's, (n, num_slots) float64 m, near equilibrium."""
    # Gap of car k to car k+1: the IDM's at 80 % of the desired speed, give or take a tenth.
    relaxed = relaxed_gap_m(drivers.min_gap_m, drivers.tau_s, speed[:, None])
    gap = relaxed * draws.vehicle(_Draw.GAP, *_GAP_SPREAD)
    gap[:, 0] = CALM_STANDSTILL_M + speed * ego_time_gap_s
    offset = np.zeros_like(gap)
    offset[:, 1:] = np.cumsum(gap[:, :-1] + CAR_LENGTH_M, axis=1)
    return offset


def _time_to_hit_s(plan: EpisodePlan, speed: Floats, route_pos: Floats) -> Floats:
    """How long after the onset an ego that holds its speed has hit the car in front, (n,).

    It closes its distance to the braking car, less the cars between, which queue up behind that.
    """
    rows = np.arange(speed.size)
    between_m = CAR_LENGTH_M * np.maximum(plan.brake_slot - 1, 0)
    apart_m = route_pos[rows, plan.brake_slot] - CAR_LENGTH_M - route_pos[:, 0] - between_m
    final = plan.final_speed_mps
    slowing_s = (speed - final) / plan.brake_mps2
    to_close_m = apart_m + _DRIFT_M + slowing_s * (speed + final) / 2.0
    time_s: Floats = (to_close_m - final * slowing_s) / (speed - final)
    return time_s
