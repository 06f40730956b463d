"""The radio alone: every node of every convoy sends, and all that is due arrives, tick by tick."""

import numpy as np

from ml.calibration.trials.convoy import CRUISE_MPS, straight
from ml.calibration.trials.parameters import SPACING_M
from ml.espnow_emulator import (
    BEACON_PERIOD_US,
    BeaconSchedule,
    BroadcastChannel,
    PayloadField,
    RadioParameters,
)
from ml.keyed_random import fold

TICKS = 512
_WARM_UP = 30  # ticks until every relay has something to pass on
_NORTH_DEG = 0.0


class RadioAlone:
    """`transmit` and `deliver` of convoys that cruise 21 m apart, as on the reference drive.

    What they are given is made beforehand, so that a run is nothing but these two calls. A step is
    one tick of one convoy.

    Args:
        radio: Its parameters.
        num_envs: Convoys.
        num_nodes: Cars of a convoy, all of them on the air.

    Raises:
        EmulatorError: More nodes than a channel holds.
    """

    def __init__(self, radio: RadioParameters, num_envs: int, num_nodes: int) -> None:
        hops = radio.relay.max_hops
        self.name = f"relays over up to {hops} hops" if hops else "relays off"
        self.channel = BroadcastChannel(radio, num_envs=num_envs, num_nodes=num_nodes)
        self._beacons = BeaconSchedule(radio, self.channel.node_clocks)
        self._sending = np.ones((num_envs, num_nodes), dtype=bool)
        start_m = np.tile(np.arange(num_nodes) * SPACING_M, (num_envs, 1))
        along_m = straight(start_m, _WARM_UP + TICKS)
        self._node_xy_m = np.stack([np.zeros_like(along_m), along_m], axis=-1)
        payload = np.zeros((*along_m.shape, len(PayloadField)))
        payload[..., PayloadField.Y_M] = along_m
        payload[..., PayloadField.SPEED_MPS] = CRUISE_MPS
        payload[..., PayloadField.HEADING_DEG] = _NORTH_DEG
        self._payload = payload
        self._round = 0

    def prepare(self) -> None:
        """Begin new episodes, and go on until they are under way."""
        rows = np.arange(self.channel.table.heard.shape[0])
        keys = fold(self._round, rows)
        self.channel.reset(rows, keys)
        self._beacons.reset(rows, keys)
        self._round += 1
        ticks = np.arange(1, _WARM_UP + TICKS + 1)
        self._generated_us = [self._beacons.generated_us(np.full(rows.size, k)) for k in ticks]
        self._now_us = [np.full(rows.size, k * BEACON_PERIOD_US) for k in ticks]
        self._timestamp_ms = [t_us // 1000 for t_us in self._generated_us]
        for tick in range(_WARM_UP):
            self._tick(tick)

    def run(self) -> int:
        """Send and deliver for a while; return ticks times convoys."""
        for tick in range(_WARM_UP, _WARM_UP + TICKS):
            self._tick(tick)
        return TICKS * self._sending.shape[0]

    def _tick(self, tick: int) -> None:
        now_us = self._now_us[tick]
        self.channel.transmit(
            sending=self._sending,
            t_generated_us=self._generated_us[tick],
            timestamp_ms=self._timestamp_ms[tick],
            payload=self._payload[tick + 1],
            node_xy_m=self._node_xy_m[tick + 1],
            now_us=now_us,
        )
        self.channel.deliver(now_us)


def radios_alone(radio: RadioParameters, num_envs: int, num_nodes: int) -> list[RadioAlone]:
    """Build the radio without relays and, where the parameters have some, with them."""
    silent = radio.model_copy(update={"relay": radio.relay.model_copy(update={"max_hops": 0})})
    kinds = [silent, radio] if radio.relay.max_hops else [silent]
    return [RadioAlone(kind, num_envs, num_nodes) for kind in kinds]
