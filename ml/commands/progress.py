"""Show how far a folder of cells is filled, and how to go on where that is stopped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ml.progress import Parts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

_SIMULATED_PER_S = 250_000.0 / 60.0 * 2.0
"""Simulated seconds of episodes, over all drivers, in a second on two cores."""
_START_S = 30.0
"""Until the processes drive: libraries, models, SUMO."""


def follow_cells(
    filled: Iterable[tuple[str, int, float]],
    *,
    what: str,
    total: int,
    done: int,
    simulated_s: float,
    console: Console,
    go_on: str,
) -> None:
    """Show it until all cells are filled.

    Args:
        filled: What was filled last, how many cells that were, and how long their episodes lasted,
            s; consumed.
        what: What is done.
        total: Cells in all.
        done: Cells that are there already.
        simulated_s: How long the episodes of those that are not will last.
        console: Where to.
        go_on: Said to a user who stops it: how to go on.

    Raises:
        KeyboardInterrupt: The user stopped it; that is told.
    """
    try:
        with Parts(
            console,
            what,
            total=total,
            done=done,
            unit="cells",
            work=simulated_s,
            usual_s=_START_S + simulated_s / _SIMULATED_PER_S,
        ) as parts:
            for said, count, lasted_s in filled:
                parts.say(f"last: {said}")
                parts.advance(count, work=lasted_s)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped; {go_on}\n")
        raise
