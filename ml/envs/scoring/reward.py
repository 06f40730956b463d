"""Reward: named terms, each bounded, times weights. Reads ground truth, never the radio.

| term | range | meaning |
|---|---|---|
| `headway` | [0, 1] | the gap is the one that the driver has set; falls off on either side |
| `safety` | [−1, 0] | needed deceleration (DRAC) beyond 2 m/s², or a time headway below 0.5 s |
| `collision` | {−1, 0} | bumper touched bumper, once |
| `comfort` | [−1, 0] | squares of the jerk beyond 0.8 m/s³ and of the braking beyond 1.5 m/s² |
| `false_braking` | [−1, 0] | braking harder than 1.5 m/s² without a cause in the traffic |
| `restraint` | [−1, 0] | wishing more, by over 0.5 m/s², than the safety layer lets pass |
| `braking` | {−1, 0} | braking harder than 0.2 m/s² in an episode without a hazard |
| `overreaction` | [−1, 1] | braking harder after a benign slowing's onset than whoever slows |

The weights are the prices of `ml.envs.prices` by default. `safety` and `restraint` have no price:
they teach. A crash is charged where the reference ego would not have crashed too
(`ml.envs.truth.reference_driver`). An overreaction is charged up to `overreaction_share`
(`ml.envs.scoring.metrics`): each tick what it adds, which is given back where whoever slows brakes
as hard after all, so that an episode sums up to [−1, 0].

`restraint` is silent without a safety layer. Behind one, without it, a wish for too much costs
nothing, and a policy learns to ride on the bound.
"""

from ml.arrays import Bools, Floats
from ml.compiled import compiled
from ml.envs.config import RewardWeights
from ml.envs.scoring.metrics import (
    BRAKING_MPS2,
    FALSE_BRAKE_MPS2,
    SHORT_HEADWAY_S,
    has_cause_to_brake,
)
from ml.envs.truth.ground_truth import GroundTruth
from ml.onboard.spacing import wanted_gap_m

TERMS = tuple(RewardWeights.model_fields)
_HEADWAY, _SAFETY, _COLLISION, _COMFORT, _FALSE_BRAKING, _RESTRAINT, _BRAKING, _OVERREACTION = (
    range(len(TERMS))
)
PENALTIES = ("safety", "comfort", "false_braking", "restraint")
"""Terms that must be silent in ordinary driving (audited)."""

_WIDTH_M, _WIDTH_S = 5.0, 0.5
"""Error of the gap at which half of the headway term is lost, at standstill and per speed."""
_DRAC_FREE_MPS2, _DRAC_FULL_MPS2 = 2.0, 8.0
_MOVING_MPS = 1.0
_JERK_FREE_MPS3, _JERK_FULL_MPS3 = 0.8, 5.8
_HARSH_FREE_MPS2, _HARSH_FULL_MPS2 = 1.5, 5.5
_FALSE_FREE_MPS2, _FALSE_FULL_MPS2 = 1.5, 3.0
_WITHHELD_FREE_MPS2, _WITHHELD_FULL_MPS2 = 0.5, 4.0


@compiled
def _ramp(value: float, start: float, full: float) -> float:
    """0 up to `start`, 1 from `full`, linear between."""
    return min(max((value - start) / (full - start), 0.0), 1.0)


@compiled
def fill_terms(
    truth: GroundTruth,
    time_gap_s: Floats,
    withheld_mps2: Floats,
    braking_now: Bools,
    charged: Bools,
    calm: Bools,
    overreacted: Floats,
    terms: Floats,
    needless: Bools,
) -> None:
    """Compute every term, unweighted.

    Args:
        truth: The batch after a tick.
        time_gap_s: (num_envs,), the time gap that each driver has set.
        withheld_mps2: (num_envs,), what the safety layer took off each wish.
        braking_now: (num_envs,), a planned braking is in progress, which is cause enough.
        charged: (num_envs,), the ego has just crashed, and is charged for it.
        calm: (num_envs,), the episode has no hazard.
        overreacted: (num_envs,), what the tick adds to `overreaction_share`.
        terms: (num_envs, 8), filled: a column for each of `TERMS`, in the range of the table above.
        needless: (num_envs,), filled: the ego brakes harder than 2 m/s² without cause.
    """
    for e in range(charged.size):
        speed, accel, gap = truth.speed_mps[e, 0], truth.accel_mps2[e, 0], truth.gap_m[e]
        ttc_s, drac_mps2 = truth.ttc_s[e], truth.drac_mps2[e]
        error = (gap - wanted_gap_m(speed, time_gap_s[e])) / (_WIDTH_M + _WIDTH_S * speed)
        terms[e, _HEADWAY] = 1.0 / (1.0 + error * error)

        danger = _ramp(drac_mps2, _DRAC_FREE_MPS2, _DRAC_FULL_MPS2)
        if speed > _MOVING_MPS:
            danger = max(danger, min(max(1.0 - gap / (SHORT_HEADWAY_S * speed), 0.0), 1.0))
        terms[e, _SAFETY] = -danger
        terms[e, _COLLISION] = -1.0 if charged[e] else 0.0
        rough = _ramp(abs(truth.jerk_mps3[e]), _JERK_FREE_MPS3, _JERK_FULL_MPS3)
        harsh = _ramp(-accel, _HARSH_FREE_MPS2, _HARSH_FULL_MPS2)
        terms[e, _COMFORT] = -min(rough * rough + harsh * harsh, 1.0)

        idle = accel < -_FALSE_FREE_MPS2 and not (
            braking_now[e] or has_cause_to_brake(truth.accel_mps2[e], speed, gap, ttc_s, drac_mps2)
        )
        needless[e] = idle and accel < -FALSE_BRAKE_MPS2
        false = _ramp(-accel, _FALSE_FREE_MPS2, _FALSE_FULL_MPS2) if idle else 0.0
        terms[e, _FALSE_BRAKING] = -false
        terms[e, _RESTRAINT] = -_ramp(withheld_mps2[e], _WITHHELD_FREE_MPS2, _WITHHELD_FULL_MPS2)
        terms[e, _BRAKING] = -1.0 if calm[e] and accel < -BRAKING_MPS2 else 0.0
        terms[e, _OVERREACTION] = -overreacted[e]
