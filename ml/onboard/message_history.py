"""What each peer said last: a short history per peer, and how many messages told of nobody new."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.compiled import compiled
from ml.onboard.observation.columns import ACCEL, SPEED
from ml.onboard.observation.spec import HISTORY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@compiled
def remember_messages(
    heard: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    timestamp_ms: NDArray[np.int64],
    payload: NDArray[np.float64],
    known: NDArray[np.int64],
    said: NDArray[np.float64],
    said_ms: NDArray[np.int64],
    messages: NDArray[np.int64],
) -> None:
    """Push what is new in the peer table onto each peer's short history.

    Args:
        heard: (E, 1, S); the table's, as the next three.
        sequence: (E, 1, S).
        timestamp_ms: (E, 1, S).
        payload: (E, 1, S, F).
        known: (E, S), sequence of the newest message in the history, −1 for none.
        said: (E, S, HISTORY + 1, 2), acceleration and speed, the newest first.
        said_ms: (E, S, HISTORY + 1), timestamps.
        messages: (E,), that were news since the last peer that had not been heard before; moved on.
    """
    for e in range(known.shape[0]):
        is_new = False
        for s in range(known.shape[1]):
            if not heard[e, 0, s] or sequence[e, 0, s] == known[e, s]:
                continue
            for back in range(HISTORY, 0, -1):
                said[e, s, back, 0] = said[e, s, back - 1, 0]
                said[e, s, back, 1] = said[e, s, back - 1, 1]
                said_ms[e, s, back] = said_ms[e, s, back - 1]
            said[e, s, 0, 0] = payload[e, 0, s, ACCEL]
            said[e, s, 0, 1] = payload[e, 0, s, SPEED]
            said_ms[e, s, 0] = timestamp_ms[e, 0, s]
            messages[e] += 1
            if known[e, s] < 0:  # before a peer's second message its past is its present
                for back in range(1, HISTORY + 1):
                    said[e, s, back, 0] = said[e, s, 0, 0]
                    said[e, s, back, 1] = said[e, s, 0, 1]
                    said_ms[e, s, back] = said_ms[e, s, 0]
                is_new = True
            known[e, s] = sequence[e, 0, s]
        if is_new:
            messages[e] = 0
