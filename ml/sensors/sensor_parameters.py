"""The parameters of a node's sensors, validated; every number says where it comes from.

A field marked `randomisable` may be drawn anew for each episode (domain randomisation); the
sensors then hold one value per convoy.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

TICK_S = 0.1
_RANDOMISABLE: dict[str, Any] = {"randomisable": True}
_TOLERANCE = 1e-9


class SensorSection(BaseModel):
    """Base of every section: immutable, no unknown keys, no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class PositionParameters(SensorSection):
    """Position: an error that wanders slowly, partly common to the convoy, and a little white.

    Per axis, error = sd_m (sqrt(c) common + sqrt(1 - c) own) + white_sd_m white, with c the
    common share; common and own are Ornstein-Uhlenbeck processes of unit variance, so the total
    variance is sd_m^2 + white_sd_m^2 at every tick, exactly.
    """

    mode: Literal["fused", "hold"] = Field(
        default="fused",
        description=(
            "fused: a new position every tick, as a filter over GPS and motion gives. hold: the "
            "last GPS fix until the next one, as a bare NEO-6M gives."
        ),
    )
    sd_m: float = Field(
        default=2.1,
        ge=0.0,
        le=100.0,
        description="Per axis; the NEO-6M's data sheet says 2.5 m circular error probable.",
        json_schema_extra=_RANDOMISABLE,
    )
    tau_s: float = Field(
        default=120.0,
        ge=0.1,
        le=1e5,
        description=(
            "Correlation time. A 42-s stop showed .03 m of spread, 1,345 s showed 5.5 m; the "
            "value is judgement."
        ),
        json_schema_extra=_RANDOMISABLE,
    )
    common_share: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="Share of the variance common to the convoy: same satellites, same air.",
        json_schema_extra=_RANDOMISABLE,
    )
    white_sd_m: float = Field(
        default=0.1,
        ge=0.0,
        le=100.0,
        description="Per axis and tick. Judgement.",
        json_schema_extra=_RANDOMISABLE,
    )
    hold_period_s: float = Field(
        default=1.0,
        ge=0.1,
        le=10.0,
        description="Between two fixes in mode hold, a multiple of 0.1; NEO-6M logs show 1 Hz.",
    )
    hold_delay_s: float = Field(
        default=0.2,
        ge=0.0,
        le=9.9,
        description=(
            "From a fix to its report in mode hold, a multiple of 0.1 and shorter than the "
            "period; about .15 s in practice, rounded up to the tick."
        ),
    )

    @model_validator(mode="after")
    def _check_hold(self) -> Self:
        for name in ("hold_period_s", "hold_delay_s"):
            ticks = getattr(self, name) / TICK_S
            if abs(ticks - round(ticks)) > _TOLERANCE:
                msg = f"{name} = {getattr(self, name):g}, allowed are multiples of {TICK_S:g}"
                raise ValueError(msg)
        if self.hold_delay_s > self.hold_period_s - TICK_S + _TOLERANCE:
            msg = (
                f"hold_delay_s = {self.hold_delay_s:g}, allowed is less than hold_period_s = "
                f"{self.hold_period_s:g}"
            )
            raise ValueError(msg)
        return self


class SpeedParameters(SensorSection):
    """Speed over ground: an Ornstein-Uhlenbeck error; a speed below 0 is reported as 0."""

    sd_mps: float = Field(
        default=0.15,
        ge=0.0,
        le=10.0,
        description="Doppler speed of u-blox receivers; .43 m/s were seen while driving.",
        json_schema_extra=_RANDOMISABLE,
    )
    tau_s: float = Field(
        default=2.0,
        ge=0.1,
        le=1e5,
        description="Correlation time. Judgement.",
        json_schema_extra=_RANDOMISABLE,
    )


class HeadingParameters(SensorSection):
    """Heading over ground: white; worse when slow, and the last good one when nearly standing."""

    sd_deg: float = Field(
        default=0.5,
        ge=0.0,
        le=90.0,
        description="At and above full_accuracy_mps (u-blox data sheet).",
        json_schema_extra=_RANDOMISABLE,
    )
    full_accuracy_mps: float = Field(
        default=5.0,
        ge=0.0,
        le=50.0,
        description="Below, the error grows as 1 / speed. Judgement.",
    )
    hold_below_mps: float = Field(
        default=1.4,
        ge=0.0,
        le=50.0,
        description="Below, the last heading is kept; logs are valid above 1.4 m/s. 0: never.",
    )


class AccelerometerParameters(SensorSection):
    """Forward acceleration: a first-order lag, a bias that lasts the episode, and white noise."""

    bias_sd_mps2: float = Field(
        default=0.3,
        ge=0.0,
        le=10.0,
        description="Drawn once per vehicle and episode; -1.4 to +2.3 m/s2 were found in logs.",
        json_schema_extra=_RANDOMISABLE,
    )
    white_sd_mps2: float = Field(
        default=0.15,
        ge=0.0,
        le=10.0,
        description="Per tick; .074 m/s2 parked, .39 driving, road and engine included.",
        json_schema_extra=_RANDOMISABLE,
    )
    lag_s: float = Field(
        default=0.067,
        ge=0.0,
        le=10.0,
        description="Time constant, here of the sensor's 5 Hz low-pass filter.",
        json_schema_extra=_RANDOMISABLE,
    )


class SensorParameters(SensorSection):
    """Everything a node's sensors need; see `ml.parameters` for files and presets."""

    position: PositionParameters = PositionParameters()
    speed: SpeedParameters = SpeedParameters()
    heading: HeadingParameters = HeadingParameters()
    accelerometer: AccelerometerParameters = AccelerometerParameters()
