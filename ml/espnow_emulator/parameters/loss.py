"""The parameters of the three loss models: margin (the default), and two baselines.

Tags of the descriptions say what a number rests on: [F] a published fact, [R] computed from field
recordings, [J] judgement.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ml.espnow_emulator.parameters.randomisable import RANDOMISABLE
from ml.espnow_emulator.parameters.section import RadioSection

LOSS_MODELS = ("margin", "gilbert_elliott", "independent")
_TOLERANCE = 1e-9


class BlackoutParameters(RadioSection):
    """Spells in which a receiver loses frames of all senders, locked to its own clock.

    On one recording car 40 to 55 % of all packets were lost for 1 to 1.5 s every 10.0 s, on both
    links; on another day it was absent [R].
    """

    share: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="Share of receivers that have it, drawn per receiver and episode. [J]",
        json_schema_extra=RANDOMISABLE,
    )
    loss: float = Field(
        default=0.42,
        ge=0.0,
        le=1.0,
        description="Share of frames lost within a spell. [R]",
        json_schema_extra=RANDOMISABLE,
    )
    length_s: float = Field(
        default=1.25,
        ge=0.0,
        le=60.0,
        description="How long a spell lasts. [R]",
        json_schema_extra=RANDOMISABLE,
    )
    period_s: float = Field(
        default=10.0,
        ge=0.1,
        le=600.0,
        description="Time from one spell's beginning to the next one's. [R]",
        json_schema_extra=RANDOMISABLE,
    )


class MarginLoss(RadioSection):
    """A link has a margin in dB, which moves slowly; fading about it decides each frame.

    Path loss, the mounting of both antennas, shadowing correlated over the travelled distance, a
    slow bias, cars in between, and Nakagami fading per frame. Losses are slowly modulated on the
    road (autocorrelation .25 at .1 s, still .10 at 1 s), which no two-state chain shows [R].
    """

    model: Literal["margin"] = "margin"
    margin_20m_db: float = Field(
        default=14.0,
        ge=-60.0,
        le=80.0,
        description=(
            "Margin at 20 m of two ordinary boards, fitted to loss over distance with the antennas "
            "spread about it; boards of single recordings had 8.4 to 11.2 [R]."
        ),
        json_schema_extra=RANDOMISABLE,
    )
    exponent_near: float = Field(
        default=0.8,
        ge=0.0,
        le=6.0,
        description="Path-loss exponent up to 60 m [R].",
        json_schema_extra=RANDOMISABLE,
    )
    exponent_far: float = Field(
        default=2.0,
        ge=0.0,
        le=6.0,
        description=(
            "Path-loss exponent beyond 60 m. Recordings up to 120 m want less than free space's 2; "
            "Abbas 2.85, TR 37.885 2.0 [J]."
        ),
        json_schema_extra=RANDOMISABLE,
    )
    shadowing_sd_db: float = Field(
        default=5.2,
        ge=0.0,
        le=20.0,
        description="Spread of the shadowing of a pair of cars; 0 switches it off [R].",
        json_schema_extra=RANDOMISABLE,
    )
    shadowing_distance_m: float = Field(
        default=12.0,
        gt=0.0,
        le=1000.0,
        description="Travelled distance over which shadowing decorrelates to 1/e [R].",
        json_schema_extra=RANDOMISABLE,
    )
    standstill_mps: float = Field(
        default=0.5,
        ge=0.0,
        le=30.0,
        description="Shadowing moves at least as fast as this: the surroundings move too [J].",
    )
    bias_sd_db: float = Field(
        default=2.5,
        ge=0.0,
        le=20.0,
        description="Spread of the slow bias of a directed link; 0 switches it off [R].",
        json_schema_extra=RANDOMISABLE,
    )
    bias_time_s: float = Field(
        default=30.0,
        gt=0.0,
        le=3600.0,
        description="Time over which the slow bias decorrelates to 1/e [R].",
        json_schema_extra=RANDOMISABLE,
    )
    bias_common_share: float = Field(
        default=0.4,
        ge=0.0,
        le=1.0,
        description="Share of that variance that is common to all links of a receiver [R].",
    )
    antenna_sd_db: float = Field(
        default=3.0,
        ge=0.0,
        le=20.0,
        description="Spread of antenna and mounting per car and episode; 0 switches it off [R].",
        json_schema_extra=RANDOMISABLE,
    )
    door_share: float = Field(
        default=0.03,
        ge=0.0,
        le=1.0,
        description="Share of cars whose board lies badly, as the one in a door did [R].",
        json_schema_extra=RANDOMISABLE,
    )
    door_loss_db: float = Field(
        default=25.0, ge=0.0, le=60.0, description="What such a place costs [R]."
    )
    fading_m: float | None = Field(
        default=3.0,
        ge=1.0,
        le=5.0,
        description=(
            "Nakagami m of the fading per frame below 80 m; 1 beyond. null: no fading. Not "
            "identifiable from loss alone [J]."
        ),
        json_schema_extra=RANDOMISABLE,
    )
    car_first_db: float = Field(
        default=7.0,
        ge=0.0,
        le=60.0,
        description=(
            "What the first car in between costs, fitted; 4 to 8 measured [R], TR 37.885 5 to 9, "
            "TR 103 257 6.9, Abbas 10."
        ),
        json_schema_extra=RANDOMISABLE,
    )
    car_next_db: float = Field(
        default=4.0, ge=0.0, le=60.0, description="What each further car in between costs [J]."
    )
    cars_cap_db: float = Field(
        default=14.0, ge=0.0, le=120.0, description="All cars in between cost no more [J]."
    )
    transition_db: float = Field(
        default=1.0,
        ge=0.5,
        le=10.0,
        description="Width of the step from losing to receiving, in dB of margin and fading [J].",
    )
    floor_loss: float = Field(
        default=0.02,
        ge=0.0,
        le=1.0,
        description="Frames lost whatever the margin, as on the best link [R].",
        json_schema_extra=RANDOMISABLE,
    )
    blackout: BlackoutParameters | None = Field(
        default=None, description="Spells of loss of a receiver; null switches them off."
    )


class LossPoint(RadioSection):
    """Loss at one distance; linear between points, constant before the first and after the last."""

    distance_m: float = Field(ge=0.0, le=100_000.0, description="From sender to receiver.")
    probability: float = Field(
        ge=0.0, le=1.0, description="Share of frames that are lost in the long run."
    )


class LossKnot(LossPoint):
    """Loss and bursts at one distance."""

    mean_burst_frames: float = Field(
        ge=1.0,
        le=10_000.0,
        description="Mean number of frames lost in a row; independent loss p has 1 / (1 - p).",
    )


class IndependentLoss(RadioSection):
    """Each frame is lost on its own, by distance: a baseline, known to show no bursts."""

    model: Literal["independent"] = "independent"
    by_distance: tuple[LossPoint, ...] = Field(
        min_length=1, description="Points in order of distance."
    )
    odds_factor: float = Field(
        default=1.0,
        ge=0.01,
        le=100.0,
        description="Multiplies the odds p / (1 - p) of loss at every distance; 0 and 1 stay.",
        json_schema_extra=RANDOMISABLE,
    )

    @model_validator(mode="after")
    def _check_points(self) -> Self:
        _check_order(self.by_distance)
        return self


class GilbertElliottLoss(RadioSection):
    """Bursts on each directed link by a two-state chain (Gilbert 1960, Elliott 1963): a baseline.

    A frame is lost in the bad state and delivered in the good one. At a constant distance the
    long-run loss is exactly the `probability`, and the mean burst exactly `mean_burst_frames`;
    its losses forget faster than measured ones (autocorrelation .06 at .2 s against .23 [R]).
    """

    model: Literal["gilbert_elliott"] = "gilbert_elliott"
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
        json_schema_extra=RANDOMISABLE,
    )
    burst_factor: float = Field(
        default=1.0,
        ge=0.01,
        le=100.0,
        description="Multiplies every mean burst length.",
        json_schema_extra=RANDOMISABLE,
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
        _check_order(self.by_distance)
        problem = self.infeasibility(odds_factor=self.odds_factor, burst_factor=self.burst_factor)
        if problem is not None:
            raise ValueError(problem)
        return self


LossModel = Annotated[
    MarginLoss | GilbertElliottLoss | IndependentLoss, Field(discriminator="model")
]


def _check_order(points: tuple[LossPoint, ...]) -> None:
    for before, after in pairwise(point.distance_m for point in points):
        if after <= before:
            raise ValueError(
                f"by_distance: {after:g} m follows {before:g} m, allowed are distances that "
                "grow from knot to knot: sort the knots and remove doubles"
            )
