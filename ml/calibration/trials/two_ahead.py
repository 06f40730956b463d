"""The link from two cars ahead on the reference drive: what relays rescue, how long it is mute."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from ml.arrays import Floats, Ints
from ml.calibration.synthetic.drive import reference_drive
from ml.calibration.trials.convoy import drive_on, without_relays
from ml.calibration.trials.reference_drive import share_of_time_beyond
from ml.espnow_emulator import BEACON_PERIOD_US, BroadcastChannel, MarginLoss, RadioParameters
from ml.keyed_random import Stream, fold, uniform

_SILENCES_S: Final = (0.2, 0.3, 0.5)
# Slots of cars 0, 1 and 2 within a tick, first and last in µs: a copy of what car 2 says leaves car
# 1 in the same tick, 10 to 85 ms later, so that a table read at its end hides nothing.
_SLOTS_US: Final = np.array([(0, 80_000), (40_000, 85_000), (0, 30_000)])
_SEED: Final = 11


def link_two_ahead(
    radio: RadioParameters,
    num_convoys: int,
    *,
    seed: int = _SEED,
    overrides: Mapping[str, Floats] | None = None,
) -> dict[str, float]:
    """Compute of the reference drive what was recorded of the link from two ahead.

    All boards are alike, as it is one pair's link that is held against a recorded one. The direct
    loss is that of the same frames, by the same draws, with relays off.

    Args:
        radio: Its parameters, with the margin model.
        num_convoys: E.
        seed: Of all draws.
        overrides: As in `BroadcastChannel.reset`.

    Returns:
        The figures of `TWO_AHEAD`, by their names.
    """
    assert isinstance(radio.loss, MarginLoss)  # noqa: S101 - the caller's own parameters
    alike = radio.loss.model_copy(update={"antenna_sd_db": 0.0, "door_share": 0.0})
    radio = radio.model_copy(update={"loss": alike})
    direct, relayed = (
        _received_from_two_ahead(one, num_convoys, seed, overrides)
        for one in (without_relays(radio), radio)
    )
    lost = direct < 0
    beyond = share_of_time_beyond(
        np.where(relayed < 0, np.nan, 0.0), relayed.astype(float), _SILENCES_S
    )
    return {
        "direct loss": float(lost.mean()),
        "share of lost frames rescued": float((relayed[lost] >= 0).mean()),
        **{f"share of time without news for {s:g} s": share for s, share in beyond.items()},
    }


def _received_from_two_ahead(
    radio: RadioParameters, num_convoys: int, seed: int, overrides: Mapping[str, Floats] | None
) -> Ints:
    """Return when car 0 had each frame of car 2, (ticks, E) in µs; -1 where it never had it."""
    position_m = reference_drive(num_convoys)
    ticks, cars = len(position_m) - 1, position_m.shape[2]
    channel = BroadcastChannel(radio, num_envs=num_convoys, num_nodes=cars)
    rows = np.arange(num_convoys)
    keys = fold(seed, rows)
    channel.reset(rows, keys, overrides=overrides)
    share = uniform(fold(keys[:, None], Stream.BEACON_PHASE, np.arange(cars)))
    first_us, last_us = _SLOTS_US.T
    phase_us = first_us + np.floor(share * (last_us - first_us)).astype(np.int64)
    received_us = np.full((ticks, num_convoys), -1, np.int64)
    for k in range(ticks):
        table = drive_on(channel, k + 1, k * BEACON_PERIOD_US + phase_us, position_m[k + 1])
        fresh = (table.heard & (table.sequence == k))[:, 0, -1]
        received_us[k, fresh] = table.received_us[fresh, 0, -1]
    return received_us
