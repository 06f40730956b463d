"""Which frames are lost: bursts on every directed link, more of them with distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
        self._some_free = bool((self._probability == 0.0).any())
        self._one_burst = bool((self._burst == self._burst[0]).all())
        self._bad = np.zeros(shape, dtype=bool)
        self._odds_factor = np.full((shape[0], 1, 1), parameters.odds_factor)
        self._burst_factor = np.full((shape[0], 1, 1), parameters.burst_factor)

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
        self._odds_factor[env_indices, 0, 0] = odds_factor
        self._burst_factor[env_indices, 0, 0] = burst_factor
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
        probability = np.interp(distance_m, self._distance_m, self._probability)
        odds = probability / (1.0 - probability)
        odds *= self._odds_factor
        burst = (
            self._burst[0]
            if self._one_burst
            else np.interp(distance_m, self._distance_m, self._burst)
        )
        leave = 1.0 / (burst * self._burst_factor)
        threshold = np.where(self._bad, 1.0 - leave, odds * leave)
        if self._some_free:
            threshold[odds == 0.0] = 0.0
        if first.any():
            np.copyto(threshold, odds / (1.0 + odds), where=first)
        np.copyto(self._bad, draw < threshold, where=sending)
        return self._bad & sending
