"""How one board's clock runs against another's, from what one sent and the other received.

The reception of a message, in the receiver's clock, less its timestamp, in the sender's, is an
offset that drifts, plus a latency that is never below its least. So a straight line is laid beneath
all points, as high as it goes (Moon, Skelly and Towsley, INFOCOM 1999).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from ml.arrays import Floats
from ml.errors import LogError

_BIN_MS: Final = 10_000.0
_FASTEST_PPM: Final = 500.0
_MOST_MEDIAN_MS: Final = 500.0
_LEAST_ROWS: Final = 20
_DRIFT_NEEDS_MS: Final = 60_000.0


@dataclass(frozen=True, slots=True)
class ClockLine:
    """The receiver's clock by the sender's: `receiver = sender + offset + drift (sender - origin)`.

    The fastest message counts as without latency.
    """

    origin_ms: float  # In the sender's clock
    offset_ms: float  # At the origin
    drift_ppm: float  # By how much the receiver's clock is faster

    def to_receiver(self, sender_ms: Floats) -> Floats:
        """Translate times of the sender's clock."""
        since = sender_ms - self.origin_ms
        return sender_ms + self.offset_ms + self.drift_ppm * 1e-6 * since

    def to_sender(self, receiver_ms: Floats) -> Floats:
        """Translate times of the receiver's clock."""
        since = (receiver_ms - self.offset_ms - self.origin_ms) / (1.0 + self.drift_ppm * 1e-6)
        return since + self.origin_ms


def align(sent_ms: Floats, received_ms: Floats, who: str) -> ClockLine | None:
    """Find the line of a pair of clocks.

    Args:
        sent_ms: (K,) timestamps, in the sender's clock.
        received_ms: (K,) receptions, in the receiver's.
        who: Names the two, for errors.

    Returns:
        None where too few messages arrived to tell.

    Raises:
        LogError: The two do not belong together.
    """
    if sent_ms.size < _LEAST_ROWS:
        return None
    order = np.argsort(sent_ms, kind="stable")
    x, y = sent_ms[order], (received_ms - sent_ms)[order]
    edges = np.flatnonzero(np.diff(np.floor((x - x[0]) / _BIN_MS), prepend=-1.0))
    spans = pairwise([*edges.tolist(), x.size])
    lowest = [begin + int(np.argmin(y[begin:end])) for begin, end in spans]
    hull = _lower_hull(x[lowest], y[lowest])
    origin = float(x[0])
    if len(hull) == 1 or x[-1] - x[0] < _DRIFT_NEEDS_MS:
        line = ClockLine(origin, float(y.min()), 0.0)
    else:
        left = int(np.searchsorted([p[0] for p in hull], float(x.mean()))) - 1
        k = min(max(left, 0), len(hull) - 2)
        (x0, y0), (x1, y1) = hull[k], hull[k + 1]
        slope = (y1 - y0) / (x1 - x0)
        line = ClockLine(origin, float(y0 + slope * (origin - x0)), float(1e6 * slope))
    excess_ms = float(np.median(received_ms - line.to_receiver(sent_ms)))
    if abs(line.drift_ppm) > _FASTEST_PPM or excess_ms > _MOST_MEDIAN_MS:
        raise LogError(
            f"{who}: their clocks drift by {line.drift_ppm:.0f} ppm, and half of the messages are "
            f"{excess_ms:.0f} ms late; allowed are {_FASTEST_PPM:.0f} ppm and "
            f"{_MOST_MEDIAN_MS:.0f} ms. The logs are of different drives, or a board was started "
            "anew: calibrate with logs of one drive."
        )
    return line


def _lower_hull(x: Floats, y: Floats) -> list[tuple[float, float]]:
    """Corners of the lower convex hull of points in order of x (Andrew's monotone chain)."""
    hull: list[tuple[float, float]] = []
    for at, low in zip(x.tolist(), y.tolist(), strict=True):
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2:]
            if (x1 - x0) * (low - y0) > (at - x0) * (y1 - y0):
                break
            hull.pop()  # the last corner does not lie below the line past it
        hull.append((at, low))
    return hull
