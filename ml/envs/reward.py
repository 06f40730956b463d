"""Reward: named terms, each bounded, times weights. Reads ground truth, never the radio.

| term | range | meaning |
|---|---|---|
| `headway` | [0, 1] | the gap is in the band that a good driver keeps; falls off on either side |
| `safety` | [−1, 0] | needed deceleration (DRAC) beyond 2 m/s², or a time headway below 0.5 s |
| `collision` | {−1, 0} | bumper touched bumper, once |
| `comfort` | [−1, 0] | jerk beyond 5 m/s³ |
| `false_braking` | [−1, 0] | braking harder than 2 m/s² for no reason in the traffic |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.envs.config import RewardWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.envs.ground_truth import GroundTruth

TERMS = tuple(RewardWeights.model_fields)
PENALTIES = ("safety", "comfort", "false_braking")
"""Terms that must be silent in ordinary driving (audited)."""

STANDSTILL_M = 5.0
BAND_LOW_S, BAND_HIGH_S = 0.8, 1.6
BAND_EXTRA_M = 8.0
_FALLOFF_HIGH_M = 60.0
_DRAC_FREE_MPS2, _DRAC_FULL_MPS2 = 2.0, 8.0
_SHORT_HEADWAY_S = 0.5
_MOVING_MPS = 1.0
_JERK_FREE_MPS3, _JERK_FULL_MPS3 = 5.0, 80.0
FALSE_BRAKE_MPS2 = 2.0
_BRAKE_FULL_MPS2 = 8.0
_CAUSE_TTC_S, _CAUSE_DRAC_MPS2 = 6.0, 0.5


def _ramp(
    values: NDArray[np.float64], start: float | NDArray[np.float64], full: float
) -> NDArray[np.float64]:
    """0 up to `start`, 1 from `full`, linear between."""
    return np.clip((values - start) / (full - start), 0.0, 1.0)


def has_cause_to_brake(truth: GroundTruth, braking_now: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(num_envs,) bool: something in the traffic justifies braking harder than 2 m/s².

    A peer's planned braking is in progress, the time to collision is below 6 s, the needed
    deceleration is above 0.5 m/s², any peer ahead brakes harder than 1 m/s², or the gap is below
    the standstill distance and half a second.
    """
    speed = truth.speed_mps[:, 0]
    peer_brakes = (truth.accel_mps2[:, 1:] < -1.0).any(axis=1)
    close = truth.gap_m < STANDSTILL_M + _SHORT_HEADWAY_S * speed
    closing = (truth.ttc_s < _CAUSE_TTC_S) | (truth.drac_mps2 > _CAUSE_DRAC_MPS2)
    return braking_now | peer_brakes | close | closing


def reward_terms(
    truth: GroundTruth, braking_now: NDArray[np.bool_], collided: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Compute every term, unweighted.

    Args:
        truth: Ground truth of the batch.
        braking_now: (num_envs,) bool, a planned braking is in progress.
        collided: (num_envs,) bool.

    Returns:
        Term name → (num_envs,) float64 within the range of the table above.
    """
    speed, accel = truth.speed_mps[:, 0], truth.accel_mps2[:, 0]
    low = STANDSTILL_M + BAND_LOW_S * speed
    high = STANDSTILL_M + BAND_EXTRA_M + BAND_HIGH_S * speed
    too_near = np.clip(truth.gap_m / low, 0.0, 1.0)
    too_far = 1.0 - _ramp(truth.gap_m - high, 0.0, _FALLOFF_HIGH_M)
    short = np.clip(1.0 - truth.gap_m / (_SHORT_HEADWAY_S * np.maximum(speed, 1e-6)), 0.0, 1.0)
    danger = np.maximum(
        _ramp(truth.drac_mps2, _DRAC_FREE_MPS2, _DRAC_FULL_MPS2),
        np.where(speed > _MOVING_MPS, short, 0.0),
    )
    needless = ~has_cause_to_brake(truth, braking_now)
    return {
        "headway": np.minimum(too_near, too_far),
        "safety": -danger,
        "collision": -collided.astype(np.float64),
        "comfort": -_ramp(np.abs(truth.jerk_mps3), _JERK_FREE_MPS3, _JERK_FULL_MPS3),
        "false_braking": -np.where(
            needless, _ramp(-accel, FALSE_BRAKE_MPS2, _BRAKE_FULL_MPS2), 0.0
        ),
    }


def weigh(terms: dict[str, NDArray[np.float64]], weights: RewardWeights) -> NDArray[np.float64]:
    """Sum the weighted terms; (num_envs,) float64."""
    total = np.zeros_like(terms["headway"])
    for name in TERMS:
        total += getattr(weights, name) * terms[name]
    return total
