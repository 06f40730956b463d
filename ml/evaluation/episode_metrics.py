"""From the trace of an episode to its figures, as `ml.envs.scoring.metrics` defines them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.compiled import compiled
from ml.envs.scoring.metrics import (
    BRAKING_MPS2,
    RSS_ACCEL_MPS2,
    RSS_LEAST_BRAKING_MPS2,
    RSS_MOST_BRAKING_MPS2,
    RSS_RESPONSE_S,
    STANDING_MPS,
    TTC_CRITICAL_S,
)
from ml.envs.truth.ground_truth import needed_braking_mps2, time_to_collision_s
from ml.evaluation.delay_budget import delay_budget_s
from ml.evaluation.recording import Column, EpisodeTrace
from ml.evaluation.result import CrashClass
from ml.vehicle import DT_S, HEADWAY_SPEED_MPS, REACTION_MPS2

_LEAST_NORM, _LEAST_DIP_MPS = 0.1, 0.5
_SETTLING_S = 10.0
_LEAST_SWING_MPS = 0.1
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What is known of an episode beside its trace.

    Attributes:
        hazard: A peer brings a hazard.
        num_peers: Cars ahead of the ego.
        onset_tick: First tick of the braking.
        avoidable: The reference ego did not crash.
        informed_s: When the first message that shows the hazard had arrived, s since reset; None
            if it never did.
        standstill_m: The controller's standstill distance; NaN where it has none, None where the
            median gap below 1 m/s is to be taken for it (trained policies).
        frequency_hz: Of a sinusoidal leader; None otherwise.
    """

    hazard: bool
    num_peers: int
    onset_tick: int
    avoidable: bool
    informed_s: float | None
    standstill_m: float | None = None
    frequency_hz: float | None = None


def measure(trace: EpisodeTrace, facts: CaseFacts) -> dict[str, Any]:
    """Compute every figure of `EpisodeRow` that a trace decides, by the row's names.

    What is not defined in this episode is NaN. Figures of the ego end at its crash.
    """
    crash_tick = trace.crash_tick
    crashed = crash_tick is not None
    driven = trace if crash_tick is None else EpisodeTrace(trace.values[:, : crash_tick + 1])
    before = EpisodeTrace(driven.values[:, :-1]) if crashed else driven
    return {
        "crash": crashed,
        "impact_speed_mps": _impact_speed(driven) if crashed else _NAN,
        **_safety(driven, before),
        **_comfort(before),
        **_following(driven, facts),
        **_string(driven, facts),
        **_radio(trace, facts.num_peers),
        **_cause_of_crash(trace, before, facts, crashed=crashed),
        "mean_return": float(driven[Column.REWARD].sum()),
        "overreaction_mps2": _overreaction(before, facts.onset_tick),
    }


