"""A tape of all that does not depend on who drives the egos.

Peers look ahead only, and where the reference driver decides the fate of every packet
(`EnvConfig.radio_position`), the whole radio belongs to the case: so does each peer's motion, each
message and with that the ego's peer table, tick by tick. One driver's run through some cases is
recorded; any other then meets the same bits (`ml.envs.worlds.replayed`) and only its ego has to be
simulated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ml.compiled import compiled
from ml.errors import EnvironmentStateError
from ml.espnow_emulator import PayloadField
from ml.espnow_emulator.messages import FrameField

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.envs.config import EnvConfig
    from ml.envs.convoy_batch import ConvoyBatch

_BYTES_PER_LINK = 2 + 8 * (4 + len(FrameField) + len(PayloadField))


class TapeArrays(NamedTuple):
    """What is recorded; arrays (T, C, S) of ticks (row 0 is unused), cases and peers.

    Attributes:
        present: bool, whether the peer is on the road.
        route_pos_m: float64, its front bumper.
        speed_mps: float64.
        heard: bool, as all that follow as the ego's peer table and board have it.
        numbers: (5, T, C, S) int64, indexed by `FrameField`.
        received_us: int64.
        age_est_ms: float64.
        payload: (T, C, S, F) float64.
    """

    present: NDArray[np.bool_]
    route_pos_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    heard: NDArray[np.bool_]
    numbers: NDArray[np.int64]
    received_us: NDArray[np.int64]
    age_est_ms: NDArray[np.float64]
    payload: NDArray[np.float64]


def is_shared(config: EnvConfig) -> bool:
    """Tell whether episodes of this kind are the same for every driver but for its own ego.

    They are where the reference driver decides what the radio brings, we drive the ego (SUMO's
    own car-following needs its leader), and a crash does not end the episode.
    """
    return (
        config.radio_position == "reference"
        and config.ego_control == "policy"
        and not config.stop_at_collision
    )


def bytes_per_case(ticks: int, num_peers: int) -> int:
    """Memory that a case takes on a tape."""
    return (ticks + 1) * num_peers * _BYTES_PER_LINK


class Tape:
    """Room for some cases; see `TapeArrays`.

    Args:
        ticks: Longest episode.
        num_cases: C.
        num_peers: S.

    Attributes:
        arrays: What is recorded.
        length: (C,) int64, ticks recorded of each.
    """

    def __init__(self, ticks: int, num_cases: int, num_peers: int) -> None:
        shape = (ticks + 1, num_cases, num_peers)
        self.arrays = TapeArrays(
            present=np.zeros(shape, dtype=bool),
            route_pos_m=np.zeros(shape),
            speed_mps=np.zeros(shape),
            heard=np.zeros(shape, dtype=bool),
            numbers=np.zeros((len(FrameField), *shape), dtype=np.int64),
            received_us=np.zeros(shape, dtype=np.int64),
            age_est_ms=np.zeros(shape),
            payload=np.zeros((*shape, len(PayloadField))),
        )
        self.length = np.zeros(num_cases, dtype=np.int64)
        self._place_of: dict[int, int] = {}
        self._place = np.zeros(0, dtype=np.int64)

    def clear(self) -> None:
        """Forget every case."""
        self._place_of.clear()
        self.length[:] = 0

    def record(self, batch: ConvoyBatch) -> None:
        """Take down the tick that a batch has just been through; to be called after each.

        A case that is run again, as by a convoy that waits for the others, says the same again.

        Raises:
            EnvironmentStateError: There are more cases than room, or the batch's episodes depend
                on who drives.
        """
        if not is_shared(batch.config):
            raise EnvironmentStateError(
                "a tape takes down what all drivers share; that needs radio_position = "
                '"reference", ego_control = "policy" and stop_at_collision = false'
            )
        if self._place.size != batch.num_envs:
            self._place = np.full(batch.num_envs, -1, dtype=np.int64)
        begun = np.flatnonzero(batch.tick == 1)
        if begun.size:
            self._place[begun] = [self._give_place(key) for key in batch.keys[begun].tolist()]
        truth, table = batch.truth, batch.peer_table.arrays
        _record(
            batch.tick,
            self._place,
            self.length,
            truth.present,
            truth.route_pos_m,
            truth.speed_mps,
            table.heard,
            table.numbers,
            table.received_us,
            batch.age_est_ms,
            table.payload,
            self.arrays,
        )

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the places (n,) int64 of episodes by their keys (n,).

        Raises:
            EnvironmentStateError: One of them is not on the tape.
        """
        try:
            return np.array([self._place_of[key] for key in keys.tolist()], dtype=np.int64)
        except KeyError as error:
            raise EnvironmentStateError(
                f"the episode of key {error} is not on the tape: record it before it is played"
            ) from error

    def _give_place(self, key: int) -> int:
        place = self._place_of.setdefault(key, len(self._place_of))
        if place >= self.length.size:
            raise EnvironmentStateError(
                f"the tape has room for {self.length.size} cases; clear it, or make it longer"
            )
        return place


