"""A radio that brings what a real board received: packets are lost and late as they were."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words
from ml.envs.config import EnvConfig
from ml.envs.truth.ground_truth import GroundTruth
from ml.envs.worlds.stack import Stack
from ml.envs.worlds.world import empty_table
from ml.errors import EnvironmentStateError
from ml.espnow_emulator import PeerTable
from ml.parameters import load_parameters
from ml.sumo.road import Road
from ml.vehicle import TICK_US


class Received(Protocol):
    """Messages in the order of their reception, (K,) int64 unless said otherwise.

    Attributes:
        received_us: When, since the episode's start.
        source: Whose state it is: slot − 1.
        timestamp_ms: In the source's clock.
        generated_us: The same moment since the episode's start, for metrics alone.
        hops: How often it was relayed.
        payload: (K, F) float64, indexed by `PayloadField`.
    """

    @property
    def received_us(self) -> Ints: ...  # noqa: D102 (documented above)
    @property
    def source(self) -> Ints: ...  # noqa: D102
    @property
    def timestamp_ms(self) -> Ints: ...  # noqa: D102
    @property
    def generated_us(self) -> Ints: ...  # noqa: D102
    @property
    def hops(self) -> Ints: ...  # noqa: D102
    @property
    def payload(self) -> Floats: ...  # noqa: D102


def arrive(received: Received, first: int, now_us: int, env_indices: Ints, table: PeerTable) -> int:
    """Put into a peer table what has arrived by a time.

    Args:
        received: All messages.
        first: Number of the first that has not arrived yet.
        now_us: The time, since the episode's start.
        env_indices: (K,) int64, the convoys whose first receiver hears it.
        table: Is changed.

    Returns:
        Number of the first that has not arrived by now.
    """
    end = int(np.searchsorted(received.received_us, now_us, side="right"))
    for k in range(first, end):
        table.receive(
            env_indices,
            int(received.source[k]),
            timestamp_ms=int(received.timestamp_ms[k]),
            payload=received.payload[k],
            t_generated_us=int(received.generated_us[k]),
            received_us=int(received.received_us[k]),
            hops=int(received.hops[k]),
        )
    return max(first, end)


class ReceivedStack(Stack):
    """One ego measures itself, and its peer table fills as that of a real board did.

    Args:
        received: All messages.
        config: What an episode is like; of its radio only the sensors count.
        road: Turns positions along the road into the coordinates of the messages.
    """

    def __init__(self, received: Received, config: EnvConfig, road: Road) -> None:
        parameters = load_parameters(config.radio)
        table = empty_table(parameters, 1, 1 + config.max_convoy_peers)
        super().__init__(config, parameters, road, table, num_cars=1)
        self._received = received
        self._next = 0

    def _reset_radio(
        self, rows: Ints, keys: Words, present: Bools, drawn: Mapping[str, Floats]
    ) -> None:
        """Begin anew, with nobody heard."""
        del keys, present, drawn
        self.table.clear(rows)
        self._next = int(np.searchsorted(self._received.received_us, 0))

    def transmit(
        self,
        tick: Ints,
        before: GroundTruth,
        now: GroundTruth,
        receiver_pos_m: Floats | None = None,
    ) -> None:
        """Measure the ego at the tick's end; all messages were sent on the road.

        Raises:
            EnvironmentStateError: What is received is to depend on a reference ego's position.
        """
        if receiver_pos_m is not None:
            raise EnvironmentStateError(
                'recorded receptions are those of the board\'s own place: radio_position = "own"'
            )
        self._measure(tick, tick[:, None] * TICK_US, before, now)

    def receive(self, now_us: Ints) -> Floats:
        """Let arrive what had arrived by `now_us`, (1,); see `Stack`."""
        self._next = arrive(self._received, self._next, int(now_us[0]), self._everyone, self.table)
        return self.table.poll(now_us)
