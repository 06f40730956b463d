"""Radios of every kind, drawn by hypothesis, in the words of a parameter file."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from oracle.adapt import LOSSLESS

MARGINS: tuple[dict[str, Any], ...] = (
    {},
    {"margin_20m_db": 3.0, "fading_m": 1.0, "car_first_db": 12.0, "cars_cap_db": 20.0},
    {"margin_20m_db": 0.0, "shadowing_sd_db": 0.0, "bias_sd_db": 0.0, "antenna_sd_db": 0.0},
    {"margin_20m_db": 2.0, "fading_m": None, "floor_loss": 0.0, "transition_db": 3.0},
    {"shadowing_distance_m": 2.0, "shadowing_sd_db": 12.0, "standstill_mps": 5.0},
    {"bias_sd_db": 15.0, "bias_time_s": 0.3, "bias_common_share": 0.8, "fading_m": 2.3},
    {"antenna_sd_db": 6.0, "door_share": 0.4, "door_loss_db": 10.0, "fading_m": 5.0},
    {"blackout": {"share": 0.6, "loss": 0.7, "length_s": 0.25, "period_s": 0.6}},
    {"blackout": {"share": 1.0, "loss": 1.0, "length_s": 0.03, "period_s": 0.1}, "bias_sd_db": 0.0},
    {"car_first_db": 0.0, "car_next_db": 0.0, "exponent_near": 3.0, "exponent_far": 4.0},
)


def losses() -> st.SearchStrategy[dict[str, Any]]:
    """Any model of loss."""
    by_distance = [
        {"distance_m": 5.0, "probability": 0.05},
        {"distance_m": 40.0, "probability": 0.3},
        {"distance_m": 300.0, "probability": 0.95},
    ]
    bursts = [knot | {"mean_burst_frames": 20.0} for knot in by_distance]
    models: list[dict[str, Any]] = [{"model": "margin"} | values for values in MARGINS]
    models += [
        {"model": "independent", "by_distance": by_distance, "odds_factor": factor}
        for factor in (0.5, 1.0, 4.0)
    ]
    models += [
        {
            "model": "gilbert_elliott",
            "by_distance": bursts,
            "odds_factor": factor,
            "burst_factor": 2.0 * factor,
        }
        for factor in (0.5, 1.0)
    ]
    return st.sampled_from([*models, LOSSLESS])


@st.composite
def macs(draw: st.DrawFn) -> dict[str, Any]:
    """Any MAC: off, as on the boards, crowded, slow, with long waits and late receivers."""
    if draw(st.sampled_from((False, False, False, True))):
        latency_ms = draw(st.sampled_from((0.0, 0.001, 4.5, 130.0)))
        return {"enabled": False, "fixed_latency_ms": latency_ms}
    payload_bytes, rate_kbps = draw(
        st.sampled_from(((90, 1000.0), (90, 1000.0), (90, 1000.0), (1470, 250.0)))
    )
    return {
        "payload_bytes": payload_bytes,
        "rate_kbps": rate_kbps,
        "h_tx_ms": draw(st.sampled_from((1.1, 0.0, 30.0))),
        "h_rx_ms": draw(st.sampled_from((0.15, 0.15, 0.0, 25.0))),
        "wait_probability": draw(st.sampled_from((0.3, 0.3, 0.0, 1.0))),
        "wait_mean_ms": draw(st.sampled_from((3.0, 80.0))),
        "slot_us": draw(st.sampled_from((20, 1, 137))),
        "difs_us": draw(st.sampled_from((50, 50, 40, 999))),
        "cw": draw(st.sampled_from((31, 31, 0, 3))),
        "vulnerable_us": draw(st.sampled_from((20, 0, 1, 40))),
    }


@st.composite
def radios(draw: st.DrawFn) -> dict[str, Any]:
    """Sections of a radio; `radio(**sections)` makes it."""
    return {
        "loss": draw(losses()),
        "mac": draw(macs()),
        "relay": {
            "max_hops": draw(st.sampled_from((0, 3, 3, 2, 1))),
            "front_cone": draw(st.booleans()),
            "cone_half_angle_deg": draw(st.sampled_from((90.0, 90.0, 30.0, 180.0))),
            "forward_probability": draw(st.sampled_from((0.63, 0.63, 1.0, 0.0, 0.95))),
            "forward_spread": draw(st.sampled_from((0.2, 0.0, 1.0))),
            "forward_time_s": draw(st.sampled_from((1.0, 0.05, 0.3))),
        },
        "clock": {"drift_sd_ppm": 300.0, "drift_limit_ppm": 900.0},
    }