@compiled
def _record(
    tick: NDArray[np.int64],
    place: NDArray[np.int64],
    length: NDArray[np.int64],
    present: NDArray[np.bool_],
    route_pos_m: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    heard: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    received_us: NDArray[np.int64],
    age_est_ms: NDArray[np.float64],
    payload: NDArray[np.float64],
    tape: TapeArrays,
) -> None:
    """Copy peers to their place and tick; traffic is (E, 1 + S), the radio (E, 1, S)."""
    for e in range(tick.size):
        t, c = tick[e], place[e]
        length[c] = max(length[c], t)
        for s in range(heard.shape[2]):
            tape.present[t, c, s] = present[e, s + 1]
            tape.route_pos_m[t, c, s] = route_pos_m[e, s + 1]
            tape.speed_mps[t, c, s] = speed_mps[e, s + 1]
            tape.heard[t, c, s] = heard[e, 0, s]
            for n in range(numbers.shape[0]):
                tape.numbers[n, t, c, s] = numbers[n, e, 0, s]
            tape.received_us[t, c, s] = received_us[e, 0, s]
            tape.age_est_ms[t, c, s] = age_est_ms[e, 0, s]
            for f in range(payload.shape[3]):
                tape.payload[t, c, s, f] = payload[e, 0, s, f]


@compiled
def play_traffic(
    tick: NDArray[np.int64],
    place: NDArray[np.int64],
    tape: TapeArrays,
    present: NDArray[np.bool_],
    route_pos_m: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
) -> None:
    """Put the peers on the road, (E, 1 + S), as they were at each convoy's tick."""
    for e in range(tick.size):
        t, c = tick[e], place[e]
        for s in range(present.shape[1] - 1):
            present[e, s + 1] = tape.present[t, c, s]
            route_pos_m[e, s + 1] = tape.route_pos_m[t, c, s]
            speed_mps[e, s + 1] = tape.speed_mps[t, c, s]


@compiled
def play_radio(
    tick: NDArray[np.int64],
    place: NDArray[np.int64],
    tape: TapeArrays,
    heard: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    received_us: NDArray[np.int64],
    age_est_ms: NDArray[np.float64],
    payload: NDArray[np.float64],
) -> None:
    """Fill a peer table, (E, 1, S), as it was at each convoy's tick."""
    for e in range(tick.size):
        t, c = tick[e], place[e]
        for s in range(heard.shape[2]):
            if not tape.heard[t, c, s]:
                continue  # a table forgets nothing in an episode, and is empty at its start
            heard[e, 0, s] = True
            for n in range(numbers.shape[0]):
                numbers[n, e, 0, s] = tape.numbers[n, t, c, s]
            received_us[e, 0, s] = tape.received_us[t, c, s]
            age_est_ms[e, 0, s] = tape.age_est_ms[t, c, s]
            for f in range(payload.shape[3]):
                payload[e, 0, s, f] = tape.payload[t, c, s, f]
