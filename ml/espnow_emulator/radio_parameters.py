"""The parameters of the radio, validated; every number says where it comes from.

A field marked `randomisable` may be drawn anew for each episode (domain randomisation); the
channel then holds one value per convoy.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_RANDOMISABLE: dict[str, Any] = {"randomisable": True}
_TOLERANCE = 1e-9


class RadioSection(BaseModel):
    """Base of every section: immutable, no unknown keys, no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class BeaconParameters(RadioSection):
    """When a node samples its state and sends it, within each interval of 100 ms."""

    phase_ms: float | None = Field(
        default=None,
        ge=0.0,
        lt=100.0,
        description=(
            "Offset of every beacon into its 100 ms interval. null: uniform in [0, 100) per node "
            "and episode, as boards that were switched on independently; the phase of a pair was "
            "nearly constant over whole drives, and it dominates the age of what a car hears."
        ),
    )


class LatencyParameters(RadioSection):
    """One-way latency: a constant plus a log-normal tail.

    Half round-trip times of four field logs (34,458 samples) have a mean of 3.35 to 4.01 ms, a
    median of 2.5 to 3.5, a 95th percentile of 6.0 to 6.5 and a maximum of 24 to 85 ms: skewed to
    the right, not Gaussian.
    """

    base_ms: float = Field(
        default=1.5,
        ge=0.0,
        le=10_000.0,
        description="Least latency: 1.26 ms of a 90-byte frame on the air at 1 Mb/s, and the MAC.",
        json_schema_extra=_RANDOMISABLE,
    )
    tail_median_ms: float = Field(
        default=1.6,
        ge=0.0,
        le=10_000.0,
        description="Median of the log-normal part; 0 switches it off.",
        json_schema_extra=_RANDOMISABLE,
    )
    tail_sigma: float = Field(
        default=0.65,
        ge=0.0,
        le=2.0,
        description="Standard deviation of the logarithm of that part, from the percentiles.",
        json_schema_extra=_RANDOMISABLE,
    )


class LossKnot(RadioSection):
    """Loss at one distance; linear between knots, constant before the first and after the last."""

    distance_m: float = Field(ge=0.0, le=100_000.0, description="From sender to receiver.")
    probability: float = Field(
        ge=0.0, le=1.0, description="Share of frames that are lost in the long run."
    )
    mean_burst_frames: float = Field(
        ge=1.0,
        le=10_000.0,
        description="Mean number of frames lost in a row; independent loss p has 1 / (1 - p).",
    )


class LossParameters(RadioSection):
    """Bursts of loss on each directed link: a two-state chain (Gilbert 1960, Elliott 1963).

    A frame is lost in the bad state and delivered in the good one. At a constant distance the
    long-run loss is exactly the `probability`, and the mean burst exactly `mean_burst_frames`.
    """

    by_distance: tuple[LossKnot, ...] = Field(
        min_length=1, description="Knots in order of distance."
    )
    odds_factor: float = Field(
        default=1.0,
        ge=0.01,
        le=100.0,
        description=(
            "Multiplies the odds p / (1 - p) of loss at every distance: a worse or better "
            "mounting of the antennas. Leaves 0 and 1 where they are."
        ),
        json_schema_extra=_RANDOMISABLE,
    )
    burst_factor: float = Field(
        default=1.0,
        ge=0.01,
        le=100.0,
        description="Multiplies every mean burst length.",
        json_schema_extra=_RANDOMISABLE,
    )

    def infeasibility(self, *, odds_factor: float, burst_factor: float) -> str | None:
        """Say why no two-state chain has these statistics, or return None if one has.

        The chain turns bad with probability p / ((1 - p) L), which must not exceed 1, and a
        burst has at least one frame. Both hold between two knots if they hold at the knots.

        Args:
            odds_factor: Factor on the odds of loss to judge the table with.
            burst_factor: Factor on the mean burst to judge the table with.
        """
        if all(knot.probability == 1.0 for knot in self.by_distance):
            return None
        for knot in self.by_distance:
            where = f"at {knot.distance_m:g} m"
            burst = knot.mean_burst_frames * burst_factor
            if burst < 1.0 - _TOLERANCE:
                return (
                    f"{where} the mean burst is {knot.mean_burst_frames:g} x burst_factor "
                    f"{burst_factor:g} = {burst:.4g} frames, allowed is 1 or more: raise "
                    "mean_burst_frames or burst_factor"
                )
            odds = knot.probability * odds_factor
            loss = odds / (1.0 - knot.probability + odds)
            longest = burst / (1.0 + burst)
            if loss > longest + _TOLERANCE:
                remedy = (
                    f"lower the loss to {longest:.4g}, or raise the mean burst to "
                    f"{loss / (1.0 - loss):.4g}"
                    if loss < 1.0
                    else "loss 1 is possible only if every knot has it; stop at 0.99 or so"
                )
                return (
                    f"{where} a loss of {loss:.4g} (with odds_factor {odds_factor:g}) cannot come "
                    f"in bursts of {burst:.4g} frames on average, even with a single delivered "
                    f"frame between them: {remedy}"
                )
        return None

    @model_validator(mode="after")
    def _check_table(self) -> Self:
        distances = [knot.distance_m for knot in self.by_distance]
        for before, after in pairwise(distances):
            if after <= before:
                msg = (
                    f"by_distance: {after:g} m follows {before:g} m, allowed are distances that "
                    "grow from knot to knot: sort the knots and remove doubles"
                )
                raise ValueError(msg)
        problem = self.infeasibility(odds_factor=self.odds_factor, burst_factor=self.burst_factor)
        if problem is not None:
            raise ValueError(problem)
        return self


class ClockParameters(RadioSection):
    """Each board counts milliseconds since its own start, a little too fast or too slow."""

    offset_range_s: float = Field(
        default=600.0,
        ge=0.0,
        le=1e6,
        description="Boards were started up to so long before the episode: offsets of minutes.",
    )
    drift_sd_ppm: float = Field(
        default=8.0,
        ge=0.0,
        le=1000.0,
        description="Spread of the clocks' rates; measured between -17.6 and +13 ppm.",
    )
    drift_limit_ppm: float = Field(
        default=20.0, ge=0.0, le=1000.0, description="Drawn drifts are cut off here."
    )


class RadioParameters(RadioSection):
    """Everything the channel needs; see `ml.parameters` for files and presets."""

    beacon: BeaconParameters = BeaconParameters()
    latency: LatencyParameters = LatencyParameters()
    loss: LossParameters
    clock: ClockParameters = ClockParameters()
    time_to_live_ms: float = Field(
        default=10_000.0,
        gt=0.0,
        le=1e7,
        description=(
            "A peer whose newest message is older is no longer shown to the policy. Judgement. "
            "The rule is applied by the environment; the radio itself forgets nothing."
        ),
    )
