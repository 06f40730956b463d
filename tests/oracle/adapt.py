"""The channel as a player of scripts, and what the exact tests of the radio share."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import HealthCheck, settings

from ml.espnow_emulator import BroadcastChannel, RadioParameters
from oracle.script import Deliver, Script, Snapshot, Transmit
from oracle.scripts_at_random import Style, write_script
from oracle.table import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

LOSSLESS = {"model": "independent", "by_distance": [{"distance_m": 0.0, "probability": 0.0}]}
ALL_LOST = {"model": "independent", "by_distance": [{"distance_m": 0.0, "probability": 1.0}]}
EXACT = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
CROWD = Style(
    num_nodes=8,
    ticks=40,
    phases="spread",
    layout="row",
    share_sending=0.9,
    absent=1,
    two_calls=False,
    odd_delivers=True,
    share_skipped=0.0,
    reboots=True,
    clears=False,
    seed=11,
)
EVERYTHING: dict[str, Any] = {
    "loss": {"model": "margin", "blackout": {"length_s": 0.3, "period_s": 1.0}},
    "relay": {"max_hops": 3, "front_cone": False, "forward_time_s": 0.5},
}
MARGIN = {"model": "margin"}
NO_OBSTRUCTION = {"car_first_db": 0.0, "car_next_db": 0.0, "cars_cap_db": 0.0}


def radio(**sections: Any) -> RadioParameters:
    """Parameters from plain sections, as a file would hold them; no loss unless asked for."""
    return RadioParameters.model_validate_json(
        json.dumps({"loss": LOSSLESS, "wire": {"quantise": False}} | sections)
    )


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


def assert_same(ours: list[Snapshot], others: list[Snapshot]) -> None:
    """Assert that two lists of snapshots are equal to the bit."""
    assert len(ours) == len(others)
    for one, other in zip(ours, others, strict=True):
        for name in Snapshot.ARRAYS:
            values, others_values = getattr(one, name), getattr(other, name)
            assert values.tobytes() == others_values.tobytes(), f"{name} at {one.now_us} µs"


def play(sections: dict[str, Any], *scripts: Script) -> list[list[Snapshot]]:
    """Play scripts side by side on one channel."""
    return play_on_channel(radio(**sections), scripts)


def heard_bytes(seed: int) -> list[bytes]:
    """What one process hears in the busy episode of a seed, array by array."""
    (snapshots,) = play(EVERYTHING, write_script(replace(CROWD, seed=seed)))
    return [getattr(s, name).tobytes() for s in snapshots for name in Snapshot.ARRAYS]
