"""The channel as a player of scripts, and its parameters in the oracle's terms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.espnow_emulator import BroadcastChannel, RadioParameters
from oracle.links import FadingTable
from oracle.parameters import (
    GilbertElliott,
    Independent,
    Knot,
    Mac,
    Margin,
    OracleParameters,
    Relay,
    air_us,
    microseconds,
)
from oracle.script import Deliver, Script, Snapshot, Transmit
from oracle.table import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

LOSSLESS = {"model": "independent", "by_distance": [{"distance_m": 0.0, "probability": 0.0}]}
ALL_LOST = {"model": "independent", "by_distance": [{"distance_m": 0.0, "probability": 1.0}]}


def radio(**sections: Any) -> RadioParameters:
    """Parameters from plain sections, as a file would hold them; no loss unless asked for."""
    return RadioParameters.model_validate_json(
        json.dumps({"loss": LOSSLESS, "wire": {"quantise": False}} | sections)
    )


def oracle_parameters(parameters: RadioParameters) -> OracleParameters:
    """Say the same in the oracle's terms."""
    mac, relay = parameters.mac, parameters.relay
    return OracleParameters(
        mac=Mac(
            enabled=mac.enabled,
            fixed_latency_us=microseconds(mac.fixed_latency_ms),
            air_us=air_us(mac.payload_bytes, mac.rate_kbps),
            h_tx_us=microseconds(mac.h_tx_ms),
            h_rx_us=microseconds(mac.h_rx_ms),
            wait_probability=mac.wait_probability,
            wait_mean_ms=mac.wait_mean_ms,
            slot_us=mac.slot_us,
            difs_us=mac.difs_us,
            cw=mac.cw,
            vulnerable_us=mac.vulnerable_us,
        ),
        relay=Relay(
            max_hops=relay.max_hops,
            front_cone=relay.front_cone,
            cone_half_angle_deg=relay.cone_half_angle_deg,
        ),
        loss=_oracle_loss(parameters.loss),
    )


def _oracle_loss(loss: Any) -> Margin | GilbertElliott | Independent:
    if loss.model == "margin":
        blackout = loss.blackout
        return Margin(
            success=FadingTable(loss.transition_db),
            m20_db=loss.margin_20m_db,
            n1=loss.exponent_near,
            n2=loss.exponent_far,
            sigma_s_db=loss.shadowing_sd_db,
            decorrelation_m=loss.shadowing_distance_m,
            standstill_mps=loss.standstill_mps,
            sigma_b_db=loss.bias_sd_db,
            tau_b_s=loss.bias_time_s,
            common_share=loss.bias_common_share,
            sigma_g_db=loss.antenna_sd_db,
            door_probability=loss.door_share,
            door_db=loss.door_loss_db,
            m=loss.fading_m,
            one_car_db=loss.car_first_db,
            next_car_db=loss.car_next_db,
            cap_db=loss.cars_cap_db,
            p0=loss.floor_loss,
            blackout=None
            if blackout is None
            else (
                blackout.loss,
                round(blackout.length_s * 1e6),
                round(blackout.period_s * 1e6),
            ),
            blackout_share=1.0 if blackout is None else blackout.share,
        )
    knots = tuple(
        Knot(point.distance_m, point.probability, getattr(point, "mean_burst_frames", 1.0))
        for point in loss.by_distance
    )
    if loss.model == "independent":
        return Independent(knots, loss.odds_factor)
    return GilbertElliott(knots, loss.odds_factor, loss.burst_factor)


def open_channel(
    parameters: RadioParameters,
    scripts: Sequence[Script],
    *,
    receivers: Sequence[int] | None = None,
    overrides: Mapping[str, NDArray[np.float64]] | None = None,
) -> BroadcastChannel:
    """Make a channel at the beginning of the episodes of some scripts, a convoy each.

    Args:
        parameters: Of the radio.
        scripts: All of the same N.
        receivers: Recorded nodes; all, if left out.
        overrides: Of parameters, by their dotted names, a number per convoy.
    """
    num_nodes = scripts[0].num_nodes
    channel = BroadcastChannel(
        parameters,
        num_envs=len(scripts),
        num_nodes=num_nodes,
        receivers=range(num_nodes) if receivers is None else receivers,
    )
    begin_episodes(channel, scripts, overrides)
    return channel


