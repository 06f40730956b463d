"""What stands between the traffic and the egos' boards: sensors and radio, live or replayed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ml.envs.truth.ground_truth import GroundTruth
from ml.envs.worlds.node_sensors import NodeSensors
from ml.espnow_emulator.peer_table import PeerTable
from ml.parameters import Parameters, draw_episode_parameters
from ml.sensors import Measurement, RangingSensor
from ml.sumo.road import Road


class Stack(ABC):
    """Sensors and radio of a batch of convoys.

    Args:
        parameters: Radio and sensors.
        road: Turns positions along the road into coordinates.
        table: The egos' peer table, (num_envs, 1, num_peers), which the radio fills.
        num_cars: How many of each convoy's cars measure, the ego first.
        randomise: Draw parameters anew per episode, from the file's ranges.

    Attributes:
        nodes: Sensors of these cars, and the egos' ranging sensors.
        table: The egos' peer table, as of the last delivery.
    """

    def __init__(
        self,
        parameters: Parameters,
        road: Road,
        table: PeerTable,
        *,
        num_cars: int,
        randomise: bool,
    ) -> None:
        self._parameters = parameters
        self._randomise = randomise
        num_envs = table.heard.shape[0]
        self.nodes = NodeSensors(parameters.sensors, road, num_envs=num_envs, num_cars=num_cars)
        self.table = table

    @property
    def measured(self) -> Measurement:
        """What the nodes believed of themselves at their last sample, (num_envs, num_cars)."""
        return self.nodes.measured

    @property
    def ranging(self) -> RangingSensor:
        """The egos' ranging sensors."""
        return self.nodes.ranging

    def reset(
        self,
        rows: NDArray[np.int64],
        keys: NDArray[np.uint64],
        present: NDArray[np.bool_],
        truth: GroundTruth,
    ) -> None:
        """Begin episodes in some convoys, with new sensors, clocks, phases and links.

        Args:
            rows: (n,) convoys.
            keys: (n,) uint64 episode keys.
            present: (n, num_slots) bool.
            truth: Rows (n, …) of where the cars were placed.
        """
        drawn = draw_episode_parameters(self._parameters, keys) if self._randomise else {}
        self._reset_radio(rows, keys, present, drawn)
        self.nodes.reset(rows, keys, truth, drawn)

    @abstractmethod
    def _reset_radio(
        self,
        rows: NDArray[np.int64],
        keys: NDArray[np.uint64],
        present: NDArray[np.bool_],
        drawn: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """Begin episodes in some convoys; `drawn` are parameters that were drawn for them."""

    @abstractmethod
    def transmit(
        self,
        tick: NDArray[np.int64],
        before: GroundTruth,
        now: GroundTruth,
        receiver_pos_m: NDArray[np.float64] | None = None,
    ) -> None:
        """Measure, and send every car's beacon of the tick that has just been simulated.

        Args:
            tick: (num_envs,) int64, the tick's number since reset, from 1.
            before: Ground truth of the tick before.
            now: Ground truth of this tick.
            receiver_pos_m: (num_envs,) float64, where along the road the radio takes the ego to
                be, as a receiver and as a relay; None for where it is and believes to be.
        """

    @abstractmethod
    def receive(self, now_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """Poll: deliver what has arrived by `now_us`, (num_envs,), into `table`.

        Returns:
            (num_envs, 1, num_peers) float64, ms, the ages of each peer's newest message as the
            egos' boards estimate them; see `PeerTable.age_est_ms`.
        """

    def drain(self) -> dict[str, float]:
        """Return what the radio did since the last call; nothing where it does nothing."""
        return {}
