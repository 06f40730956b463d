"""What one board heard of another, held against what that one sent, or counted by its sequence."""

from typing import Final

import numpy as np

from ml.arrays import Floats, Ints
from ml.calibration.logs.boards import Sender
from ml.calibration.logs.reader import MOST_ROWS, Log
from ml.calibration.logs.schema import CLOCK_TURNS_MS
from ml.errors import LogError

LEAST_PAIRED: Final = 20
"""So many messages of a sender say something of its clock, its log or its sequence."""
_MOST_UNKNOWN: Final = 0.05
_RESTART_MS: Final = 1_000.0
_EPOCH_SHARE: Final = 0.5
_COUNTERS: Final = (2.0**8, 2.0**12, 2.0**16, 2.0**32)  # 12 bits: of IEEE 802.11
_MOST_LOST: Final = 1_000
_REORDERED: Final = 16.0


def first_hand(log: Log, name: str) -> Ints:
    """Rows of an RX log that came straight from a board, each message once, in order."""
    rows = np.flatnonzero(
        (log.names["from_vehicle_id"] == name) & (log.columns["hop_count"] == 0.0)
    )
    message = "msg_timestamp" if "msg_timestamp" in log.columns else "sequence"
    of_board = log.columns[message][rows]
    if message == "sequence":  # numbers come again when a counter is full; doubles come at once
        new: Ints = rows[np.diff(of_board, prepend=np.nan) != 0.0]
        return new
    messages = np.stack([_epochs(of_board).astype(np.float64), of_board])
    _, first = np.unique(messages, axis=1, return_index=True)
    return rows[np.sort(first)]


def _epochs(stamps_ms: Floats) -> Ints:
    """Number the starts of a sender, whose clock falls at each (K,)."""
    epochs: Ints = np.cumsum(np.diff(stamps_ms, prepend=stamps_ms[:1]) < -_RESTART_MS)
    return epochs


def matched(log: Log, sender: Sender, rows: Ints) -> tuple[Ints, Floats, dict[str, int]]:
    """Find received messages in the sender's TX log.

    Args:
        log: RX log.
        sender: With a TX log.
        rows: (K,) of the RX log, first-hand.

    Returns:
        Rows whose message the sender's log has, their timestamps, and reason to rows that are left
        out.

    Raises:
        LogError: The sender's log lacks what was received while it was written.
    """
    assert sender.tx is not None  # noqa: S101 - the caller has looked
    sent = np.sort(sender.stamps_ms)
    stamps = log.columns["msg_timestamp"][rows]
    known = np.isin(stamps, sent)
    for turn in CLOCK_TURNS_MS:  # a board that is heard only after its clock started at 0 again
        if sent[-1] > turn and not known.any():
            stamps = stamps + turn
            known = np.isin(stamps, sent)
    dropped = {}
    epoch = _epochs(stamps)
    shares = np.bincount(epoch, known) / np.maximum(np.bincount(epoch), 1)
    if (shares >= _EPOCH_SHARE).any() and (shares < _EPOCH_SHARE).any():
        mine = (shares >= _EPOCH_SHARE)[epoch]
        dropped["of another start of the sender"] = int((~mine).sum())
        rows, stamps, known = rows[mine], stamps[mine], known[mine]
    within = (stamps >= sent[0]) & (stamps <= sent[-1])
    unknown = np.flatnonzero(~known & within)
    if unknown.size >= max(_MOST_UNKNOWN * rows.size, 1.0) and rows.size >= LEAST_PAIRED:
        _refuse_unknown(log, sender, rows[unknown], stamps[unknown])
    if rows.size >= LEAST_PAIRED and not within.any():
        _refuse_unknown(log, sender, rows, stamps)
    dropped["not in the sender's log"] = int((~known).sum())
    return rows[known], stamps[known], dropped


def _refuse_unknown(log: Log, sender: Sender, rows: Ints, stamps: Floats) -> None:
    """Say which received message the sender's log lacks, and guess why."""
    assert sender.tx is not None  # noqa: S101 - the caller has looked
    sent = sender.stamps_ms
    nearest = int(np.argmin(np.abs(sent - stamps[0])))
    line = int(sender.tx.lines[np.searchsorted(sender.tx.time_ms, sender.sent_ms[nearest])])
    guess = (
        "Either the logs are of different drives: put each drive into a folder of its own. Or "
        f"{_PARTS[0].lower()}{_PARTS[1:]}"
    )
    for digits, unit in ((2, "hundredths"), (1, "tenths"), (0, "whole numbers")):
        for cut in (np.round(sent, digits), np.floor(sent * 10**digits) / 10**digits):
            if np.isin(np.round(stamps, digits), np.round(cut, digits)).mean() > 0.9:  # noqa: PLR2004
                guess = (
                    f"It seems to be rounded in one of the two, to {unit}: write msg_timestamp "
                    "with the same digits in both."
                )
                break
        else:
            continue
        break
    raise LogError(
        f"{log.path}: {rows.size:,} rows received straight from {sender.name!r} have a "
        f"msg_timestamp that {sender.tx.path} does not have, such as {stamps[0]:.10g} in line "
        f"{int(log.lines[rows[0]])}; nearest is {sent[nearest]:.10g} in line {line} there. {guess}"
    )


