"""Show how far a folder of cells is filled: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

_LINES = 20
"""As many lines at most where the console is a file and shows no bar."""


def follow_cells(
    filled: Iterable[tuple[str, int]],
    *,
    what: str,
    total: int,
    done: int,
    console: Console,
    go_on: str,
) -> None:
    """Draw until all cells are filled.

    Args:
        filled: What was filled last, and how many cells that were; consumed.
        what: Said beside the bar before the first cell.
        total: Cells in all.
        done: Cells that are there already.
        console: Where to.
        go_on: Said to a user who stops it: how to go on.

    Raises:
        KeyboardInterrupt: The user stopped it; that is told.
    """
    if done:
        console.print(f"{done} of {total} cells are there already", markup=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    told = done
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task(what, total=total, completed=done)
            for said, count in filled:
                done += count
                progress.update(task, completed=done, description=said)
                if not console.is_terminal and _LINES * (done - told) >= total:
                    told = done
                    console.print(f"{done} of {total} cells", markup=False)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped; {go_on}\n")
        raise
