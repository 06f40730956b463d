"""Manoeuvres: episodes whose traffic is given, not drawn, as test grids and protocols have them.

A case says where every car starts and how fast, and which cars drive a scripted speed. All others
drive as SUMO's car-following does, with the same middling driver each. The ego is driven as ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ml.arrays import Floats, Ints, Words
from ml.envs.config import KINDS, EnvConfig, EpisodeKind
from ml.envs.episodes.drawn import ROAD_END_MARGIN_M, EpisodePlan
from ml.envs.episodes.placement import give_ego_defaults, leave_junctions, relaxed_gap_m
from ml.errors import ScenarioError
from ml.sumo.protocol import DriverParameters, Placement
from ml.sumo.road import Road
from ml.vehicle import CAR_LENGTH_M, DT_S, PEER_STANDSTILL_M

START_M = 100.0
"""Where egos start unless a case says otherwise."""

_TAU_S, _ACCEL_MPS2, _DECEL_MPS2 = 1.2, 1.8, 2.75
_DESIRED = 1.25
"""Desired speed over initial speed of a car that SUMO drives: it would like to go faster, as in
any platoon that holds together; its equilibrium gap is that of `relaxed_gap_m`."""
_LEAST_DESIRED_MPS = 5.0
_ROUNDING_MPS = 0.01
"""Limits stand in networks with two decimals: 130 km/h is 36.11 m/s there."""


@dataclass(frozen=True, slots=True)
class CutIn:
    """A car that starts in the lane to the left, on a road with two.

    Attributes:
        slot: Which; the car in front of it drives in the convoy's lane.
        tick: From which on it drives towards the convoy's lane.
        lateral_mps: How fast; 0 if it stays where it is.
    """

    slot: int
    tick: int
    lateral_mps: float


@dataclass(frozen=True, slots=True)
class ManoeuvreCase:
    """One episode with given traffic.

    Attributes:
        kind: See `EpisodeKind`.
        gaps_m: Bumper-to-bumper gap of slot k to slot k + 1, from the ego's on; one per peer.
        speed_mps: Initial speeds from the ego's on; one more than gaps.
        script_mps: Slot to (ticks,) float64, its speed at the end of each tick. NaN, or the
            script's end, leaves it to SUMO.
        brake_rank: Slot that brings the hazard or slows; 0 for nobody.
        onset_tick: First tick of its braking; 0 where the hazard is there from the start.
        release_tick: First tick after its braking.
        start_m: Route position of the ego's front bumper.
        cut_in: Who starts in another lane; None where all drive in one.
        leader_mps: Speed that the first car likes once its script has ended; None: its initial one.
        labels: What tables and pictures say of the case.
    """

    kind: EpisodeKind
    gaps_m: tuple[float, ...]
    speed_mps: tuple[float, ...]
    script_mps: Mapping[int, Floats]
    brake_rank: int
    onset_tick: int
    release_tick: int
    start_m: float = START_M
    cut_in: CutIn | None = None
    leader_mps: float | None = None
    labels: Mapping[str, float | int | str] = field(default_factory=dict)


class ManoeuvreSupply:
    """Plays given cases; convoy number c is case c, modulo their number.

    Args:
        cases: At least one.
        config: Decides the number of vehicle slots and who drives the ego.
        road: The road that carries them.

    Raises:
        ScenarioError: A case has more peers than the configuration, starts faster than the road
            allows, or does not fit on it.
    """

    def __init__(self, cases: Sequence[ManoeuvreCase], config: EnvConfig, road: Road) -> None:
        self._config = config
        num_slots = 1 + config.max_convoy_peers
        shape = (len(cases), num_slots)
        self._script_mps = np.full((*shape, round(config.episode_s / DT_S)), np.nan)
        self._present = np.zeros(shape, dtype=bool)
        self._route_pos_m, self._speed_mps = np.zeros((2, *shape))
        self._plan = EpisodePlan.empty(len(cases))
        row = max(range(len(cases)), key=lambda row: max(cases[row].speed_mps))
        start_mps = max(cases[row].speed_mps)
        if start_mps > road.fastest_mps + _ROUNDING_MPS:
            raise ScenarioError(
                f"manoeuvre {row} starts at {start_mps:.2f} m/s, but the road allows "
                f"{road.fastest_mps:.2f} m/s at most. Use the scenario of the suite, or a faster "
                "road."
            )
        for row, case in enumerate(cases):
            self._take(row, case, road)
        desired_mps = np.maximum(_DESIRED * self._speed_mps, _LEAST_DESIRED_MPS)
        self._drivers = DriverParameters(
            tau_s=np.full(shape, _TAU_S),
            accel_mps2=np.full(shape, _ACCEL_MPS2),
            decel_mps2=np.full(shape, _DECEL_MPS2),
            min_gap_m=np.full(shape, PEER_STANDSTILL_M),
            speed_factor=desired_mps / road.fastest_mps,
        )
        give_ego_defaults(self._drivers)

    def _take(self, row: int, case: ManoeuvreCase, road: Road) -> None:
        peers = len(case.gaps_m)
        cars = slice(0, peers + 1)
        if not 1 <= peers <= self._config.max_convoy_peers or len(case.speed_mps) != peers + 1:
            raise ScenarioError(
                f"manoeuvre {row}: {peers} gaps and {len(case.speed_mps)} speeds; it takes a gap "
                f"per peer, 1 to {self._config.max_convoy_peers} peers (num_peers), and a speed "
                "per car"
            )
        steps = np.asarray(case.gaps_m) + CAR_LENGTH_M
        position_m = case.start_m + np.concatenate(([0.0], np.cumsum(steps)))
        leave_junctions(road, position_m[None])
        fastest_mps = max(*case.speed_mps, *(float(np.nanmax(s)) for s in case.script_mps.values()))
        if position_m[-1] + fastest_mps * DT_S > road.length_m - ROAD_END_MARGIN_M:
            raise ScenarioError(
                f"manoeuvre {row} ends at {position_m[-1]:.0f} m, but the road is "
                f"{road.length_m:.0f} m long. Use a longer route or the scenario of the suite."
            )
        self._present[row, cars] = True
        self._route_pos_m[row, cars] = position_m
        self._speed_mps[row, cars] = case.speed_mps
        for slot, speeds in case.script_mps.items():
            self._script_mps[row, slot, : speeds.size] = speeds[: self._script_mps.shape[2]]
        plan = self._plan
        plan.kind[row] = KINDS.index(case.kind)
        plan.num_peers[row] = peers
        plan.brake_slot[row] = case.brake_rank
        plan.onset_tick[row] = case.onset_tick
        plan.release_tick[row] = case.release_tick
        plan.leader_speed_mps[row] = case.speed_mps[-1]
        if case.leader_mps is not None:
            plan.leader_speed_mps[row] = case.leader_mps
        if case.cut_in is None:
            return
        if not road.left_lane_ids or not 1 <= case.cut_in.slot < peers:
            raise ScenarioError(
                f"manoeuvre {row}: slot {case.cut_in.slot} cuts in; that takes a road with a "
                'lane to the left all along (scenario "two-lanes") and a peer in front of it'
            )
        plan.cut_in_slot[row] = case.cut_in.slot
        plan.cut_in_tick[row] = case.cut_in.tick
        plan.cut_in_mps[row] = case.cut_in.lateral_mps

    def draw(
        self, keys: Words, env_indices: Ints, forced_kind: EpisodeKind | None, cases: Ints
    ) -> tuple[EpisodePlan, Placement]:
        """Return the plan and the placement of some cases; see `EpisodeSupply.draw`."""
        del keys
        if forced_kind is not None:
            raise ScenarioError("a manoeuvre is of the kind that it is; do not force another")
        number = cases % self._present.shape[0]
        plan = EpisodePlan._make(rows[number] for rows in self._plan)
        scripted = ~np.isnan(self._script_mps[number, :, 0])
        scripted[:, 0] = self._config.ego_control == "policy"
        drivers = self._drivers
        slots = np.arange(self._present.shape[1])
        beside = (slots == plan.cut_in_slot[:, None]) & (slots > 0)
        placement = Placement(
            env_indices=env_indices,
            present=self._present[number],
            route_pos_m=self._route_pos_m[number],
            speed_mps=self._speed_mps[number],
            controlled=scripted & self._present[number],
            drivers=DriverParameters(
                *(getattr(drivers, name)[number] for name in DriverParameters.__slots__)
            ),
            left=beside if beside.any() else None,
        )
        return plan, placement

    def script_mps(self, cases: Ints) -> Floats:
        """Return the scripted speeds; see `EpisodeSupply.script_mps`."""
        return self._script_mps[cases % self._present.shape[0]]


def following_gap_m(speed_mps: float) -> float:
    """Gap at which a car that SUMO drives follows at a steady speed, m."""
    return float(relaxed_gap_m(PEER_STANDSTILL_M, _TAU_S, speed_mps))


def hold(speed_mps: float, ticks: int) -> Floats:
    """Script a constant speed, (ticks,) float64 m/s."""
    return np.full(ticks, speed_mps)


def brake(
    speed_mps: float, decel_mps2: float, final_mps: float, *, onset_tick: int, ticks: int
) -> Floats:
    """Script a braking from the onset on, down to a speed that is then held, (ticks,) m/s."""
    braking = np.maximum(np.arange(1, ticks + 1) - onset_tick, 0) * DT_S
    return np.maximum(speed_mps - decel_mps2 * braking, final_mps)


def swing(
    speed_mps: float, amplitude_mps: float, frequency_hz: float, *, onset_tick: int, ticks: int
) -> Floats:
    """Script a sinusoidal speed about a mean from the onset on, (ticks,) m/s."""
    since_s = np.maximum(np.arange(1, ticks + 1) - onset_tick, 0) * DT_S
    return speed_mps + amplitude_mps * np.sin(2.0 * np.pi * frequency_hz * since_s)


def braking_ticks(speed_mps: float, decel_mps2: float, final_mps: float) -> int:
    """Ticks that a braking takes."""
    return int(np.ceil((speed_mps - final_mps) / decel_mps2 / DT_S))