def conflicts(trace: EpisodeTrace) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Time to collision in s and deceleration rate to avoid a crash in m/s², (ticks + 1,) each."""
    return _conflicts(trace[Column.GAP_M], _closing(trace))


@compiled
def _conflicts(
    gap_m: NDArray[np.float64], closing_mps: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ttc_s, drac_mps2 = np.empty(gap_m.size), np.empty(gap_m.size)
    for t in range(gap_m.size):
        ttc_s[t] = time_to_collision_s(gap_m[t], closing_mps[t])
        drac_mps2[t] = needed_braking_mps2(gap_m[t], closing_mps[t])
    return ttc_s, drac_mps2


def rss_distance_m(speed_mps: Any, lead_mps: Any) -> NDArray[np.float64]:
    """Safe longitudinal distance of RSS (Shalev-Shwartz et al., 2017), same shape as the speeds."""
    reached = speed_mps + RSS_RESPONSE_S * RSS_ACCEL_MPS2
    distance = (
        speed_mps * RSS_RESPONSE_S
        + 0.5 * RSS_ACCEL_MPS2 * RSS_RESPONSE_S**2
        + reached**2 / (2.0 * RSS_LEAST_BRAKING_MPS2)
        - lead_mps**2 / (2.0 * RSS_MOST_BRAKING_MPS2)
    )
    safe: NDArray[np.float64] = np.maximum(distance, 0.0)
    return safe


def _closing(trace: EpisodeTrace) -> NDArray[np.float64]:
    return trace[Column.SPEED_MPS] - trace[Column.LEAD_SPEED_MPS]


def _impact_speed(driven: EpisodeTrace) -> float:
    """Closing speed where the gap passed 0 between the last two ticks."""
    gap, closing = driven[Column.GAP_M][-2:], _closing(driven)[-2:]
    share = gap[0] / (gap[0] - gap[-1]) if gap[0] > gap[-1] else 1.0
    return float(max(closing[0] + share * (closing[-1] - closing[0]), 0.0))


def _safety(driven: EpisodeTrace, before: EpisodeTrace) -> dict[str, float]:
    """Measures of conflict, up to contact or, the needed deceleration, before it."""
    gap, (ttc, _) = driven[Column.GAP_M], conflicts(driven)
    exposed = ttc < TTC_CRITICAL_S
    safe_m = rss_distance_m(driven[Column.SPEED_MPS], driven[Column.LEAD_SPEED_MPS])
    return {
        "min_gap_m": max(float(gap.min()), 0.0),
        "min_ttc_s": float(ttc.min()),
        "max_drac_mps2": float(conflicts(before)[1].max()),
        "tet_s": float(exposed.sum() * DT_S),
        "tit_s2": float((TTC_CRITICAL_S - ttc[exposed]).sum() * DT_S),
        "share_below_rss": float((gap < safe_m).mean()),
    }


def _comfort(before: EpisodeTrace) -> dict[str, float | int]:
    """Up to contact: what the impact did is not the controller's."""
    accel = before[Column.ACCEL_MPS2][1:]
    jerk = np.abs(np.diff(accel)) / DT_S
    return {
        "false_brakes": int((np.diff(before[Column.NEEDLESS]) > 0.0).sum()),
        "braking_share": _mean(accel < -BRAKING_MPS2),
        "jerk_p95_mps3": float(np.percentile(jerk, 95)) if jerk.size else _NAN,
        "max_decel_mps2": float(np.abs(np.minimum(accel, 0.0)).max()) if accel.size else _NAN,
    }


def _overreaction(before: EpisodeTrace, onset_tick: int) -> float:
    """How much harder the ego braked after the onset than the peer that brought it about."""
    own, peer = (
        before[column][onset_tick + 1 :] for column in (Column.ACCEL_MPS2, Column.BRAKE_ACCEL_MPS2)
    )
    if not own.size or peer.min() >= 0.0:
        return _NAN
    return float(max(-own.min(), 0.0) + peer.min())


def _following(driven: EpisodeTrace, facts: CaseFacts) -> dict[str, float]:
    speed, gap = driven[Column.SPEED_MPS], driven[Column.GAP_M]
    distance_m = float((speed[1:] + speed[:-1]).sum() * 0.5 * DT_S)
    lead_m = _lead_travel_m(driven)
    moving, standing = speed > HEADWAY_SPEED_MPS, speed < STANDING_MPS
    standstill_m = facts.standstill_m
    if standstill_m is None:
        standstill_m = float(np.median(gap[standing])) if standing.any() else _NAN
    net = (gap - standstill_m)[moving] / speed[moving]
    return {
        "distance_m": distance_m,
        "progress": _ratio(distance_m, lead_m, 1.0),
        "headway_s": _mean(gap[moving] / speed[moving]),
        "headway_net_s": _mean(net),
    }


def _lead_travel_m(driven: EpisodeTrace) -> float:
    """What the car in front has driven while it was in front, whichever it was."""
    position_m, slot = driven[Column.LEAD_POS_M], driven[Column.LEAD_SLOT]
    if (slot == slot[0]).all():
        return float(position_m[-1] - position_m[0])
    return float(np.diff(position_m)[slot[1:] == slot[:-1]].sum())


