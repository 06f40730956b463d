"""Read the logs of drives: the one way in, for whatever is done with them."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

from ml.calibration.logs.extra_files import (
    CAPTURES,
    FIXES,
    Fixes,
    read_capture,
    read_fixes,
    with_fixes,
)
from ml.calibration.logs.link import Drive
from ml.calibration.logs.links import read_drive
from ml.calibration.logs.log_map import LogMap
from ml.calibration.logs.reader import Log, read_log
from ml.errors import LogError


def read_logs(
    paths: Sequence[Path],
    on_part: Callable[[str, float], None] = lambda _what, _share: None,
    *,
    log_map: LogMap | None = None,
    distance_m: float | None = None,
) -> tuple[list[Log], list[Drive]]:
    """Read logs; those in one folder are of one drive.

    Args:
        paths: CSV files; with the extra `logs` also files of GPS receivers (`.nmea`, `.ubx`) that
            have the names of logs without positions, and captures in monitor mode (`.pcap`,
            `.pcapng`).
        on_part: Told what is being done, and how far it is in [0, 1].
        log_map: How files in other formats are read; one that it does not name has our own.
        distance_m: Between two boards that stood all the time; their positions are not needed.

    Raises:
        LogError: Whatever is wrong with one of them.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise LogError("a log is named twice. Name each once.")
    sizes = [path.stat().st_size if path.is_file() else 1 for path in paths]
    logs: list[Log] = []
    fixes: list[Fixes] = []
    for path, before in zip(paths, accumulate(sizes, initial=0), strict=False):

        def on_bytes(at: int, path: Path = path, before: int = before) -> None:
            on_part(f"reading {path.name}", min((before + at) / max(sum(sizes), 1), 1.0))

        on_bytes(0)
        ending = path.suffix.lower()
        if ending in FIXES:
            fixes.append(read_fixes(path))
        elif ending in CAPTURES:
            logs.append(read_capture(path))
        else:
            form = None if log_map is None else log_map.format_of(path)
            logs.append(read_log(path, on_bytes, form=form))
    logs = with_fixes(logs, fixes)
    on_part("aligning clocks", 1.0)
    drives: dict[Path, list[Log]] = {}
    for log in logs:
        drives.setdefault(log.path.resolve().parent, []).append(log)
    return logs, [
        read_drive(drive, number, distance_m=distance_m)
        for number, drive in enumerate(drives.values())
    ]
