"""The parameters of a node's sensors, validated; every number says where it comes from."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ml.section import Section, drawn, number

_MOST_PERIODS = 2
_INTERVAL = "Mean time between two beginnings, exponential; null: never. Suggested: 300."


class PositionParameters(Section):
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
    sd_m: float = drawn(
        2.1, 0.0, 100.0, "Per axis; the NEO-6M's data sheet says 2.5 m circular error probable."
    )
    tau_s: float = drawn(
        120.0,
        0.1,
        1e5,
        "Correlation time. A 42-s stop showed 0.03 m of spread, 1,345 s showed 5.5 m; the "
        "value is judgement.",
    )
    common_share: float = drawn(
        0.5, 0.0, 1.0, "Share of the variance common to the convoy: same satellites, same air."
    )
    white_sd_m: float = drawn(0.1, 0.0, 100.0, "Per axis and tick. Judgement.")
    hold_period_s: float = number(
        1.0,
        0.1,
        10.0,
        "Between two fixes, in modes fused and hold; the phase is each vehicle's own. NEO-6M "
        "logs show 1 Hz; 5 and 10 Hz can be set.",
    )
    hold_delay_s: float = number(
        0.15, 0.0, 10.0, "From a fix's moment to its delivery, at most two periods. Judgement."
    )

    @model_validator(mode="after")
    def _check_delay(self) -> Self:
        if self.hold_delay_s > _MOST_PERIODS * self.hold_period_s:
            raise ValueError(
                f"hold_delay_s = {self.hold_delay_s:g}, allowed is up to {_MOST_PERIODS} x "
                f"hold_period_s = {_MOST_PERIODS * self.hold_period_s:g}"
            )
        return self


class SpeedParameters(Section):
    """Speed over ground in a fix: an Ornstein-Uhlenbeck error; below 0 it is reported as 0."""

    sd_mps: float = drawn(
        0.15, 0.0, 10.0, "Doppler speed of u-blox receivers; 0.43 m/s were seen while driving."
    )
    tau_s: float = drawn(2.0, 0.1, 1e5, "Correlation time. Judgement.")


class HeadingParameters(Section):
    """Heading over ground in a fix: white; worse when slow, kept when nearly standing.

    In mode fused it turns with the gyroscope between fixes.
    """

    sd_deg: float = drawn(0.5, 0.0, 90.0, "At and above full_accuracy_mps (u-blox data sheet).")
    full_accuracy_mps: float = number(
        5.0, 0.0, 50.0, "Below, the error grows as 1 / speed. Judgement."
    )
    hold_below_mps: float = number(
        1.4, 0.0, 50.0, "Below, the last heading is kept; logs are valid above 1.4 m/s. 0: never."
    )
    gyro_bias_sd_dps: float | None = number(
        0.2,
        0.0,
        20.0,
        "Rate error in degrees per second, drawn once per vehicle and episode, after the zero "
        "was taken at rest. Judgement. null: no gyroscope, the heading is kept between fixes.",
    )


class AccelerometerParameters(Section):
    """Forward acceleration: a first-order lag, a bias that lasts the episode, and white noise.

    Gravity would add g sin(pitch). The simulated roads have no grade, so what remains of it, a
    board that was not mounted level, is part of the bias.
    """

    bias_sd_mps2: float = drawn(
        0.3, 0.0, 10.0, "Drawn once per vehicle and episode; -1.4 to +2.3 m/s2 were found in logs."
    )
    white_sd_mps2: float = drawn(
        0.15, 0.0, 10.0, "Per tick; 0.074 m/s2 parked, 0.39 driving, road and engine included."
    )
    lag_s: float = drawn(
        0.067, 0.0, 10.0, "Time constant, here of the sensor's 5 Hz low-pass filter."
    )


class RangingParameters(Section):
    """A sensor at the ego's front that measures the distance to the car ahead; an option."""

    enabled: bool = Field(default=False, description="false: the ego has no such sensor.")
    sd_m: float = number(0.3, 0.0, 10.0, "White error, new at each tick. Judgement.")
    max_range_m: float = Field(
        default=60.0, gt=0.0, le=1000.0, description="Beyond, nothing is seen. Judgement."
    )


class GpsFreezeFault(Section):
    """The receiver repeats its last fix as if it were new."""

    mean_interval_s: float | None = number(None, 1.0, 1e6, _INTERVAL)
    duration_s: float = number(5.0, 0.1, 600.0, "Judgement.")


class GpsJumpFault(Section):
    """All fixes for a while lie beside the truth, as with reflected signals."""

    mean_interval_s: float | None = number(None, 1.0, 1e6, _INTERVAL)
    duration_s: float = number(10.0, 0.1, 600.0, "Judgement.")
    sd_m: float = number(10.0, 0.0, 1000.0, "Offset per axis, drawn once. Judgement.")


class AccelerometerFaults(Section):
    """Boards that were mounted or calibrated wrongly, for a whole episode; each vehicle by chance.

    A sign-inverted board and biases of -1.4 to +2.3 m/s2 were found in field logs.
    """

    inverted_probability: float = number(0.0, 0.0, 1.0, "Braking reads as accelerating.")
    misaligned_probability: float = number(
        0.0, 0.0, 1.0, "Another axis is read, which shows none of the forward acceleration."
    )
    biased_probability: float = number(
        0.0, 0.0, 1.0, "bias_mps2 comes to the usual bias, with a sign."
    )
    bias_mps2: float = number(2.0, 0.0, 20.0, "Of a biased board.")

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        both = self.inverted_probability + self.misaligned_probability
        if both > 1.0:
            raise ValueError(
                f"inverted_probability + misaligned_probability = {both:g}, allowed is up to 1: a "
                "board is either, not both"
            )
        return self


class SensorFaultParameters(Section):
    """Faults of sensors, all off by default; those of messages stand in `radio`."""

    gps_freeze: GpsFreezeFault = GpsFreezeFault()
    gps_jump: GpsJumpFault = GpsJumpFault()
    accelerometer: AccelerometerFaults = AccelerometerFaults()


class SensorParameters(Section):
    """Everything a node's sensors need; see `ml.parameters` for files and presets."""

    position: PositionParameters = PositionParameters()
    speed: SpeedParameters = SpeedParameters()
    heading: HeadingParameters = HeadingParameters()
    accelerometer: AccelerometerParameters = AccelerometerParameters()
    ranging: RangingParameters = RangingParameters()
    faults: SensorFaultParameters = SensorFaultParameters()