def _string(driven: EpisodeTrace, facts: CaseFacts) -> dict[str, float]:
    own, ahead = driven[Column.ACCEL_MPS2], driven[Column.LEAD_ACCEL_MPS2]
    norm = float(np.sqrt((ahead**2).sum() * DT_S))
    speed, lead_speed = driven[Column.SPEED_MPS], driven[Column.LEAD_SPEED_MPS]
    lead_dip = float(lead_speed[0] - lead_speed.min())
    if (driven[Column.LEAD_SLOT] != driven[Column.LEAD_SLOT][0]).any():
        norm = lead_dip = 0.0  # what two different cars do is no disturbance that is passed on
    return {
        "string_gain_l2": _ratio(np.sqrt((own**2).sum() * DT_S), norm, _LEAST_NORM),
        "speed_dip_ratio": _ratio(speed[0] - speed.min(), lead_dip, _LEAST_DIP_MPS),
        "gain_at_fundamental": _NAN
        if facts.frequency_hz is None
        else _gain_at(facts.frequency_hz, speed, lead_speed, facts.onset_tick),
    }


def _gain_at(
    frequency_hz: float, speed: NDArray[np.float64], lead: NDArray[np.float64], onset_tick: int
) -> float:
    """Ratio of amplitudes over the last whole periods, once the beginning has died away.

    Not a number where the car in front hardly swings: cars before it have damped it all, and a
    ratio to next to nothing would be the ego's noise.
    """
    period = round(1.0 / frequency_hz / DT_S)
    ticks = (speed.size - onset_tick - round(_SETTLING_S / DT_S)) // period * period
    if ticks < period:
        return _NAN
    turn = np.exp(-2j * np.pi * frequency_hz * DT_S * np.arange(ticks))
    own, ahead = (abs(((s[-ticks:] - s[-ticks:].mean()) * turn).sum()) for s in (speed, lead))
    return float(own / ahead) if 2.0 * ahead / ticks >= _LEAST_SWING_MPS else _NAN


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else _NAN


def _ratio(above: float, below: float, least: float) -> float:
    """Not a number where the divisor is not above `least`."""
    return float(above) / below if below > least else _NAN


def _radio(trace: EpisodeTrace, num_peers: int) -> dict[str, float]:
    heard = trace[Column.HEARD] > 0.0
    ages = trace[Column.AGE_S][heard]
    p50, p95, largest = np.percentile(ages, [50, 95, 100]) if ages.size else (_NAN,) * 3
    arrivals = np.flatnonzero(trace[Column.FRESH])
    silences = np.diff(np.concatenate(([0], arrivals, [trace.ticks])))
    sent = trace.ticks * num_peers
    return {
        "delivery_ratio": _ratio(trace[Column.FRESH_PEERS].sum(), sent, 0.0),
        "age_p50_s": float(p50),
        "age_p95_s": float(p95),
        "age_max_s": float(largest),
        "longest_blackout_s": float(silences.max() * DT_S),
    }


def _cause_of_crash(
    trace: EpisodeTrace, before: EpisodeTrace, facts: CaseFacts, *, crashed: bool
) -> dict[str, Any]:
    """Reaction times, delay budget and the class of a crash."""
    informed = facts.hazard and facts.informed_s is not None
    budget_s = reaction_s = message_delay_s = _NAN
    onset = facts.onset_tick
    if facts.hazard:
        lead_m = trace[Column.LEAD_POS_M]
        budget_s = delay_budget_s(
            lead_m - lead_m[0],
            float(trace[Column.GAP_M][0]),
            float(trace[Column.SPEED_MPS][0]),
            onset,
        )
        braked = np.flatnonzero(before[Column.ACCEL_MPS2][onset + 1 :] < -REACTION_MPS2)
        reaction_s = float(braked[0] * DT_S) if braked.size else _NAN
        if facts.informed_s is not None:
            message_delay_s = facts.informed_s - onset * DT_S
    crash_class: CrashClass = ""
    if crashed and not facts.avoidable:
        crash_class = "unavoidable"
    elif crashed:
        in_time = not facts.hazard or (informed and message_delay_s <= budget_s)
        crash_class = "informed" if in_time else "blackout"
    return {
        "crash_class": crash_class,
        "avoidable": facts.avoidable,
        "informed": informed,
        "delay_budget_s": budget_s,
        "message_delay_s": message_delay_s,
        "reaction_after_onset_s": reaction_s,
        "reaction_after_message_s": reaction_s - message_delay_s,
    }
