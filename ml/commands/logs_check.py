"""`roadsense logs check`: the self-test of each board, from its own log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from ml.console import WholeTable, make_console
from ml.errors import ConfigError, LogError
from ml.progress import Parts

if TYPE_CHECKING:
    from ml.calibration.logs.boards import Board
    from ml.calibration.self_test import Finding, SelfTest


@dataclass(frozen=True)
class CheckOptions:
    """Test each board by what it logged of itself, before its drive is judged or fitted to.

    Which axis of the accelerometer points forward, its bias, and how late the GPS is: what is found
    is applied wherever a log is fused (`roadsense judge-drive`); what the log cannot tell is said
    in words. Needs TX logs; nothing is written. Exit code 1 if a board is refused.
    """

    logs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Logs of boards. Of RX and RTT logs among them nothing is tested."""
    map: Path | None = None
    """How logs in other formats are read: a map (TOML), as `roadsense logs map` proposes it."""


def check(options: CheckOptions) -> int:
    """Run `roadsense logs check`; return the exit code."""
    if not options.logs:
        raise ConfigError("which logs? Name the TX logs of the boards: roadsense logs check *.csv")
    from ml.calibration.logs.board_log import board_log  # noqa: PLC0415 (slow to import)
    from ml.calibration.logs.log_map import read_log_map  # noqa: PLC0415
    from ml.calibration.logs.reading import read_logs  # noqa: PLC0415
    from ml.calibration.self_test import self_test  # noqa: PLC0415

    console = make_console()
    log_map = None if options.map is None else read_log_map(options.map)
    tests, as_they_are = [], []
    with Parts(console, "reading") as parts:
        _, drives = read_logs(options.logs, parts.at, log_map=log_map)
        boards = [(board, drive.ways[board.name]) for drive in drives for board in drive.boards]
        if not boards:
            raise LogError(
                f"{', '.join(map(str, options.logs))}: no TX log among them. A board is tested by "
                "what it logged of itself: name its TX log."
            )
        for k, (board, way) in enumerate(boards):
            parts.at(f"testing {board.name}", k / len(boards))
            if _fuses_by_itself(board):
                as_they_are.append(board.name)
            else:
                tests.append(self_test(board_log(board, way)))
    columns = ("board", "forward axis", ">bias, m/s²", ">GPS delay, s", "verdict")
    table = WholeTable(*columns, title="self-test of the boards")
    for test in tests:
        table.add_row(test.board, _axis(test), _told(test.bias), _told(test.delay), test.verdict)
    for name in as_they_are:
        table.add_row(
            name, *3 * ("–",), "fuses by itself (position_sd_m): its rows stand as logged"
        )
    console.print(table)
    for test in tests:
        for what, finding in (("bias", test.bias), ("delay", test.delay)):
            said = finding.basis if finding.is_told else f"not told: {finding.refusal}"
            console.print(f"{test.board}: {what}: {said}", highlight=False)
    return 0 if all(test.is_usable for test in tests) else 1


def _fuses_by_itself(board: Board) -> bool:
    column = "position_sd_m"
    return column in board.tx.columns and bool(np.isfinite(board.of_its_own(column)).any())


def _axis(test: SelfTest) -> str:
    axis = test.axis
    if not axis.is_told:
        return "–"
    return f"{axis.name} (slope {axis.slope:.2f}, correlation {axis.correlation:.2f})"


def _told(finding: Finding) -> str:
    if not finding.is_told:
        return "–"
    low, high = finding.interval
    return f"{finding.value:+.2f} ± {0.5 * (high - low):.2f}"
