"""The numbers that an episode gives a convoy's sensors, as the compiled loops want them."""

import math
from collections.abc import Mapping

import numpy as np

from ml.arrays import Floats, Ints, Words
from ml.keyed_random import Stream, fold, uniform
from ml.sensors import layout as at
from ml.sensors.parameters import AccelerometerFaults, SensorParameters
from ml.vehicle import DT_S

_SHORTEST_LAG_S = 1e-12
_NO_GYROSCOPE = -1.0
_EVEN_CHANCE = 0.5


def episode_sizes(parameters: SensorParameters, values: Mapping[str, Floats]) -> Floats:
    """Return the rows of some episodes (K, NUM_SIZES) from the numbers they draw, (K,) each."""
    position, heading, faults = parameters.position, parameters.heading, parameters.faults
    freeze, jump = faults.gps_freeze, faults.gps_jump
    timed = position.mode != "continuous"
    fixes_s = position.hold_period_s if timed else DT_S
    sd_m, white_sd_m = values["position.sd_m"], values["position.white_sd_m"]
    share = values["position.common_share"]
    lag_s = np.maximum(values["accelerometer.lag_s"], _SHORTEST_LAG_S)
    position_tau_s, speed_tau_s = values["position.tau_s"], values["speed.tau_s"]
    gyro_sd_dps = heading.gyro_bias_sd_dps
    columns: dict[int, Floats | float] = {
        at.OWN_SD_M: np.sqrt(1.0 - share) * sd_m,
        at.COMMON_SD_M: np.sqrt(share) * sd_m,
        at.WHITE_SD_M: white_sd_m,
        at.GPS_VARIANCE_M2: sd_m**2 + white_sd_m**2,
        at.SPEED_SD_MPS: values["speed.sd_mps"],
        at.HEADING_SD_DEG: values["heading.sd_deg"],
        at.ACCEL_SD_MPS2: values["accelerometer.white_sd_mps2"],
        at.BIAS_SD_MPS2: values["accelerometer.bias_sd_mps2"],
        at.LAG_S: lag_s,
        at.LAG_KEEP: np.exp(-DT_S / lag_s),
        at.GYRO_SD_DPS: _NO_GYROSCOPE if gyro_sd_dps is None else gyro_sd_dps,
        at.KEEP_OWN: np.exp(-fixes_s / position_tau_s),
        at.RENEW_OWN: np.sqrt(-np.expm1(-2.0 * fixes_s / position_tau_s)),
        at.KEEP_COMMON: np.exp(-DT_S / position_tau_s),
        at.RENEW_COMMON: np.sqrt(-np.expm1(-2.0 * DT_S / position_tau_s)),
        at.KEEP_SPEED: np.exp(-fixes_s / speed_tau_s),
        at.RENEW_SPEED: np.sqrt(-np.expm1(-2.0 * fixes_s / speed_tau_s)),
        at.PERIOD_US: round(1e6 * position.hold_period_s) if timed else 0,
        at.DELAY_US: round(1e6 * position.hold_delay_s) if timed else 0,
        at.IS_FUSED: position.mode == "fused",
        at.HEADING_FULL_MPS: heading.full_accuracy_mps,
        at.HEADING_HOLD_MPS: heading.hold_below_mps,
        at.FREEZE_PROBABILITY: _per_fix(freeze.mean_interval_s, fixes_s),
        at.FREEZE_US: round(1e6 * freeze.duration_s),
        at.JUMP_PROBABILITY: _per_fix(jump.mean_interval_s, fixes_s),
        at.JUMP_US: round(1e6 * jump.duration_s),
        at.JUMP_SD_M: jump.sd_m,
    }
    rows = np.zeros((sd_m.size, at.NUM_SIZES))
    for column, value in columns.items():
        rows[:, column] = value
    return rows


def faulty_accelerometers(
    faults: AccelerometerFaults, episode: Words, slot: Ints
) -> tuple[Floats | float, Floats | float]:
    """Draw gain and additional bias in m/s² of boards that may be mounted or calibrated wrongly.

    They are (K, V) for episodes (K, 1) and slots (V,); 1 and 0 where no board can be faulty.
    """
    gain: Floats | float = 1.0
    extra_mps2: Floats | float = 0.0
    inverted, misaligned = faults.inverted_probability, faults.misaligned_probability
    if inverted + misaligned > 0.0:
        mounted = uniform(fold(episode, Stream.SENSOR_FAULTS, slot, 2))
        gain = np.where(mounted < inverted + misaligned, 0.0, 1.0)
        gain[mounted < inverted] = -1.0
    if faults.biased_probability > 0.0:
        biased = uniform(fold(episode, Stream.SENSOR_FAULTS, slot, 3)) < faults.biased_probability
        upward = uniform(fold(episode, Stream.SENSOR_FAULTS, slot, 4)) < _EVEN_CHANCE
        sign = np.where(upward, 1.0, -1.0)
        extra_mps2 = np.where(biased, sign * faults.bias_mps2, 0.0)
    return gain, extra_mps2


def _per_fix(mean_interval_s: float | None, between_s: float) -> float:
    """Probability that a fault begins with a fix."""
    return 0.0 if mean_interval_s is None else -math.expm1(-between_s / mean_interval_s)
