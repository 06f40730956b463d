"""What is counted of the air: frames, losses, bursts, collisions."""

from typing import Annotated, Final, NamedTuple

from ml.arrays import Ints

JUDGED_AFTER: Final = 10
"""Whether a message came by any path is asked when its source is so many messages further."""
# Index of each sum.
NUM_COUNTS: Final = 14
(
    OFFERED,
    RECEIVED,
    JUDGED,
    REACHED,
    ON_AIR,
    COLLIDED,
    AIRTIME_US,
    ELAPSED_US,
    QUEUE_DROPS,
    DUPLICATES,
    EXPIRED,
    BURSTS,
    BURST_FRAMES,
    BURST_MAX,
) = range(NUM_COUNTS)
# What is reported: a sum's share of another one, or a sum as soon as anything was offered.
_SHARES: Final = {
    "delivery_ratio": (RECEIVED, OFFERED),
    "delivery_ratio_relayed": (REACHED, JUDGED),
    "airtime_share": (AIRTIME_US, ELAPSED_US),
    "collision_share": (COLLIDED, ON_AIR),
    "burst_mean": (BURST_FRAMES, BURSTS),
}
_SUMS: Final = {
    "burst_max": BURST_MAX,
    "queue_drops": QUEUE_DROPS,
    "duplicates": DUPLICATES,
    "expired": EXPIRED,
}


class CounterArrays(NamedTuple):
    """Sums over all convoys since the last report, and the run of losses of each recorded link."""

    total: Annotated[Ints, "NUM_COUNTS"]
    run: Annotated[Ints, "E R S"]  # own frames lost in a row by now

    def drain(self) -> dict[str, float]:
        """Return shares and sums since the last call, where there was anything to count.

        Returns:
            `radio/delivery_ratio` (own frames received by recorded nodes),
            `radio/delivery_ratio_relayed` (messages that reached them by any path),
            `radio/airtime_share`, `radio/collision_share`, `radio/queue_drops`,
            `radio/duplicates`, `radio/expired`, `radio/burst_mean` and `radio/burst_max` (own
            frames lost in a row by recorded nodes).
        """
        total = self.total.copy()
        self.total[:] = 0
        report = {
            f"radio/{name}": float(total[part] / total[whole])
            for name, (part, whole) in _SHARES.items()
            if total[whole]
        }
        if total[OFFERED]:
            report |= {f"radio/{name}": float(total[count]) for name, count in _SUMS.items()}
        return report
