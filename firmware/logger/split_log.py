"""Split what a board wrote to its serial port into the logs that `roadsense calibrate` reads.

Usage: python split_log.py NAME < serial.txt
It writes NAME-tx.csv, NAME-rx.csv and, on the board that pings, NAME-rtt.csv. UTF-8 and UTF-16,
colours, and times that a terminal put in front (`12:00:01.123 -> TX,...`) are read.
"""

import re
import sys
from pathlib import Path

KINDS = ("TX", "RX", "RTT")
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
ROW = re.compile(r"(?:^|.*?[\s>\]:|])(TX|RX|RTT),(.*)$")
SHOWN = 5


def text_of(data: bytes) -> str:
    """Decode what a terminal saved: UTF-8, or UTF-16 with or without a byte order mark."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    start = data[:400]
    for encoding, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
        if zeros and zeros.count(0) > len(zeros) // 2:
            return data.decode(encoding, errors="replace")
    return data.decode("utf-8-sig", errors="replace")


def header_of(rows: list[str]) -> str | None:
    """Find the header: a row of names, no number among them, the longest if one was cut."""
    heads = [row for row in rows if re.fullmatch(r"[a-z_]+(,[a-z_]+)+", row)]
    return max(heads, key=lambda row: row.count(","), default=None)


def main() -> int:
    """Split standard input; a line that was cut is left out and counted."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the one argument
        sys.stderr.write(__doc__ or "")
        return 2
    lines = [COLOURS.sub("", line).strip() for line in text_of(sys.stdin.buffer.read()).split("\n")]
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for line in lines:
        match = ROW.match(line)
        if match:
            found[match[1]].append(match[2])
    torn, written = 0, 0
    for kind, rows in found.items():
        header = header_of(rows)
        # A board that starts anew writes its header again.
        data = [row for row in rows if row != header]
        whole = [row for row in data if header and row.count(",") == header.count(",")]
        torn += len(data) - len(whole)
        if whole and header:
            name = f"{sys.argv[1]}-{kind.lower()}.csv"
            Path(name).write_text("\n".join([header, *whole]) + "\n", "utf-8")
            print(f"{name}: {len(whole)} rows")  # noqa: T201
            written += 1
        elif rows:
            sys.stderr.write(
                f"{kind}: {len(rows)} lines, but no whole header: record from the start.\n"
            )
    print(f"{torn} torn lines left out")  # noqa: T201
    if written:
        return 0
    some = "".join(f"  {line[:100]!r}\n" for line in [line for line in lines if line][:SHOWN])
    sys.stderr.write(
        "Nothing was written: no header and row of TX, RX or RTT was found. Lines that count look "
        f"like 'TX,1000.000,1000.000,a,...'; these look like\n{some or '  nothing at all'}"
        "Record the board's serial port at 921600 baud, from before it starts.\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
