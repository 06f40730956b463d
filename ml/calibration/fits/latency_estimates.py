"""What round trips say of the radio's latency parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.fits.estimates import Estimate, judged, kept
from ml.calibration.fits.latency import LEAST_ROUND_TRIPS, LatencyFit, fit_latency

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml.calibration.logs.reader import Log
    from ml.parameters import Parameters

_WHOLE_MS: Final = 1e-6


def latency_estimates(
    logs: Sequence[Log], prior: Parameters, estimates: list[Estimate]
) -> LatencyFit | None:
    """Fit the round trips of all RTT logs, and append to `estimates`.

    Raises:
        LogError: A latency that no board has.
    """
    mac = prior.radio.mac
    names = ("h_tx_ms", "wait_probability", "wait_mean_ms")
    trips, from_stamps = [], True
    for log in logs:
        if "rtt_ms" in log.columns:
            came = (log.columns["lost"] == 0.0) & np.isfinite(log.columns["rtt_ms"])
            trips.append(log.columns["rtt_ms"][came])
            spent = log.columns["recv_time_ms"][came] - log.columns["send_time_ms"][came]
            from_stamps &= bool(np.nanmax(np.abs(spent - trips[-1]), initial=0.0) < _WHOLE_MS)
    count = sum(t.size for t in trips)
    reason = ""
    if not trips:
        reason = "no RTT log: one-way latency has an unknown offset"
    elif count < LEAST_ROUND_TRIPS:
        reason = f"{count} round trips; {LEAST_ROUND_TRIPS} are needed"
    if reason or not mac.enabled:
        estimates += [
            kept(
                "radio.mac." + n, float(getattr(mac, n)), reason or "the prior has no latency stack"
            )
            for n in names
        ]
        return None
    fit = fit_latency(np.concatenate(trips), mac, from_stamps=from_stamps)
    basis = f"histogram of {fit.round_trips:,} round trips"
    for column, (name, value) in enumerate(
        zip(
            names, (fit.fixed_ms - mac.h_rx_ms, fit.wait_probability, fit.wait_mean_ms), strict=True
        )
    ):
        shift = mac.h_rx_ms if column == 0 else 0.0
        low, high = fit.intervals[column] - shift
        estimates.append(
            judged(
                "radio.mac." + name,
                max(value, 0.0),
                (max(float(low), 0.0), float(high)),
                prior,
                float(getattr(mac, name)),
                basis,
            )
        )
    return fit
