"""The parameters of a node's sensors, validated; every number says where it comes from.

A field marked `randomisable` may be drawn anew for each episode (domain randomisation); the
sensors then hold one value per convoy.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_RANDOMISABLE: dict[str, Any] = {"randomisable": True}
_MOST_PERIODS = 2
_INTERVAL = "Mean time between two beginnings, exponential; null: never. Suggested: 300."


class SensorSection(BaseModel):
    """Base of every section: immutable, no unknown keys, no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class PositionParameters(SensorSection):
    """Position: GPS fixes now and then, late, with an error that wanders slowly.

    Per axis, error = sd_m (sqrt(c) common + sqrt(1 - c) own) + white_sd_m white, with c the
    common share; common and own are Ornstein-Uhlenbeck processes of unit variance, so the total
    variance is sd_m^2 + white_sd_m^2 in every fix, exactly. Speed and heading come with the fix.
    """

    mode: Literal["fused", "hold", "continuous"] = Field(
        default="fused",
        description=(
            "fused: between fixes the node reckons on with accelerometer and gyroscope, as a "
            "sender should. hold: the last fix until the next one, as a bare receiver gives; a "
            "stress. continuous: a fix at every sample, without delay; an ideal."
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
        description=(
            "Between two fixes, in modes fused and hold; the phase is each vehicle's own. NEO-6M "
            "logs show 1 Hz; 5 and 10 Hz can be set."
        ),
    )
    hold_delay_s: float = Field(
        default=0.15,
        ge=0.0,
        le=10.0,
        description="From a fix's moment to its delivery, at most two periods. Judgement.",
    )

    @model_validator(mode="after")
    def _check_delay(self) -> Self:
        if self.hold_delay_s > _MOST_PERIODS * self.hold_period_s:
            msg = (
                f"hold_delay_s = {self.hold_delay_s:g}, allowed is up to {_MOST_PERIODS} x "
                f"hold_period_s = {_MOST_PERIODS * self.hold_period_s:g}"
            )
            raise ValueError(msg)
        return self


class SpeedParameters(SensorSection):
    """Speed over ground in a fix: an Ornstein-Uhlenbeck error; below 0 it is reported as 0."""

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
    """Heading over ground in a fix: white; worse when slow, kept when nearly standing.

    In mode fused it turns with the gyroscope between fixes.
    """

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
    gyro_bias_sd_dps: float | None = Field(
        default=0.2,
        ge=0.0,
        le=20.0,
        description=(
            "Rate error in degrees per second, drawn once per vehicle and episode, after the zero "
            "was taken at rest. Judgement. null: no gyroscope, the heading is kept between fixes."
        ),
    )


class AccelerometerParameters(SensorSection):
    """Forward acceleration: a first-order lag, a bias that lasts the episode, and white noise.

    Gravity would add g sin(pitch). The simulated roads have no grade, so what remains of it, a
    board that was not mounted level, is part of the bias.
    """

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


class RangingParameters(SensorSection):
    """A sensor at the ego's front that measures the distance to the car ahead; an option."""

    enabled: bool = Field(default=False, description="false: the ego has no such sensor.")
    sd_m: float = Field(
        default=0.3, ge=0.0, le=10.0, description="White error, new at each tick. Judgement."
    )
    max_range_m: float = Field(
        default=60.0, gt=0.0, le=1000.0, description="Beyond, nothing is seen. Judgement."
    )


class GpsFreezeFault(SensorSection):
    """The receiver repeats its last fix as if it were new."""

    mean_interval_s: float | None = Field(default=None, ge=1.0, le=1e6, description=_INTERVAL)
    duration_s: float = Field(default=5.0, ge=0.1, le=600.0, description="Judgement.")


class GpsJumpFault(SensorSection):
    """All fixes for a while lie beside the truth, as with reflected signals."""

    mean_interval_s: float | None = Field(default=None, ge=1.0, le=1e6, description=_INTERVAL)
    duration_s: float = Field(default=10.0, ge=0.1, le=600.0, description="Judgement.")
    sd_m: float = Field(
        default=10.0, ge=0.0, le=1000.0, description="Offset per axis, drawn once. Judgement."
    )


class AccelerometerFaults(SensorSection):
    """Boards that were mounted or calibrated wrongly, for a whole episode; each vehicle by chance.

    A sign-inverted board and biases of -1.4 to +2.3 m/s2 were found in field logs.
    """

    inverted_probability: float = Field(
        default=0.0, ge=0.0, le=1.0, description="Braking reads as accelerating."
    )
    misaligned_probability: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Another axis is read, which shows none of the forward acceleration.",
    )
    biased_probability: float = Field(
        default=0.0, ge=0.0, le=1.0, description="bias_mps2 comes to the usual bias, with a sign."
    )
    bias_mps2: float = Field(default=2.0, ge=0.0, le=20.0, description="Of a biased board.")

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        both = self.inverted_probability + self.misaligned_probability
        if both > 1.0:
            msg = (
                f"inverted_probability + misaligned_probability = {both:g}, allowed is up to 1: a "
                "board is either, not both"
            )
            raise ValueError(msg)
        return self


class SensorFaultParameters(SensorSection):
    """Faults of sensors, all off by default; those of messages stand in `radio`."""

    gps_freeze: GpsFreezeFault = GpsFreezeFault()
    gps_jump: GpsJumpFault = GpsJumpFault()
    accelerometer: AccelerometerFaults = AccelerometerFaults()


class SensorParameters(SensorSection):
    """Everything a node's sensors need; see `ml.parameters` for files and presets."""

    position: PositionParameters = PositionParameters()
    speed: SpeedParameters = SpeedParameters()
    heading: HeadingParameters = HeadingParameters()
    accelerometer: AccelerometerParameters = AccelerometerParameters()
    ranging: RangingParameters = RangingParameters()
    faults: SensorFaultParameters = SensorFaultParameters()
