"""What is counted of the air: frames, losses, bursts, collisions."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ml.compiled import inlined

if TYPE_CHECKING:
    from numpy.typing import NDArray

JUDGED_AFTER: Final = 10
"""Whether a message came by any path is asked when its source is so many messages further."""


class Count(IntEnum):
    """Index of each sum."""

    OFFERED = 0
    RECEIVED = 1
    JUDGED = 2
    REACHED = 3
    ON_AIR = 4
    COLLIDED = 5
    AIRTIME_US = 6
    ELAPSED_US = 7
    QUEUE_DROPS = 8
    DUPLICATES = 9
    EXPIRED = 10
    BURSTS = 11
    BURST_FRAMES = 12
    BURST_MAX = 13


_OFFERED, _RECEIVED, _BURSTS, _BURST_FRAMES, _BURST_MAX = (
    int(Count.OFFERED),
    int(Count.RECEIVED),
    int(Count.BURSTS),
    int(Count.BURST_FRAMES),
    int(Count.BURST_MAX),
)


class CounterArrays(NamedTuple):
    """Sums since the last report, and the run of losses of each recorded link.

    Attributes:
        total: (14,) int64, indexed by `Count`.
        run: (E, R, S) int64, own frames lost in a row by now.
    """

    total: NDArray[np.int64]
    run: NDArray[np.int64]


class Counters:
    """Sums over all convoys.

    Args:
        shape: (E, R, S).

    Attributes:
        arrays: The memory itself, for compiled loops.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.arrays = CounterArrays(
            total=np.zeros(len(Count), np.int64), run=np.zeros(shape, np.int64)
        )

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Begin the runs of the given convoys anew; the sums stay."""
        self.arrays.run[env_indices] = 0

    def drain(self) -> dict[str, float]:
        """Return shares and sums since the last call, where there was anything to count.

        Returns:
            `radio/delivery_ratio` (own frames received by recorded nodes),
            `radio/delivery_ratio_relayed` (messages that reached them by any path),
            `radio/airtime_share`, `radio/collision_share`, `radio/queue_drops`,
            `radio/duplicates`, `radio/expired`, `radio/burst_mean` and `radio/burst_max` (own
            frames lost in a row by recorded nodes).
        """
        total = self.arrays.total.copy()
        self.arrays.total[:] = 0
        report = {}
        for name, part, whole in (
            ("delivery_ratio", Count.RECEIVED, Count.OFFERED),
            ("delivery_ratio_relayed", Count.REACHED, Count.JUDGED),
            ("airtime_share", Count.AIRTIME_US, Count.ELAPSED_US),
            ("collision_share", Count.COLLIDED, Count.ON_AIR),
            ("burst_mean", Count.BURST_FRAMES, Count.BURSTS),
        ):
            if total[whole]:
                report[f"radio/{name}"] = float(total[part] / total[whole])
        if total[Count.OFFERED]:
            for name, count in (
                ("burst_max", Count.BURST_MAX),
                ("queue_drops", Count.QUEUE_DROPS),
                ("duplicates", Count.DUPLICATES),
                ("expired", Count.EXPIRED),
            ):
                report[f"radio/{name}"] = float(total[count])
        return report


@inlined
def count_own_frame(
    counters: CounterArrays,
    receivers: NDArray[np.int64],
    present: NDArray[np.bool_],
    env: int,
    source: int,
    reached: int,
) -> None:
    """Count what became of a source's own frame at the recorded nodes.

    Args:
        counters: All.
        receivers: (R,), the recorded nodes.
        present: (E, N).
        env: Convoy.
        source: Node, 1 or higher (nobody records node 0).
        reached: Bit per node that received it.
    """
    for r in range(receivers.size):
        node = receivers[r]
        if node == source or not present[env, node]:
            continue
        counters.total[_OFFERED] += 1
        if (reached >> node) & 1:
            counters.total[_RECEIVED] += 1
            if counters.run[env, r, source - 1] > 0:
                counters.total[_BURSTS] += 1
                counters.total[_BURST_FRAMES] += counters.run[env, r, source - 1]
                counters.run[env, r, source - 1] = 0
        else:
            counters.run[env, r, source - 1] += 1
            counters.total[_BURST_MAX] = max(
                counters.total[_BURST_MAX], counters.run[env, r, source - 1]
            )
