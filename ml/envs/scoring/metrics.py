"""The dictionary of metrics: each one's name, unit, formula and thresholds, and its definition.

Reward, tracker, TensorBoard and evaluation read the thresholds and compiled definitions here;
`docs/metrics.md` is made of it. All is measured on ground truth, except what the radio did. Times
to collision and needed decelerations are defined in `ml.envs.truth.ground_truth`.
"""

from dataclasses import dataclass
from typing import Literal

from ml.arrays import Floats
from ml.compiled import compiled
from ml.envs.truth.ground_truth import TTC_HORIZON_S
from ml.vehicle import HEADWAY_SPEED_MPS, REACTION_MPS2

FALSE_BRAKE_MPS2 = 2.0
CAUSE_TTC_S, CAUSE_DRAC_MPS2, CAUSE_PEER_BRAKES_MPS2 = 6.0, 0.5, 1.0
SHORT_GAP_M, SHORT_HEADWAY_S = 5.0, 0.5
BRAKING_MPS2 = 0.2
STANDING_MPS = 1.0
OVERREACTION_MPS2 = 1.0
_OVERREACTION_NONE_MPS2, _OVERREACTION_FULL_MPS2 = 0.5, 1.5
WARNED_S, LATE_S, ANSWERED_S, CAUSE_S = 3.0, 1.0, 3.0, 3.0
"""On a recorded drive: how long before the driver reacts firing warns of a hard braking, and how
long after it is said to be late; how long after a peer's it answers; how near a braking is a
cause."""
TTC_CRITICAL_S = 1.5
"""TTC* of the time-exposed and time-integrated measures."""
NEAR_MISS_GAP_M = 3.0
"""A hazard that leaves less was a near miss: drivers here keep 9 to 10 m where they stand."""
RSS_RESPONSE_S, RSS_ACCEL_MPS2, RSS_LEAST_BRAKING_MPS2, RSS_MOST_BRAKING_MPS2 = 1.0, 3.5, 4.0, 8.0
"""Defaults of ad-rss-lib (Gassmann et al., IEEE IV 2019)."""


@compiled
def has_cause_to_brake(
    accel_mps2: Floats, speed_mps: float, gap_m: float, ttc_s: float, drac_mps2: float
) -> bool:
    """Whether the traffic justifies hard braking in a tick.

    The time to collision is below 6 s, the needed deceleration above 0.5 m/s², the gap below 5 m
    and half a second, or a peer ahead brakes harder than 1 m/s². `accel_mps2` is that of all slots,
    (num_slots,); the others are of the ego, slot 0, and between it and the car in front.
    """
    if ttc_s < CAUSE_TTC_S or drac_mps2 > CAUSE_DRAC_MPS2:
        return True
    if gap_m < SHORT_GAP_M + SHORT_HEADWAY_S * speed_mps:
        return True
    for v in range(1, accel_mps2.size):  # noqa: SIM110 (numba compiles no generators)
        if accel_mps2[v] < -CAUSE_PEER_BRAKES_MPS2:
            return True
    return False


@compiled
def overreaction_share(overreaction_mps2: float) -> float:
    """What share of an overreaction is paid for: 0 up to 0.5 m/s², 1 from 1.5, linear between.

    A half where one begins to count (1 m/s²). `overreaction_mps2` is the metric of that name.
    """
    beyond = overreaction_mps2 - _OVERREACTION_NONE_MPS2
    return min(max(beyond / (_OVERREACTION_FULL_MPS2 - _OVERREACTION_NONE_MPS2), 0.0), 1.0)


Episodes = Literal["all", "hazards", "quiet", "crashes"]
"""`quiet`: benign and free ones. Invalid episodes count nowhere."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of an episode: a column of an evaluation's rows.

    Attributes:
        name: The column.
        unit: "1" for shares, flags and counts.
        formula: What it is, and its source where it has one.
        threshold: The numbers in it.
        mean_over: The episodes over which an evaluation gives its mean; "" for none.
        summary: Its name in the environment's `episode_summary`; "" where that has none.
    """

    name: str
    unit: str
    formula: str
    threshold: str = ""
    mean_over: Episodes | Literal[""] = ""
    summary: str = ""


