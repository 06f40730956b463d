"""Recorded traffic: all that does not depend on who drives the egos.

Peers look ahead only, and where the reference ego decides the fate of every packet
(`EnvConfig.radio_position`), the whole radio belongs to the case: so does each peer's motion, each
message and with that the ego's peer table, tick by tick. One driver's run through some cases is
recorded; any other then meets the same bits (`ml.envs.worlds.replayed`) and only its ego has to be
simulated.
"""

from typing import NamedTuple, Protocol, Self

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words
from ml.envs.config import EnvConfig
from ml.envs.truth.ground_truth import GroundTruth
from ml.errors import EnvironmentStateError
from ml.espnow_emulator.messages import FrameField, PayloadField
from ml.espnow_emulator.peer_table import PeerTable
from ml.sumo.protocol import Simulator

_BYTES_PER_LINK = 2 + 8 * (4 + len(FrameField) + len(PayloadField))


class Motion(NamedTuple):
    """The peers on the road; arrays (…, S).

    Attributes:
        present: bool, whether the peer is on the road.
        route_pos_m: float64, its front bumper.
        speed_mps: float64.
    """

    present: Bools
    route_pos_m: Floats
    speed_mps: Floats


class Reception(NamedTuple):
    """What an ego has received, as its peer table and its board have it; arrays (…, S).

    Attributes:
        heard: bool.
        numbers: (…, 5, S) int64, indexed by `FrameField`.
        received_us: int64.
        age_est_ms: float64.
        payload: (…, S, F) float64.
    """

    heard: Bools
    numbers: Ints
    received_us: Ints
    age_est_ms: Floats
    payload: Floats

    @classmethod
    def of(cls, table: PeerTable, age_est_ms: Floats) -> Self:
        """View an ego's peer table and its ages, (E, 1, S)."""
        memory = table.arrays
        return cls(
            heard=memory.heard[:, 0],
            numbers=np.moveaxis(memory.numbers[:, :, 0], 0, 1),
            received_us=memory.received_us[:, 0],
            age_est_ms=age_est_ms[:, 0],
            payload=memory.payload[:, 0],
        )


def is_shared(config: EnvConfig) -> bool:
    """Tell whether episodes of this kind are the same for every driver but for its own ego.

    They are where the reference ego decides what the radio brings, we drive the ego (SUMO's own
    car-following needs its leader), and a crash does not end the episode.
    """
    return (
        config.radio_position == "reference"
        and config.ego_control == "policy"
        and not config.stop_at_collision
    )


def bytes_per_case(ticks: int, num_peers: int) -> int:
    """Memory that a recorded case takes."""
    return (ticks + 1) * num_peers * _BYTES_PER_LINK


class Recordable(Protocol):
    """What is read of a batch to record it; `ml.envs.convoy_batch.ConvoyBatch` says what it is."""

    config: EnvConfig
    num_envs: int
    keys: Words
    tick: Ints
    truth: GroundTruth
    age_est_ms: Floats

    @property
    def peer_table(self) -> PeerTable: ...  # noqa: D102 (documented on the batch)
    @property
    def simulator(self) -> Simulator: ...  # noqa: D102


class RecordedTraffic:
    """Room for some cases.

    Args:
        ticks: Longest episode, T.
        num_cases: C.
        num_peers: S.

    Attributes:
        motion: Arrays (T + 1, C, …); row 0 is unused.
        reception: Arrays (T + 1, C, …); row 0 is unused.
        length: (C,) int64, ticks recorded of each.
    """

    def __init__(self, ticks: int, num_cases: int, num_peers: int) -> None:
        cases, links = (ticks + 1, num_cases), (ticks + 1, num_cases, num_peers)
        self.motion = Motion(np.zeros(links, dtype=bool), np.zeros(links), np.zeros(links))
        self.reception = Reception(
            heard=np.zeros(links, dtype=bool),
            numbers=np.zeros((*cases, len(FrameField), num_peers), dtype=np.int64),
            received_us=np.zeros(links, dtype=np.int64),
            age_est_ms=np.zeros(links),
            payload=np.zeros((*links, len(PayloadField))),
        )
        self.length = np.zeros(num_cases, dtype=np.int64)
        self._place_of: dict[int, int] = {}
        self._place = np.zeros(0, dtype=np.int64)

    def clear(self) -> None:
        """Forget every case."""
        self._place_of.clear()
        self.length[:] = 0

    def record(self, batch: Recordable) -> None:
        """Record the tick that a batch has just been through; to be called after each.

        A case that is run again, as by a convoy that waits for the others, is the same again.

        Raises:
            EnvironmentStateError: There are more cases than room, or the batch's episodes depend
                on who drives.
        """
        if not is_shared(batch.config):
            raise EnvironmentStateError(
                "only what all drivers share can be recorded; that needs radio_position = "
                '"reference", ego_control = "policy" and stop_at_collision = false'
            )
        if self._place.size != batch.num_envs:
            self._place = np.full(batch.num_envs, -1, dtype=np.int64)
        begun = np.flatnonzero(batch.tick == 1)
        if begun.size:
            self._place[begun] = [self._give_place(key) for key in batch.keys[begun].tolist()]
        truth, at = batch.truth, (batch.tick, self._place)
        np.maximum.at(self.length, self._place, batch.tick)
        self.motion.present[at] = truth.present[:, 1:]
        self.motion.route_pos_m[at] = truth.route_pos_m[:, 1:]
        self.motion.speed_mps[at] = truth.speed_mps[:, 1:]
        received = Reception.of(batch.peer_table, batch.age_est_ms)
        for kept, now in zip(self.reception, received, strict=True):
            kept[at] = now

    def find(self, keys: Words) -> Ints:
        """Return the places (n,) int64 of episodes by their keys (n,).

        Raises:
            EnvironmentStateError: One of them was not recorded.
        """
        try:
            return np.array([self._place_of[key] for key in keys.tolist()], dtype=np.int64)
        except KeyError as error:
            raise EnvironmentStateError(
                f"the episode of key {error} was not recorded: record it before it is replayed"
            ) from error

    def _give_place(self, key: int) -> int:
        place = self._place_of.setdefault(key, len(self._place_of))
        if place >= self.length.size:
            raise EnvironmentStateError(
                f"there is room for {self.length.size} recorded cases; clear them, or make more"
            )
        return place