def begin_episodes(
    channel: BroadcastChannel,
    scripts: Sequence[Script],
    overrides: Mapping[str, NDArray[np.float64]] | None = None,
) -> None:
    """Reset all convoys of a channel to the beginnings of some scripts; see `open_channel`."""
    channel.reset(
        np.arange(len(scripts)),
        np.array([script.key for script in scripts], np.uint64),
        node_keys=np.array([script.node_keys for script in scripts]),
        present=np.array([script.present for script in scripts]),
        overrides=overrides,
    )


def clocks_of(channel: BroadcastChannel, env: int = 0) -> list[Clock]:
    """Return the clocks of a convoy's nodes as the channel drew them."""
    offsets, drifts = channel.node_clocks.offset_ms[env], channel.node_clocks.drift_ppm[env]
    return [Clock(int(o), float(d)) for o, d in zip(offsets, drifts, strict=True)]


def play_on_channel(
    parameters: RadioParameters,
    scripts: Sequence[Script],
    *,
    channel: BroadcastChannel | None = None,
    late: bool = False,
) -> list[list[Snapshot]]:
    """Play scripts side by side, as one batch.

    Args:
        parameters: Of the radio.
        scripts: A convoy each; all of the same N and the same kinds of steps.
        channel: As opened; a new one that records all nodes, if left out.
        late: Photograph the tables not at once after each deliver, but just before the next one
            (or a `clear`), when more has been transmitted.

    Returns:
        One list of snapshots per script, one for each deliver.
    """
    if channel is None:
        channel = open_channel(parameters, scripts)
    moments: list[list[Snapshot]] = []
    delivered_us: NDArray[np.int64] | None = None
    for steps in zip(*(script.steps for script in scripts), strict=True):
        first = steps[0]
        if isinstance(first, Transmit):
            _transmit(channel, steps)
            continue
        if late and delivered_us is not None:
            moments.append(_photographs(channel, delivered_us))
        delivered_us = None
        if isinstance(first, Deliver):
            delivered_us = np.array([step.now_us for step in steps])
            channel.deliver(delivered_us)
            if not late:
                moments.append(_photographs(channel, delivered_us))
        else:
            channel.clear(np.arange(len(scripts)))
    if late and delivered_us is not None:
        moments.append(_photographs(channel, delivered_us))
    return [list(of_one) for of_one in zip(*moments, strict=True)]


def _transmit(channel: BroadcastChannel, steps: Sequence[Any]) -> None:
    channel.transmit(
        **{
            name: np.stack([getattr(step, name) for step in steps])
            for name in ("sending", "t_generated_us", "timestamp_ms", "payload")
        },
        node_xy_m=np.stack([step.xy_m for step in steps]),
        now_us=np.array([step.now_us for step in steps]),
    )


def _photographs(channel: BroadcastChannel, now_us: NDArray[np.int64]) -> list[Snapshot]:
    return [_photograph(channel, env, now_us) for env in range(now_us.size)]


def _photograph(channel: BroadcastChannel, env: int, now_us: NDArray[np.int64]) -> Snapshot:
    """Copy the table, with the column of node 0 that nobody records left empty."""
    table = channel.table
    arrays = {
        "heard": table.heard,
        "sequence": table.sequence,
        "hops": table.hops,
        "received_us": table.received_us,
        "timestamp_ms": table.timestamp_ms,
        "t_generated_us": table.t_generated_us,
        "age_est_ms": table.age_est_ms(now_us),
        "payload": table.payload,
    }
    columns = {}
    for name, values in arrays.items():
        empty = np.zeros_like(values[env, :, :1])
        columns[name] = np.concatenate([empty, values[env]], axis=1)
    return Snapshot(now_us=int(now_us[env]), **columns)
