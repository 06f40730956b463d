"""What stands between the traffic and the policy: sensors, beacons, radio, peer table.

There is one way for a message to reach an observation, and it leads through here: every peer's
state is measured once, at the sender, at the moment of its beacon; all frames are transmitted
before any is delivered; what is delivered has arrived by now.
"""

from collections import deque
from collections.abc import Mapping

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words
from ml.compiled import compiled
from ml.envs.config import EnvConfig
from ml.envs.truth.ground_truth import GroundTruth
from ml.envs.truth.lanes import move_aside
from ml.envs.worlds.stack import Stack
from ml.errors import EnvironmentStateError
from ml.espnow_emulator import (
    BeaconSchedule,
    BroadcastChannel,
    MessageFaults,
    PayloadField,
    PeerTable,
)
from ml.parameters import Parameters
from ml.sensors import Measurement
from ml.sumo.road import Road
from ml.vehicle import DT_S, TICK_US

_AGE_SAMPLE_TICKS = 5
_MOST_AGE_SAMPLES = 1000


class V2VStack(Stack):
    """Every car measures and sends, and what the egos hear is recorded.

    Attributes:
        channel: The radio.
    """

    def __init__(
        self, config: EnvConfig, parameters: Parameters, road: Road, *, num_envs: int
    ) -> None:
        radio, num_slots = parameters.radio, 1 + config.max_convoy_peers
        self.channel = BroadcastChannel(radio, num_envs=num_envs, num_nodes=num_slots)
        super().__init__(config, parameters, road, self.channel.table, num_cars=num_slots)
        self._audit = config.audit_causality
        self._beacons = BeaconSchedule(radio, self.channel.node_clocks)
        self._faults = MessageFaults(radio.faults, num_envs=num_envs, num_nodes=num_slots)
        self._present = np.zeros((num_envs, num_slots), dtype=bool)
        # Bounded, for users who never ask for the metrics.
        self._ages_s: deque[Floats] = deque(maxlen=_MOST_AGE_SAMPLES)
        self._polls = 0

    def _reset_radio(
        self, rows: Ints, keys: Words, present: Bools, drawn: Mapping[str, Floats]
    ) -> None:
        self.channel.reset(rows, keys, present=present, overrides=drawn)
        self._beacons.reset(rows, keys)
        self._faults.reset(rows, keys)
        self._present[rows] = present

    def transmit(
        self,
        tick: Ints,
        before: GroundTruth,
        now: GroundTruth,
        receiver_pos_m: Floats | None = None,
    ) -> None:
        """Send every car's beacon of the tick that has just been simulated; see `Stack`."""
        t_generated_us = self._beacons.generated_us(tick)
        sampled_us = t_generated_us.copy()
        sampled_us[:, 0] = tick * TICK_US  # the ego decides at the tick's end
        measured_before = self.measured
        self._measure(tick, sampled_us, before, now)
        if np.count_nonzero(before.lateral_m):
            at_end = self.road.pose(now.route_pos_m)
            drift_mps = (now.lateral_m - before.lateral_m) / DT_S
            move_aside(*at_end, now.lateral_m, drift_mps, now.speed_mps)
            node_xy_m = np.stack(at_end[:2], axis=-1)
        else:
            node_xy_m = self.road.points(now.route_pos_m)
        payload = np.empty((*t_generated_us.shape, len(PayloadField)))
        _fill_payload(_columns(self.measured), _columns(measured_before), payload)
        if receiver_pos_m is not None:
            # There it is as a relay, too, which judges by its own pose what it sends on.
            x_m, y_m, heading_deg = self.road.pose(receiver_pos_m)
            node_xy_m[:, 0, 0] = payload[:, 0, PayloadField.X_M] = x_m
            node_xy_m[:, 0, 1] = payload[:, 0, PayloadField.Y_M] = y_m
            payload[:, 0, PayloadField.HEADING_DEG] = heading_deg
        timestamp_ms = self.channel.node_clocks.local_ms(t_generated_us)
        sending = self._faults.apply(
            tick,
            sending=self._present,
            t_generated_us=t_generated_us,
            timestamp_ms=timestamp_ms,
            payload=payload,
        )
        self.channel.transmit(
            sending=sending,
            t_generated_us=t_generated_us,
            timestamp_ms=timestamp_ms,
            payload=payload,
            node_xy_m=node_xy_m,
            now_us=tick * TICK_US,
        )

    def receive(self, now_us: Ints) -> Floats:
        """Poll: deliver what has arrived by `now_us`, (num_envs,); see `Stack`.

        Raises:
            EnvironmentStateError: The audit found a message from the future.
        """
        table = self.channel.deliver(now_us)
        if self._audit:
            self._check_causality(table, now_us)
        self._polls += 1
        if self._polls % _AGE_SAMPLE_TICKS == 0:
            self._ages_s.append(table.age_true_us(now_us)[table.heard] / 1e6)
        return table.age_est_ms(now_us)

    @staticmethod
    def _check_causality(table: PeerTable, now_us: Ints) -> None:
        now = now_us[:, None, None]
        wrong = table.heard & (
            (table.received_us > now) | (table.t_generated_us > table.received_us)
        )
        if wrong.any():
            env, receiver, source = (int(i[0]) for i in np.nonzero(wrong))
            raise EnvironmentStateError(
                f"causality broken in convoy {env}: receiver {receiver} sees a message of source "
                f"{source} generated at {table.t_generated_us[env, receiver, source]} µs, received "
                f"at {table.received_us[env, receiver, source]} µs, at {now_us[env]} µs"
            )

    def drain(self) -> dict[str, float]:
        """Delivery ratio and age of information (true time) since the last call."""
        report = dict(self.channel.drain_counters())
        if self._ages_s:
            ages = np.concatenate(self._ages_s)
            self._ages_s.clear()
            if ages.size:
                names = ("radio/age_p50_s", "radio/age_p95_s", "radio/age_max_s")
                found = np.percentile(ages, [50, 95, 100]).tolist()
                report |= dict(zip(names, found, strict=True))
        return report


def _columns(measured: Measurement) -> tuple[Floats, ...]:
    """Return its arrays in the order of `PayloadField`."""
    return tuple(getattr(measured, name) for name in Measurement.__slots__)


@compiled
def _fill_payload(
    measured: tuple[Floats, ...], before: tuple[Floats, ...], payload: Floats
) -> None:
    """Fill what the cars say of themselves, (E, V, F), from arrays (E, V).

    A peer measures itself at its beacon. The ego's measurement of this tick is of the tick's end,
    hence from the future of its beacon: its beacon says what it measured `before`.
    """
    for e in range(payload.shape[0]):
        for v in range(payload.shape[1]):
            said = before if v == 0 else measured
            for field in range(payload.shape[2]):
                payload[e, v, field] = said[field][e, v]
