"""Which frames are lost: bursts on every directed link, more of them with distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.errors import EmulatorError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.espnow_emulator.radio_parameters import LossParameters

_TOLERANCE = 1e-9


class BurstLoss:
    """A two-state chain per directed link (Gilbert 1960, Elliott 1963), one step per frame sent.

    A frame is lost in the bad state and delivered in the good one. With loss p and mean burst L
    at the frame's distance, the chain leaves the bad state with probability 1 / L and enters it
    with p / ((1 - p) L); the first frame of an episode draws the state from the stationary
    distribution. So at a constant distance the loss is p and the mean burst L from the first
    frame on, in expectation exactly.

    Args:
        parameters: Loss and burst over distance, and the factors on them.
        shape: (E, R, S): convoys, receivers, sources.
    """

    def __init__(self, parameters: LossParameters, shape: tuple[int, int, int]) -> None:
        knots = parameters.by_distance
        self._distance_m = np.array([knot.distance_m for knot in knots])
        self._probability = np.array([knot.probability for knot in knots])
        self._burst = np.array([knot.mean_burst_frames for knot in knots])
        self._all_lost = bool((self._probability == 1.0).all())
        self._none_lost = bool((self._probability == 0.0).all())
        self._bad = np.zeros(shape, dtype=bool)
        self._odds_factor = np.full(shape[0], parameters.odds_factor)
        self._burst_factor = np.full(shape[0], parameters.burst_factor)

    def reset(
        self,
        env_indices: NDArray[np.int64],
        odds_factor: NDArray[np.float64],
        burst_factor: NDArray[np.float64],
    ) -> None:
        """Set the factors of the given convoys for an episode, (K,) each.

        Raises:
            EmulatorError: No chain has these statistics.
        """
        self._bad[env_indices] = False
        self._odds_factor[env_indices] = odds_factor
        self._burst_factor[env_indices] = burst_factor
        if self._all_lost:
            return
        burst = self._burst * burst_factor[:, None]
        entering = self._probability / (1.0 - self._probability) * odds_factor[:, None] / burst
        if (entering > 1.0 + _TOLERANCE).any() or (burst < 1.0 - _TOLERANCE).any():
            raise EmulatorError(
                "the overrides of radio.loss.odds_factor and radio.loss.burst_factor ask for "
                f"bursts of {burst.min():.4g} frames or more that begin with a probability of up "
                f"to {entering.max():.4g}, allowed are bursts of 1 or more and probabilities up "
                "to 1: lower odds_factor or raise burst_factor."
            )

    def lost(
        self,
        draw: NDArray[np.float64],
        distance_m: NDArray[np.float64],
        *,
        first: NDArray[np.bool_],
        sending: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Move the chain of every link that sends by one frame.

        Args:
            draw: (E, R, S) uniform in [0, 1).
            distance_m: (E, R, S).
            first: (E, 1, S), the frame is its source's first in the episode.
            sending: (E, 1, S).

        Returns:
            (E, R, S) bool, True where a frame was sent and lost.
        """
        if self._none_lost:
            return np.zeros(draw.shape, dtype=bool)
        if self._all_lost:
            return np.broadcast_to(sending, draw.shape)
        lost = np.zeros(draw.shape, dtype=bool)
        _move_chains(
            draw,
            distance_m,
            first,
            sending,
            self._distance_m,
            self._probability,
            self._burst,
            self._odds_factor,
            self._burst_factor,
            self._bad,
            lost,
        )
        return lost


@compiled
def _move_chains(
    draw: NDArray[np.float64],
    distance_m: NDArray[np.float64],
    first: NDArray[np.bool_],
    sending: NDArray[np.bool_],
    knot_m: NDArray[np.float64],
    probability: NDArray[np.float64],
    mean_burst: NDArray[np.float64],
    odds_factor: NDArray[np.float64],
    burst_factor: NDArray[np.float64],
    bad: NDArray[np.bool_],
    lost: NDArray[np.bool_],
) -> None:
    """Move the chain `bad` (E, R, S) of each link that sends and note in `lost` what it loses.

    The knots are (n,), the factors (E,), the rest as for `BurstLoss.lost`.
    """
    for e in range(bad.shape[0]):
        for r in range(bad.shape[1]):
            for s in range(bad.shape[2]):
                if not sending[e, 0, s]:
                    continue
                p = _interpolated(distance_m[e, r, s], knot_m, probability)
                odds = p / (1.0 - p) * odds_factor[e]
                leave = 1.0 / (
                    _interpolated(distance_m[e, r, s], knot_m, mean_burst) * burst_factor[e]
                )
                if first[e, 0, s]:
                    threshold = odds / (1.0 + odds)
                elif bad[e, r, s] and odds > 0.0:
                    threshold = 1.0 - leave
                else:
                    threshold = odds * leave
                bad[e, r, s] = draw[e, r, s] < threshold
                lost[e, r, s] = bad[e, r, s]


@compiled
def _interpolated(
    distance_m: float, knot_m: NDArray[np.float64], values: NDArray[np.float64]
) -> float:
    """Linear between knots, constant before the first and after the last."""
    k = 0
    while k < knot_m.size and knot_m[k] <= distance_m:
        k += 1
    if k == 0:
        return float(values[0])
    if k == knot_m.size:
        return float(values[-1])
    slope = (values[k] - values[k - 1]) / (knot_m[k] - knot_m[k - 1])
    return float(slope * (distance_m - knot_m[k - 1]) + values[k - 1])
