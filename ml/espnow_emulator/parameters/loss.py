"""The parameters of the three loss models: margin (the default), and two baselines.

Tags of the descriptions say what a number rests on, see `ml.section`.
"""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ml.section import RANDOMISABLE, Section, drawn, number

LOSS_MODELS = ("margin", "gilbert_elliott", "independent")
_TOLERANCE = 1e-9


class BlackoutParameters(Section):
    """Spells in which a receiver loses frames of all senders, locked to its own clock.

    On one recording car 40 to 55 % of all packets were lost for 1 to 1.5 s every 10.0 s, on both
    links; on another day it was absent [R].
    """

    share: float = drawn(
        1.0, 0.0, 1.0, "Share of receivers that have it, drawn per receiver and episode. [J]"
    )
    loss: float = drawn(0.42, 0.0, 1.0, "Share of frames lost within a spell. [R]")
    length_s: float = drawn(1.25, 0.0, 60.0, "How long a spell lasts. [R]")
    period_s: float = drawn(
        10.0, 0.1, 600.0, "Time from one spell's beginning to the next one's. [R]"
    )


class MarginLoss(Section):
    """A link has a margin in dB, which moves slowly; fading about it decides each frame.

    Path loss, the mounting of both antennas, shadowing correlated over the travelled distance, a
    slow bias, cars in between, and Nakagami fading per frame. Losses are slowly modulated on the
    road (autocorrelation 0.25 at 0.1 s, still 0.10 at 1 s), which no two-state chain shows [R].
    """

    model: Literal["margin"] = "margin"
    margin_20m_db: float = drawn(
        14.0,
        -60.0,
        80.0,
        "Margin at 20 m of two ordinary boards, fitted to loss over distance with the antennas "
        "spread about it; boards of single recordings had 8.4 to 11.2 [R].",
    )
    exponent_near: float = drawn(0.8, 0.0, 6.0, "Path-loss exponent up to 60 m [R].")
    exponent_far: float = drawn(
        2.0,
        0.0,
        6.0,
        "Path-loss exponent beyond 60 m. Recordings up to 120 m want less than free space's 2; "
        "Abbas 2.85, TR 37.885 2.0 [J].",
    )
    shadowing_sd_db: float = drawn(
        5.2, 0.0, 20.0, "Spread of the shadowing of a pair of cars; 0 switches it off [R]."
    )
    shadowing_distance_m: float = Field(
        default=12.0,
        gt=0.0,
        le=1000.0,
        description="Travelled distance over which shadowing decorrelates to 1/e [R].",
        json_schema_extra=RANDOMISABLE,
    )
    standstill_mps: float = number(
        0.5, 0.0, 30.0, "Shadowing moves at least as fast as this: the surroundings move too [J]."
    )
    bias_sd_db: float = drawn(
        2.5, 0.0, 20.0, "Spread of the slow bias of a directed link; 0 switches it off [R]."
    )
    bias_time_s: float = Field(
        default=30.0,
        gt=0.0,
        le=3600.0,
        description="Time over which the slow bias decorrelates to 1/e [R].",
        json_schema_extra=RANDOMISABLE,
    )
    bias_common_share: float = number(
        0.4, 0.0, 1.0, "Share of that variance that is common to all links of a receiver [R]."
    )
    antenna_sd_db: float = drawn(
        3.0, 0.0, 20.0, "Spread of antenna and mounting per car and episode; 0 switches it off [R]."
    )
    door_share: float = drawn(
        0.03, 0.0, 1.0, "Share of cars whose board lies badly, as the one in a door did [R]."
    )
    door_loss_db: float = number(25.0, 0.0, 60.0, "What such a place costs [R].")
    fading_m: float | None = drawn(
        3.0,
        1.0,
        5.0,
        "Nakagami m of the fading per frame below 80 m; 1 beyond. null: no fading. Not "
        "identifiable from loss alone [J].",
    )
    car_first_db: float = drawn(
        7.0,
        0.0,
        60.0,
        "What the first car in between costs, fitted; 4 to 8 measured [R], TR 37.885 5 to 9, "
        "TR 103 257 6.9, Abbas 10.",
    )
    car_next_db: float = number(4.0, 0.0, 60.0, "What each further car in between costs [J].")
    cars_cap_db: float = number(14.0, 0.0, 120.0, "All cars in between cost no more [J].")
    transition_db: float = number(
        1.0,
        0.5,
        10.0,
        "Width of the step from losing to receiving, in dB of margin and fading [J].",
    )
    floor_loss: float = drawn(
        0.02, 0.0, 1.0, "Frames lost whatever the margin, as on the best link [R]."
    )
    blackout: BlackoutParameters | None = Field(
        default=None, description="Spells of loss of a receiver; null switches them off."
    )


class LossPoint(Section):
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


class IndependentLoss(Section):
    """Each frame is lost on its own, by distance: a baseline, known to show no bursts."""

    model: Literal["independent"] = "independent"
    by_distance: tuple[LossPoint, ...] = Field(
        min_length=1, description="Points in order of distance."
    )
    odds_factor: float = drawn(
        1.0, 0.01, 100.0, "Multiplies the odds p / (1 - p) of loss at every distance; 0 and 1 stay."
    )

    @model_validator(mode="after")
    def _check_points(self) -> Self:
        _check_order(self.by_distance)
        return self


class GilbertElliottLoss(Section):
    """Bursts on each directed link by a two-state chain (Gilbert 1960, Elliott 1963): a baseline.

    A frame is lost in the bad state and delivered in the good one. At a constant distance the
    long-run loss is exactly the `probability`, and the mean burst exactly `mean_burst_frames`;
    its losses forget faster than measured ones (autocorrelation 0.06 at 0.2 s against 0.23 [R]).
    """

    model: Literal["gilbert_elliott"] = "gilbert_elliott"
    by_distance: tuple[LossKnot, ...] = Field(
        min_length=1, description="Knots in order of distance."
    )
    odds_factor: float = drawn(
        1.0,
        0.01,
        100.0,
        "Multiplies the odds p / (1 - p) of loss at every distance: a worse or better "
        "mounting of the antennas. Leaves 0 and 1 where they are.",
    )
    burst_factor: float = drawn(1.0, 0.01, 100.0, "Multiplies every mean burst length.")

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


LossParameters = Annotated[
    MarginLoss | GilbertElliottLoss | IndependentLoss, Field(discriminator="model")
]


def _check_order(points: tuple[LossPoint, ...]) -> None:
    for before, after in pairwise(point.distance_m for point in points):
        if after <= before:
            raise ValueError(
                f"by_distance: {after:g} m follows {before:g} m, allowed are distances that "
                "grow from knot to knot: sort the knots and remove doubles"
            )
