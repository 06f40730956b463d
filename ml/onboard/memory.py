"""What a board keeps from tick to tick: the past of an episode."""

from typing import NamedTuple, Self

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.compiled import inlined
from ml.onboard.views import HISTORY, PeerView

SPEED_TICKS = 5


class Memory(NamedTuple):
    """The past of each ego's episode; (E, …) float64 arrays unless said otherwise.

    Attributes:
        commands_mps2: (E, 2), the last two commanded accelerations, the newest first.
        speeds_mps: (E, SPEED_TICKS + 1), own measured speed, now and in the ticks before.
        time_gap_s: (E,), the time gap that the driver has set.
        silent_share: (E,), of the time in which the car in front was not heard.
        messages: (E,) int64, that were news since the last peer that had not been heard before.
        newest: (E, S) int64, sequence of the newest message in the history, −1 for none.
        sent: (E, S, HISTORY + 1, 2), acceleration and speed of the newest messages, newest first.
        sent_ms: (E, S, HISTORY + 1) int64, their timestamps.
        followed: (E, S) int64, see `silent_cars.follow_on`.
        usual_mps2: (E, S), see `silent_cars.follow_on`.
        behind: (E, S) bool, see `cars_ahead.find_cars_ahead`.
    """

    commands_mps2: Floats
    speeds_mps: Floats
    time_gap_s: Floats
    silent_share: Floats
    messages: Ints
    newest: Ints
    sent: Floats
    sent_ms: Ints
    followed: Ints
    usual_mps2: Floats
    behind: Bools

    @classmethod
    def blank(cls, num_envs: int, num_sources: int) -> Self:
        """Allocate the memory of E egos with S peers each."""
        links = (num_envs, num_sources)
        return cls(
            commands_mps2=np.zeros((num_envs, 2)),
            speeds_mps=np.zeros((num_envs, SPEED_TICKS + 1)),
            time_gap_s=np.zeros(num_envs),
            silent_share=np.zeros(num_envs),
            messages=np.zeros(num_envs, dtype=np.int64),
            newest=np.full(links, -1, dtype=np.int64),
            sent=np.zeros((*links, HISTORY + 1, 2)),
            sent_ms=np.zeros((*links, HISTORY + 1), dtype=np.int64),
            followed=np.full(links, -1, dtype=np.int64),
            usual_mps2=np.zeros(links),
            behind=np.zeros(links, dtype=bool),
        )

    def forget(self, rows: Ints, speed_mps: Floats, time_gap_s: Floats) -> None:
        """Begin the past of some egos anew, (n,), with their first speed and their driver's gap."""
        for values in self:
            values[rows] = 0
        self.newest[rows] = self.followed[rows] = -1
        self.speeds_mps[rows] = speed_mps[:, None]
        self.time_gap_s[rows] = time_gap_s


@inlined
def remember(
    peers: PeerView, sequence: Ints, timestamp_ms: Ints, own_mps: Floats, memory: Memory
) -> None:
    """Push the own speed, and what is new in the peer table onto each peer's short history.

    `sequence` and `timestamp_ms` (E, S) are those of the newest messages, `own_mps` (E,) is
    measured, and `memory` changed.
    """
    num_envs, num_sources = sequence.shape
    for e in range(num_envs):
        for back in range(SPEED_TICKS, 0, -1):
            memory.speeds_mps[e, back] = memory.speeds_mps[e, back - 1]
        memory.speeds_mps[e, 0] = own_mps[e]
        is_new = False
        for s in range(num_sources):
            if not peers.heard[e, s] or sequence[e, s] == memory.newest[e, s]:
                continue
            first = memory.newest[e, s] < 0
            for back in range(HISTORY, -1, -1):
                if back == 0 or first:  # before a peer's second message its past is its present
                    memory.sent[e, s, back, 0] = peers.accel_mps2[e, s]
                    memory.sent[e, s, back, 1] = peers.speed_mps[e, s]
                    memory.sent_ms[e, s, back] = timestamp_ms[e, s]
                else:
                    memory.sent[e, s, back, 0] = memory.sent[e, s, back - 1, 0]
                    memory.sent[e, s, back, 1] = memory.sent[e, s, back - 1, 1]
                    memory.sent_ms[e, s, back] = memory.sent_ms[e, s, back - 1]
            memory.messages[e] += 1
            is_new = is_new or first
            memory.newest[e, s] = sequence[e, s]
        if is_new:
            memory.messages[e] = 0