def by_sequence(log: Log, sender: Sender, rows: Ints) -> tuple[Ints, Floats, dict[str, int]]:
    """Find received messages that carry no timestamp in the sender's TX log, by their sequence.

    Args:
        log: RX log with a sequence and without timestamps.
        sender: With a TX log.
        rows: (K,) of the RX log, first-hand.

    Returns:
        As `matched`.

    Raises:
        LogError: The sender's log has no sequence, or another one.
    """
    assert sender.tx is not None  # noqa: S101 - the caller has looked
    counts = np.full(1, np.nan) if sender.sequence is None else sender.sequence
    order = np.argsort(counts, kind="stable")
    heard = log.columns["sequence"][rows]
    place = order[np.clip(np.searchsorted(counts[order], heard), 0, counts.size - 1)]
    known = counts[place] == heard
    if rows.size and np.count_nonzero(~known) > _MOST_UNKNOWN * rows.size:
        row = rows[~known][0]
        raise LogError(
            f"{log.path}, line {int(log.lines[row])}: it has no msg_timestamp, and "
            f"{sender.tx.path} does not have its sequence {log.columns['sequence'][row]:.0f}, so "
            "that the two cannot be held against one another. Log msg_timestamp or one sequence "
            f"in both, or leave {sender.tx.path.name} out."
        )
    dropped = {"not in the sender's log": int((~known).sum())}
    return rows[known], sender.stamps_ms[place[known]], dropped


def counted(log: Log, name: str, rows: Ints) -> tuple[Sender, Ints, Floats] | None:
    """Make out what a board sent from the gaps in the sequence that another one heard.

    Args:
        log: RX log with a sequence, and with or without timestamps of the sender.
        name: Of the sender.
        rows: (K,) of the log, first-hand.

    Returns:
        The sender, whose clock is that of its timestamps, else the receiver's; the rows that count,
        and their timestamps. None where too few were heard.

    Raises:
        LogError: The sequence does not count beacons.
    """
    rows = rows[np.isfinite(log.columns["sequence"][rows])]
    if rows.size < LEAST_PAIRED:
        return None
    sequence = unwrapped(log, rows)
    order = np.argsort(sequence, kind="stable")
    rows, sequence = rows[order], sequence[order]
    new = np.diff(sequence, prepend=-1.0) > 0.0
    rows, sequence = rows[new], sequence[new]
    if rows.size < LEAST_PAIRED:
        return None
    step = float(np.gcd.reduce(np.diff(sequence).astype(np.int64)))
    number = (sequence - sequence[0]) / step
    if number[-1] + 1.0 > min(MOST_ROWS, _MOST_LOST * rows.size):
        worst = int(np.argmax(np.diff(number)))
        raise LogError(
            f"{log.path}, line {int(log.lines[rows[worst + 1]])}, column sequence: of {name!r} it "
            f"goes from {sequence[worst]:.0f} to {sequence[worst + 1]:.0f}. It does not count "
            "beacons one by one: name another column, or leave it out."
        )
    own_clock = "msg_timestamp" in log.columns
    stamps = log.columns["msg_timestamp"][rows] if own_clock else log.time_ms[rows]
    if (np.diff(stamps) <= 0.0).any() and own_clock:
        worst = int(np.argmax(np.diff(stamps) <= 0.0))
        before, after = stamps[worst : worst + 2].tolist()
        raise LogError(
            f"{log.path}, line {int(log.lines[rows[worst + 1]])}, column msg_timestamp: of "
            f"{name!r} it goes from {before:.10g} to {after:.10g} while its sequence goes up. "
            f"{_PARTS}"
        )
    every = np.interp(np.arange(number[-1] + 1.0), number, stamps)
    return Sender(name, None, every, every), rows, every[number.astype(np.int64)]


_PARTS: Final = (
    "The board was started anew: split the log there, put each part into a folder of its own, with "
    "the other boards' logs in both folders, and name them all."
)


def unwrapped(log: Log, rows: Ints) -> Floats:
    """Return sequences (K,) of rows in order, read on where a counter was full.

    Raises:
        LogError: A sequence that starts anew.
    """
    values = log.columns["sequence"][rows]
    full = next(size for size in (*_COUNTERS, 2.0**54) if values.max() < size)
    falls = np.diff(values) < -_REORDERED
    wraps = (values[:-1] > 0.75 * full) & (values[1:] < 0.25 * full) & falls
    if (falls & ~wraps).any():
        at = int(np.argmax(falls & ~wraps))
        raise LogError(
            f"{log.path}, line {int(log.lines[rows[at + 1]])}, column sequence: it falls from "
            f"{values[at]:.0f} to {values[at + 1]:.0f}. {_PARTS}"
        )
    return values + full * np.concatenate([[0.0], np.cumsum(wraps)])


def gaps_of(sequence: Floats) -> Ints:
    """Return the numbers (L,) that a rising sequence (K,) leaves out."""
    every = np.arange(sequence[0], sequence[-1] + 1.0)
    return every[~np.isin(every, sequence)].astype(np.int64)
