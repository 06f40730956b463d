"""What happens to a convoy, written down, so that the oracle and the channel can both play it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from oracle.radio import OracleRadio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ml.espnow_emulator import RadioParameters
    from oracle.table import Clock

NUM_FIELDS = 6
_BY_NODE = ("sending", "t_generated_us", "timestamp_ms", "payload", "xy_m")


@dataclass(frozen=True)
class Transmit:
    """One call of `transmit`; arrays over the N nodes, as the channel wants them for a convoy."""

    now_us: int
    sending: NDArray[np.bool_]
    t_generated_us: NDArray[np.int64]
    timestamp_ms: NDArray[np.int64]
    payload: NDArray[np.float64]
    xy_m: NDArray[np.float64]


@dataclass(frozen=True)
class Deliver:
    """One call of `deliver`."""

    now_us: int


@dataclass(frozen=True)
class Clear:
    """One call of `clear`."""


@dataclass(frozen=True)
class Script:
    """An episode of one convoy.

    Attributes:
        key: Of the episode.
        node_keys: (N,) names of the nodes.
        present: (N,) who is there at all.
        steps: What is called, in order.
    """

    key: int
    node_keys: tuple[int, ...]
    present: tuple[bool, ...]
    steps: tuple[Transmit | Deliver | Clear, ...]

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.node_keys)

    def without(self, node: int) -> Script:
        """The same episode if that node did not exist."""
        keep = np.arange(self.num_nodes) != node
        return self._columns(np.flatnonzero(keep))

    def reordered(self, order: Sequence[int]) -> Script:
        """The same episode with node `order[k]` written in column k."""
        return self._columns(np.asarray(order))

    def _columns(self, order: NDArray[np.int64]) -> Script:
        steps = tuple(
            replace(
                step,
                **{name: getattr(step, name)[order] for name in _BY_NODE},
            )
            if isinstance(step, Transmit)
            else step
            for step in self.steps
        )
        return replace(
            self,
            node_keys=tuple(self.node_keys[k] for k in order),
            present=tuple(self.present[k] for k in order),
            steps=steps,
        )


@dataclass(frozen=True)
class Snapshot:
    """What receivers hold of every node after one deliver; arrays (R, N).

    Values are 0 where nothing was heard, and for node 0, whose messages nobody records.
    `age_est_ms` is only filled where clocks were given.
    """

    now_us: int
    heard: NDArray[np.bool_]
    sequence: NDArray[np.int64]
    hops: NDArray[np.int64]
    received_us: NDArray[np.int64]
    timestamp_ms: NDArray[np.int64]
    t_generated_us: NDArray[np.int64]
    age_est_ms: NDArray[np.float64]
    payload: NDArray[np.float64] = field(repr=False)

    ARRAYS = (
        "heard",
        "sequence",
        "hops",
        "received_us",
        "timestamp_ms",
        "t_generated_us",
        "age_est_ms",
        "payload",
    )


def play_on_oracle(
    script: Script, parameters: RadioParameters, clocks: Sequence[Clock] | None = None
) -> tuple[list[Snapshot], OracleRadio]:
    """Play a script and photograph the tables after each deliver.

    Args:
        script: The episode.
        parameters: Of the radio.
        clocks: Of the nodes; without them no age is estimated.

    Returns:
        One snapshot per deliver, and the oracle with all it has noted.
    """
    oracle = OracleRadio(parameters, script.key, script.node_keys, script.present)
    snapshots = []
    for step in script.steps:
        if isinstance(step, Transmit):
            oracle.transmit(
                now_us=step.now_us,
                sending=step.sending.tolist(),
                t_generated_us=step.t_generated_us.tolist(),
                timestamp_ms=step.timestamp_ms.tolist(),
                payload=step.payload.tolist(),
                xy_m=[(x, y) for x, y in step.xy_m.tolist()],
            )
        elif isinstance(step, Deliver):
            oracle.deliver(step.now_us)
            snapshots.append(_photograph(oracle, step.now_us, clocks))
        else:
            oracle.clear()
    return snapshots, oracle


def _photograph(oracle: OracleRadio, now_us: int, clocks: Sequence[Clock] | None) -> Snapshot:
    n = len(oracle.nodes)
    seen = Snapshot(
        now_us,
        *(np.zeros((n, n), kind) for kind in (bool, int, int, int, int, int, float)),
        payload=np.zeros((n, n, NUM_FIELDS)),
    )
    for (receiver, source), link in oracle.links.items():
        newest = link.newest()
        if newest is None or source == 0:
            continue
        at, message = (receiver, source), newest.message
        seen.heard[at] = True
        seen.sequence[at] = message.seq
        seen.hops[at] = newest.hops
        seen.received_us[at] = newest.arrival_us
        seen.timestamp_ms[at] = message.timestamp_ms
        seen.t_generated_us[at] = message.t_generated_us
        seen.payload[at] = message.payload
        if clocks is not None:
            seen.age_est_ms[at] = link.age_est_ms(now_us, clocks[receiver])
    return seen
