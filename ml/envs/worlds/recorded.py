"""Recorded traffic: all that does not depend on who drives the egos.

Peers look ahead only, and where the reference ego decides the fate of every packet
(`EnvConfig.radio_position`), the whole radio belongs to the case: so does each peer's motion, each
message and with that the ego's peer table, tick by tick. One driver's run through some cases is
recorded; any other then meets the same bits (`ml.envs.worlds.replayed`) and only its ego has to be
moved.

A tick of a case is a frame. Frames, and the cars and messages in them, stand in the order in which
they were recorded, those of many cases one among the other; each names its case's next.
"""

from typing import Annotated, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Floats, Ints, Words, allocate
from ml.compiled import inlined
from ml.envs.config import EnvConfig
from ml.envs.episodes.drawn import EpisodePlan
from ml.envs.truth.ground_truth import GroundTruth
from ml.errors import EnvironmentStateError
from ml.espnow_emulator.messages import FrameField, PayloadField
from ml.espnow_emulator.peer_table import PeerTable, TableArrays
from ml.vehicle import TICK_US

SmallInts = NDArray[np.int32]

SOURCE, SEQUENCE, HOPS, SAMPLED_AGO_US, RECEIVED_AGO_US = range(5)
"""Columns of `Frames.numbers`."""
NO_FRAME = -1
_SEQUENCE, _, _TIMESTAMP_MS, _GENERATED_US, _HOPS = (int(field) for field in FrameField)


class Frames(NamedTuple):
    """F frames with C cars and M messages altogether.

    Attributes:
        following: The case's next frame; `NO_FRAME` after its last.
        here: A bit for each slot whose car is on the road.
        first_car: Where the frame's cars begin, slot by slot; they end where the next one's begin.
        first_message: The same of its messages.
        moving: Front bumper along the road, m, and speed, m/s; 0 where the car is not there.
        age_ms: Of the newest message of that car, as the ego's board estimates it.
        payload: Of the messages, indexed by `PayloadField`.
        timestamp_ms: In the source's clock.
        numbers: Columns as above; times back from the frame's end.
        size: How many frames there are.
    """

    following: Annotated[SmallInts, "FRAMES"]
    here: Annotated[SmallInts, "FRAMES"]
    first_car: Annotated[Ints, "ENDS"]
    first_message: Annotated[Ints, "ENDS"]
    moving: Annotated[Floats, "LINKS 2"]
    age_ms: Annotated[SmallInts, "LINKS"]
    payload: Annotated[Floats, "LINKS F"]
    timestamp_ms: Annotated[Ints, "LINKS"]
    numbers: Annotated[SmallInts, "LINKS 5"]
    size: Annotated[Ints, "1"]

    def num_bytes(self) -> int:
        """Count what is used of the memory."""
        frames = int(self.size[0])
        cars, messages = int(self.first_car[frames]), int(self.first_message[frames])
        return _bytes(frames, cars, messages)


def _bytes(frames: int, cars: int, messages: int) -> int:
    return 24 * frames + 20 * cars + (8 * len(PayloadField) + 28) * messages


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
    """Most memory that a recorded case takes: that of one whose every peer is heard anew each tick.

    It is reserved, and the operating system gives what is used.
    """
    return _bytes(ticks, ticks * num_peers, ticks * num_peers)


class Recordable(Protocol):
    """What is read of a batch to record it; `ml.envs.convoy_batch.ConvoyBatch` says what it is."""

    config: EnvConfig
    num_envs: int
    keys: Words
    plan: EpisodePlan
    tick: Ints
    truth: GroundTruth
    age_est_ms: Floats

    @property
    def peer_table(self) -> PeerTable: ...  # noqa: D102 (documented on the batch)


