"""Logs as people have them, through `roadsense calibrate`: a file comes out, or a reason why not."""

from __future__ import annotations

import numpy as np
import pytest

from ml.cli import main
from ml.parameters import load_parameters

DOCUMENTED = "sequence,send_time_ms,recv_time_ms,rtt_ms,lat,lon,speed,heading,lost"


def write_pings(path, rtt_ms, lost):
    """An RTT log of exactly the documented columns: pings at 10 Hz of a car that drives north."""
    lines = [DOCUMENTED]
    for k, (rtt, gone) in enumerate(zip(rtt_ms.tolist(), lost.tolist(), strict=True)):
        back = "," if gone else f"{100 * k + rtt},{rtt}"
        lines.append(f"{k},{100 * k},{back},{32.8 + 1e-6 * k:.7f},35.0,1.1,0.0,{int(gone)}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_documented_columns_of_round_trips_are_enough(tmp_path):
    """3,000 pings without a position of the other board: latencies are fitted, slopes refused."""
    rng = np.random.Generator(np.random.PCG64(2))
    log = write_pings(tmp_path / "a-rtt.csv", rng.integers(5, 12, 3000), rng.random(3000) < 0.1)
    assert main(["calibrate", str(log), "--out", str(tmp_path / "params.json")]) == 0
    parameters = load_parameters(tmp_path / "params.json")
    for name in ("margin_20m_db", "exponent_near", "exponent_far"):
        reason = f"radio.loss.{name} (the logs do not say where both boards were)"
        assert reason in parameters.provenance
        prior = load_parameters("clean").radio.loss
        assert getattr(parameters.radio.loss, name) == getattr(prior, name)
    assert "histogram of 2,6" in parameters.provenance or "histogram of 2,7" in parameters.provenance
