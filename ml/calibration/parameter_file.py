"""Put estimates into a parameter set, and write down where they come from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ml import __version__
from ml.calibration.logs.reader import Log
from ml.parameters import Parameters
from ml.section import is_drawn, limits, numbers_of

if TYPE_CHECKING:
    from ml.calibration.calibrate import Calibration


def calibrated(calibration: Calibration) -> Parameters:
    """Return the prior with everything that was fitted in place.

    What was fitted is drawn, in training, from its interval; what was not, as before.
    """
    content: dict[str, Any] = json.loads(calibration.prior.model_dump_json())
    fitted = [e for e in calibration.estimates if e.is_fitted]
    found = [b for b in calibration.blackouts.values() if b is not None]
    if found:
        content["radio"]["loss"]["blackout"] = {"share": len(found) / len(calibration.blackouts)}
    bounds = {name: limits(field) for name, field, _ in numbers_of(calibration.prior)}
    for estimate in fitted:
        *way, last = estimate.name.split(".")
        section = content
        for part in way:
            section = section[part]
        section[last] = _within(estimate.value, bounds.get(estimate.name))
    content["provenance"] = provenance(calibration)
    randomised = dict(content["domain_randomisation"])
    content["domain_randomisation"] = {}
    plain = Parameters.model_validate_json(json.dumps(content))
    fields = {name: field for name, field, _ in numbers_of(plain)}
    for estimate in fitted:
        if estimate.interval is not None and is_drawn(fields[estimate.name]):
            ends = [_within(end, limits(fields[estimate.name])) for end in estimate.interval]
            randomised[estimate.name] = ends
    content["domain_randomisation"] = randomised
    return Parameters.model_validate_json(json.dumps(content))


def provenance(calibration: Calibration) -> str:
    """Say in words what the file rests on: fitted and kept values, files, hashes, rows."""
    logs, start = len(calibration.logs), calibration.prior_name
    lines = [
        f"Calibrated by roadsense {__version__} from {logs} logs, starting from {start}.",
        "Fitted, with 90 % intervals:",
    ]
    for e in calibration.estimates:
        if e.interval is not None:
            low, high = e.interval
            lines.append(f"{e.name} = {e.value:.4g} [{low:.4g}, {high:.4g}] ({e.basis});")
    lines.append("Kept from before:")
    lines += [f"{e.name} ({e.reason});" for e in calibration.estimates if not e.is_fitted]
    lines.append("and all that is not named. Logs:")
    for log in calibration.logs:
        lines.append(f"{log.path.name} (sha256 {log.sha256}; {rows_of(calibration, log)});")
    lines += calibration.notes
    return "\n".join(lines)


def rows_of(calibration: Calibration, log: Log) -> str:
    """Say how many rows of a log there are, and which were dropped why."""
    reasons = [
        f"{count:,} {reason}"
        for drive in calibration.drives
        for reason, count in drive.dropped.get(str(log.path), {}).items()
        if count
    ]
    return f"{log.rows:,} {log.kind} rows" + (
        f"; left out: {', '.join(reasons)}" if reasons else ""
    )


def _within(value: float, bounds: tuple[float, float] | None) -> float:
    if bounds is None:
        return value
    return float(np.clip(value, *bounds))
