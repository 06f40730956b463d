"""What the logs of all boards together say of the sensors' parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.fits.estimates import Estimate, judged, kept
from ml.calibration.fits.sensor import (
    LEAST_STANDING_S,
    PARKED_S,
    Accelerometer,
    GpsWander,
    fit_accelerometer,
    fit_gps,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml.calibration.logs.links import Drive
    from ml.parameters import Parameters

_LEAST_BOARDS: Final = 6
_SENSORS: Final = "sensors."


@dataclass(slots=True)
class SensorFindings:
    """Board by board.

    Attributes:
        accelerometers: Of every board with a TX log.
        wanders: Of boards that were parked for long.
        notes: In words.
    """

    accelerometers: list[Accelerometer] = field(default_factory=list)
    wanders: list[GpsWander] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sensor_estimates(
    drives: Sequence[Drive], prior: Parameters, estimates: list[Estimate]
) -> SensorFindings:
    """Judge all boards, and append to `estimates`.

    Raises:
        LogError: A GPS that wanders farther than any receiver does.
    """
    findings = SensorFindings()
    for drive in drives:
        for board in drive.boards:
            findings.accelerometers.append(fit_accelerometer(board))
            wander = fit_gps(board, drive.ways[board.name])
            if wander is not None:
                findings.wanders.append(wander)
    for one in findings.accelerometers:
        if one.is_backwards:
            findings.notes.append(
                f"The accelerometer of {one.board} is mounted backwards: braking reads as "
                f"accelerating (slope {one.slope:.2f} against its GPS). Turn it, or negate it."
            )
    _accelerometer(findings, prior, estimates)
    _position(findings, prior, estimates)
    return findings


def _accelerometer(findings: SensorFindings, prior: Parameters, estimates: list[Estimate]) -> None:
    name = _SENSORS + "accelerometer."
    usual = prior.sensors.accelerometer
    stood = [a for a in findings.accelerometers if a.white_sd_mps2 is not None]
    if stood:
        weights = np.array([a.standing_s for a in stood])
        squares = np.average([a.white_replicates**2 for a in stood], axis=0, weights=weights)
        low, high = np.percentile(np.sqrt(squares), [5.0, 95.0])
        spreads = [a.white_sd_mps2 or 0.0 for a in stood]
        value = float(np.sqrt(np.average(np.square(spreads), weights=weights)))
        estimates.append(
            judged(
                name + "white_sd_mps2",
                value,
                (float(low), float(high)),
                prior,
                usual.white_sd_mps2,
                f"{weights.sum():.0f} s at standstill; driving adds to it",
            )
        )
    else:
        reason = f"no board stood for {LEAST_STANDING_S:g} s with its accelerations logged"
        estimates.append(kept(name + "white_sd_mps2", usual.white_sd_mps2, reason))
    biases = [a.bias_mps2 for a in stood if a.bias_mps2 is not None]
    reason = f"{len(biases)} boards show their biases; {_LEAST_BOARDS} are needed for a spread"
    estimates.append(kept(name + "bias_sd_mps2", usual.bias_sd_mps2, reason))


def _position(findings: SensorFindings, prior: Parameters, estimates: list[Estimate]) -> None:
    usual = prior.sensors.position
    sd_name, tau_name = _SENSORS + "position.sd_m", _SENSORS + "position.tau_s"
    if not findings.wanders:
        reason = (
            f"no board was parked for {PARKED_S / 60.0:.0f} minutes and eight correlation times: "
            "GPS errors wander over minutes, and a short stop shows none of that"
        )
        estimates.append(kept(sd_name, usual.sd_m, reason))
        estimates.append(kept(tau_name, usual.tau_s, reason))
        return
    best = max(findings.wanders, key=lambda w: w.parked_s / w.tau_s)
    basis = f"{best.board} parked for {best.parked_s / 60.0:.0f} min"
    estimates.append(judged(sd_name, best.sd_m, best.sd_interval, prior, usual.sd_m, basis))
    estimates.append(judged(tau_name, best.tau_s, best.tau_interval, prior, usual.tau_s, basis))