_RSS = (
    f"response {RSS_RESPONSE_S:g} s, acceleration {RSS_ACCEL_MPS2:g}, own braking "
    f"{RSS_LEAST_BRAKING_MPS2:g}, its braking {RSS_MOST_BRAKING_MPS2:g} m/s²"
)
_CAUSE = (
    f"cause: TTC < {CAUSE_TTC_S:g} s, DRAC > {CAUSE_DRAC_MPS2:g} m/s², gap < {SHORT_GAP_M:g} m + "
    f"{SHORT_HEADWAY_S:g} s · speed, a peer's braking > {CAUSE_PEER_BRAKES_MPS2:g} m/s², or a "
    "planned braking in progress"
)
_MOVING = f"speed > {HEADWAY_SPEED_MPS:g} m/s"
_CRITICAL = f"TTC* = {TTC_CRITICAL_S:g} s"

METRICS = (
    Metric("duration_s", "s", "length of the record", summary="duration_s"),
    Metric("crash", "1", "the ego touched the car in front", "gap ≤ 0", summary="collision"),
    Metric("crash_class", "–", "`unavoidable`: not avoidable; `blackout`: message_delay_s > "
           "delay_budget_s or no message; else `informed`"),
    Metric("avoidable", "1", "the reference ego does not crash"),
    Metric("informed", "1", "a message that shows the braking arrived before the record's end"),
    Metric("impact_speed_mps", "m/s", "closing speed where the gap passes 0", "", "crashes"),
    Metric("min_gap_m", "m", "smallest bumper-to-bumper gap; 0 in a crash", "", "hazards",
           "min_gap_m"),
    Metric("min_ttc_s", "s", "smallest time to collision, gap / closing speed (Hayward, 1972)",
           f"at most {TTC_HORIZON_S:g} s", "hazards"),
    Metric("max_drac_mps2", "m/s²", "largest deceleration rate to avoid a crash, closing² / "
           "(2 gap), before contact (Cooper and Ferguson, 1976)", "", "hazards"),
    Metric("tet_s", "s", "time with TTC < TTC* (Minderhoud and Bovy, 2001)", _CRITICAL, "hazards"),
    Metric("tit_s2", "s²", "integral of TTC* − TTC over that time (the same)", _CRITICAL,
           "hazards"),
    Metric("share_below_rss", "1", "share of time with a gap below RSS's safe distance "
           "(Shalev-Shwartz et al., 2017)", _RSS, "all"),
    Metric("reaction_after_onset_s", "s", "from the onset to the ego's first braking",
           f"braking > {REACTION_MPS2:g} m/s²", "hazards"),
    Metric("reaction_after_message_s", "s", "reaction_after_onset_s − message_delay_s",
           f"braking > {REACTION_MPS2:g} m/s²", "hazards"),
    Metric("false_brakes", "1", "events of braking without cause; an event ends where the braking "
           "or its lack of cause does", f"braking > {FALSE_BRAKE_MPS2:g} m/s²; {_CAUSE}",
           summary="false_brakes"),
    Metric("braking_share", "1", "share of ticks in which the ego brakes",
           f"braking > {BRAKING_MPS2:g} m/s²", "quiet", "braking_share"),
    Metric("max_decel_mps2", "m/s²", "hardest braking", "", "all", "max_decel_mps2"),
    Metric("jerk_p95_mps3", "m/s³", "95th percentile of the jerk's magnitude", "", "all"),
    Metric("headway_s", "s", "time headway: mean of gap / speed while moving", _MOVING, "all",
           "headway_s"),
    Metric("headway_net_s", "s", "mean of (gap − standstill distance) / speed while moving; the "
           "distance is the controller's, or the median gap while standing",
           f"{_MOVING}; standing: speed < {STANDING_MPS:g} m/s", "all"),
    Metric("string_gain_l2", "1", "‖a_ego‖₂ / ‖a_ahead‖₂ over the episode", "", "all"),
    Metric("gain_at_fundamental", "1", "ratio of the speeds' amplitudes at a sinusoidal leader's "
           "frequency", "", "all"),
    Metric("speed_dip_ratio", "1", "ratio of the largest drops in speed, ego to car in front", "",
           "all"),
    Metric("distance_m", "m", "driven by the ego, ∫ speed dt by trapezia", summary="distance_m"),
    Metric("progress", "1", "distance_m / the distance of the car in front", "", "all"),
    Metric("delivery_ratio", "1", "beacons that became the newest of their peer / beacons sent", "",
           "all"),
    Metric("age_p50_s", "s", "median true age of the car in front's newest message", "", "all"),
    Metric("age_p95_s", "s", "95th percentile of the same", "", "all"),
    Metric("age_max_s", "s", "largest of the same", "", "all"),
    Metric("longest_blackout_s", "s", "longest time without a new message of the car in front", "",
           "all"),
    Metric("delay_budget_s", "s", "longest delay from the onset to full braking without a crash",
           "", "hazards"),
    Metric("message_delay_s", "s", "from the onset to the first message that shows it"),
    Metric("overreaction_mps2", "m/s²", "hardest braking after the onset − that of the peer that "
           "brakes", f"an overreaction: > {OVERREACTION_MPS2:g} m/s² to a benign slowing"),
    Metric("mean_return", "1", "sum of the reward", "", "all", "return"),
)  # fmt: skip
"""In the order of `docs/metrics.md`, which is the code's own."""