class RecordedTraffic:
    """Room for some cases.

    Args:
        ticks: Longest episode, T.
        num_cases: C.
        num_peers: S.

    Attributes:
        frames: Of all cases.
    """

    def __init__(self, ticks: int, num_cases: int, num_peers: int) -> None:
        frames = ticks * num_cases
        sizes = {"FRAMES": frames, "ENDS": frames + 1, "LINKS": frames * num_peers}
        self.frames = allocate(Frames, sizes | {"F": len(PayloadField)})
        self._first = np.full(num_cases, NO_FRAME, dtype=np.int64)
        self._place_of: dict[int, int] = {}
        self._writing = np.zeros((2, 0), dtype=np.int64)
        self._known_us = np.zeros((0, num_peers), dtype=np.int64)

    def clear(self) -> None:
        """Forget every case."""
        self._place_of.clear()
        self._first[:] = NO_FRAME
        self.frames.size[:] = 0
        self._writing[0] = NO_FRAME

    def record(self, batch: Recordable, rows: Ints | None = None) -> None:
        """Record the tick that a batch has just been through; to be called after each.

        A case that is run again, as by a convoy that waits for the others, is the same again, and
        not recorded again.

        Args:
            batch: The batch.
            rows: Convoys of which an episode that has just begun is to be recorded; None: all.

        Raises:
            EnvironmentStateError: There are more cases than room, or the batch's episodes depend
                on who drives.
        """
        if not is_shared(batch.config):
            raise EnvironmentStateError(
                "only what all drivers share can be recorded; that needs radio_position = "
                '"reference", ego_control = "policy" and stop_at_collision = false'
            )
        if self._known_us.shape[0] != batch.num_envs:
            self._writing = np.full((2, batch.num_envs), NO_FRAME, dtype=np.int64)
            self._known_us = np.zeros((batch.num_envs, self._known_us.shape[1]), dtype=np.int64)
        begun = np.flatnonzero(batch.tick == 1)
        if begun.size:
            self._writing[:, begun] = NO_FRAME
            self._known_us[begun] = -1
            wanted = begun if rows is None else np.intersect1d(begun, rows)
            for row, key in zip(wanted.tolist(), batch.keys[wanted].tolist(), strict=True):
                self._writing[0, row] = self._give_place(key)
        table = batch.peer_table
        _append(
            self._writing[0],
            self._writing[1],
            self._first,
            batch.plan.num_peers,
            batch.tick,
            batch.truth,
            batch.age_est_ms[:, 0],
            table.arrays,
            self._known_us,
            self.frames,
        )

    def find(self, keys: Words) -> Ints:
        """Return the first frames (n,) int64 of episodes by their keys (n,).

        Raises:
            EnvironmentStateError: One of them was not recorded.
        """
        try:
            places = [self._place_of[key] for key in keys.tolist()]
        except KeyError as error:
            raise EnvironmentStateError(
                f"the episode of key {error} was not recorded: record it before it is replayed"
            ) from error
        return self._first[places]

    def _give_place(self, key: int) -> int:
        """Return a place for a case; `NO_FRAME` where it is recorded already."""
        if key in self._place_of:
            return NO_FRAME
        place = len(self._place_of)
        if place >= self._first.size:
            raise EnvironmentStateError(
                f"there is room for {self._first.size} recorded cases; clear them, or make more"
            )
        self._place_of[key] = place
        return place


@inlined
def _append(
    place: Ints,
    last: Ints,
    first: Ints,
    num_peers: Ints,
    tick: Ints,
    truth: GroundTruth,
    age_ms: Floats,
    table: TableArrays,
    known_us: Ints,
    frames: Frames,
) -> None:
    """Append a frame for each convoy whose `place` (E,) is one.

    Args:
        place: (E,), of the cases that are recorded.
        last: (E,), their frames before; changed.
        first: (C,), where each case begins; changed.
        num_peers: (E,).
        tick: (E,), ticks since reset.
        truth: The batch.
        age_ms: (E, S).
        table: The egos' peer tables.
        known_us: (E, S), when the newest message came that is recorded already; changed.
        frames: Changed.
    """
    for e in range(place.size):
        if place[e] < 0:
            continue
        now_us = tick[e] * TICK_US
        frame = frames.size[0]
        car, message = frames.first_car[frame], frames.first_message[frame]
        here = 0
        for s in range(num_peers[e]):
            if truth.present[e, s + 1]:
                here |= 1 << s
            frames.moving[car, 0] = truth.route_pos_m[e, s + 1]
            frames.moving[car, 1] = truth.speed_mps[e, s + 1]
            frames.age_ms[car] = np.int32(age_ms[e, s])
            car += 1
            # A table forgets nothing in an episode, and what is newer came later.
            if not table.heard[e, 0, s] or table.received_us[e, 0, s] == known_us[e, s]:
                continue
            known_us[e, s] = table.received_us[e, 0, s]
            for field in range(table.payload.shape[3]):
                frames.payload[message, field] = table.payload[e, 0, s, field]
            frames.timestamp_ms[message] = table.numbers[_TIMESTAMP_MS, e, 0, s]
            frames.numbers[message, SOURCE] = s
            frames.numbers[message, SEQUENCE] = table.numbers[_SEQUENCE, e, 0, s]
            frames.numbers[message, HOPS] = table.numbers[_HOPS, e, 0, s]
            sampled_us = table.numbers[_GENERATED_US, e, 0, s]
            frames.numbers[message, SAMPLED_AGO_US] = now_us - sampled_us
            frames.numbers[message, RECEIVED_AGO_US] = now_us - known_us[e, s]
            message += 1
        frames.here[frame] = here
        frames.following[frame] = NO_FRAME
        frames.first_car[frame + 1], frames.first_message[frame + 1] = car, message
        if last[e] < 0:
            first[place[e]] = frame
        else:
            frames.following[last[e]] = frame
        last[e] = frame
        frames.size[0] = frame + 1
