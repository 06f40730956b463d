"""What a calibration says of each parameter: a value with an interval, or why it has none."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from ml.arrays import Floats
from ml.errors import LogError
from ml.parameters import Parameters
from ml.section import limits, numbers_of

Z_90: Final = 1.645
"""Half the width of a 90 % interval, in standard deviations of a normal distribution."""
# A fit beyond these is no radio and no receiver, but a mistake in the logs.
PLAUSIBLE: Final = {
    "radio.loss.margin_20m_db": (-45.0, 65.0),
    "radio.loss.exponent_near": (-1.0, 5.5),
    "radio.loss.exponent_far": (-1.0, 7.5),
    "radio.loss.shadowing_sd_db": (0.0, 17.0),
    "radio.loss.bias_sd_db": (0.0, 11.5),
    "radio.loss.floor_loss": (0.0, 0.5),
    "radio.loss.car_first_db": (-30.0, 50.0),
    "radio.mac.h_tx_ms": (0.0, 40.0),
    "radio.mac.wait_mean_ms": (0.0, 60.0),
    "sensors.position.sd_m": (0.0, 100.0),
    "sensors.accelerometer.white_sd_mps2": (0.0, 8.0),
}
GROWING: Final = ("radio.loss.exponent_near", "radio.loss.exponent_far")
"""What is above 0 for every radio: a fit that is not is never called one."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One parameter of the file."""

    name: str  # Dotted, as in `domain_randomisation`
    value: float  # What the file gets
    interval: tuple[float, float] | None  # 90 %, None where the logs cannot tell
    prior: float  # What the file held before
    why: str  # What the estimate rests on, or why the prior is kept

    @property
    def is_fitted(self) -> bool:
        """Whether the logs carried it."""
        return self.interval is not None


def value_at(parameters: Parameters, name: str) -> float | None:
    """Return the number of a dotted name; None where it is `null`, or there is no such name."""
    value: Any = parameters
    for part in name.split("."):
        value = getattr(value, part, None)
    return None if value is None else float(value)


def kept(name: str, parameters: Parameters, why: str) -> Estimate:
    """Keep what a parameter set holds, and say why."""
    prior = value_at(parameters, name)
    assert prior is not None  # noqa: S101 - only numbers that are in use are looked at
    return Estimate(name, prior, None, prior, why)


def judged(
    name: str, value: float, interval: tuple[float, float], parameters: Parameters, basis: str
) -> Estimate:
    """Accept a fit, or refuse it where it says no more than was known before.

    Known before is the range that training draws the parameter from, where it has one. An accepted
    value and its interval are cut to what a parameter file can hold, so that all say the same.

    Raises:
        LogError: The value is not plausible.
    """
    low, high = PLAUSIBLE.get(name, (float("-inf"), float("inf")))
    if not low <= value <= high:
        raise LogError(
            f"the logs give {name} = {value:.4g}; plausible is {low:g} to {high:g}. Something else "
            "is in them than driving boards: look at units, at which log is whose, and whether "
            "all are of one drive. Nothing was written."
        )
    if name in GROWING and value <= 0.0:
        why = (
            f"the logs give {value:.2g} [{interval[0]:.2g}, {interval[1]:.2g}]: losses that do not "
            "grow with distance. No radio is like that; look at the positions"
        )
        return kept(name, parameters, why)
    known = parameters.domain_randomisation.get(name)
    width = interval[1] - interval[0]
    if known is not None and known[1] > known[0] and width >= known[1] - known[0]:
        why = (
            f"the logs leave {interval[0]:.3g} to {interval[1]:.3g}, no less than the "
            f"{known[0]:g} to {known[1]:g} that was known before"
        )
        return kept(name, parameters, why)
    ends = limits(next(field for number, field, _ in numbers_of(parameters) if number == name))
    value, low, high = np.clip([value, *interval], *ends).tolist()
    return replace(kept(name, parameters, basis), value=value, interval=(low, high))


def percentile_interval(replicates: Floats) -> tuple[float, float]:
    """Return the 90 % interval of bootstrap replicates (B,)."""
    low, high = np.percentile(replicates, [5.0, 95.0])
    return float(low), float(high)
