"""Split what a board wrote to its serial port into the logs that `roadsense calibrate` reads.

Usage: python split_log.py NAME < serial.txt
It writes NAME-tx.csv, NAME-rx.csv and, on the board that pings, NAME-rtt.csv.
"""

import sys
from pathlib import Path

KINDS = ("TX", "RX", "RTT")


def main() -> int:
    """Split standard input; a line that was cut is left out and counted."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the one argument
        sys.stderr.write(__doc__ or "")
        return 2
    lines: dict[str, list[str]] = {kind: [] for kind in KINDS}
    torn = 0
    for raw in sys.stdin.buffer:
        kind, _, row = raw.decode("utf-8", errors="replace").strip().partition(",")
        if kind not in lines:
            continue
        if lines[kind] and row.count(",") != lines[kind][0].count(","):
            torn += 1
        elif row not in lines[kind][:1]:  # a board that starts anew writes its header again
            lines[kind].append(row)
    for kind, rows in lines.items():
        if len(rows) > 1:
            Path(f"{sys.argv[1]}-{kind.lower()}.csv").write_text("\n".join(rows) + "\n", "utf-8")
            print(f"{sys.argv[1]}-{kind.lower()}.csv: {len(rows) - 1} rows")  # noqa: T201
    print(f"{torn} torn lines left out")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