OVER_EPISODES = {
    "crash_rate": "crashes / avoidable hazards",
    "informed_crash_rate": "crashes of class `informed` / avoidable hazards",
    "blackout_crash_rate": "crashes of class `blackout` / avoidable hazards",
    "quiet_crash_rate": "crashes / quiet episodes",
    "unavoidable_rate": "unavoidable hazards / hazards",
    "unavoidable_crash_rate": "crashes / unavoidable hazards",
    "informed_rate": "informed hazards / hazards",
    "overreaction_rate": f"benign episodes with overreaction_mps2 > {OVERREACTION_MPS2:g} / those "
    "that have one",
    "false_brakes_per_km": "Σ false_brakes / Σ distance_m · 1000, quiet episodes",
    "false_brakes_per_h": "Σ false_brakes / Σ duration_s · 3600, quiet episodes",
}
"""Figures of many episodes that are no mean of a column."""

OF_ACCEPTANCE = {
    "braking_share_all": "mean of braking_share over all episodes, 60 % of the weight on hazards",
    "string_gain_l2_p95": "95th percentile of string_gain_l2 over episodes",
}
"""More of them, which the acceptance tests alone have."""

OF_RECORDED_DRIVE = {
    "firing_share": f"share of moving ticks in which a driver would brake > {FALSE_BRAKE_MPS2:g} "
    f"m/s²; moving: speed > {HEADWAY_SPEED_MPS:g} m/s",
    "starts_per_km": "starts of firing / distance_m · 1000, in moving ticks within "
    f"{CAUSE_S:g} s of which no board brakes > {CAUSE_PEER_BRAKES_MPS2:g} m/s²",
    "hits": f"hard brakings of the ego's driver with firing in the {WARNED_S:g} s before he reacts "
    f"(brakes > {REACTION_MPS2:g} m/s²); of peers: in the {ANSWERED_S:g} s from the onset on, "
    "before the ego's driver brakes himself; where he does already, it does not count",
    "expected_hits": "mean of hits over all circular shifts of the firing series against the "
    "events, moving ticks alone",
    "p_value": "(1 + #≥) / (1 + shifts): # of these shifts with no fewer hits, and of equal hits "
    "no earlier ones; one-sided",
    "lead_s": f"from the start of firing, within {WARNED_S:g} s before to {LATE_S:g} s after, to "
    "where the ego's driver reacts; a warning if above 0",
    "answer_s": "from the onset of a peer's hard braking to the first firing, within "
    f"{ANSWERED_S:g} s and before the ego's driver brakes himself",
}
"""Figures of a recorded drive (`roadsense judge-drive`), where no truth is known but the logs."""

CURVES = {
    "rollout/ep_rew_mean": "mean of `return`, of settled episodes",
    "rollout/ep_len_mean": "mean of their ticks",
    "episodes/finished": "episodes that ended in the rollout",
    "episodes/collision_rate": "`collision`, share of the valid among settled episodes",
    "episodes/collision_rate_<kind>": "the same of hazards, benign and free ones",
    "episodes/collision_rate_replayed": "of critical cases that are driven again (`env.cases`); "
    "all other curves of episodes are of the others",
    "episodes/invalid_share": "`invalid`, share of settled episodes",
    "reward/<term>": "mean per tick of the weighted term (`ml.envs.scoring.reward`)",
    "reward_firing/<term>": "share of ticks in which the term is not 0",
    "observation/clipped_share": "share of the observation's numbers that were clipped",
    "radio/delivery_ratio": "own frames received / sent to the ego",
    "radio/age_p50_s, _p95_s, _max_s": "true age of the newest messages, s",
    "simulator/restarts": "SUMO processes that were lost and replaced",
    "evaluation/<figure>": "figures of the periodic evaluation, defined as above",
    "time/steps_per_second": "acting, simulating and learning",
}
"""TensorBoard's curves. Settled episodes: those that began before every one that still runs, the
latest 100 or more. Crashes end early; by the order of their ends they would come first."""
