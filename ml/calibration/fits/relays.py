"""What logs say of relays: how much of what they hear they send on, and for how long at a time.

A board that logs what it sent on for others (TX rows with a `hop_count` above 0) shows message by
message which it forgot. Let K of the pairs of neighbouring slots, over L seconds in all, differ in
that; then a relay that works a share p of the time, T at a time, has::

    P(differ) = 2 p (1 - p) dt / T      so      T = 2 p (1 - p) L / K

Without such rows there are the copies that arrived (RX rows with a `hop_count` above 0). Of the
messages that a receiver lost on the direct way, while it had the relay's own frame of that slot, a
copy would have arrived as often as a frame of that very moment; from the relay's next two own
frames, that is 2 P(next) - P(the one after), for chances drift apart with time. The share sent on
is that of the copies in it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d

from ml.arrays import Bools, Floats, Ints
from ml.calibration.fits.estimates import Z_90, Estimate, judged, kept, percentile_interval
from ml.calibration.logs.boards import STALLED_PERIODS, Board
from ml.calibration.logs.link import Drive
from ml.calibration.logs.reader import Log
from ml.console import counted
from ml.espnow_emulator.parameters.radio import RelayParameters
from ml.parameters import Parameters

_BLOCK_S: Final = 30.0
_REPLICATES: Final = 1000
_SEED: Final = 27
_LEAST_MESSAGES: Final = 1000
_LEAST_CHANGES: Final = 20
_STEADY_ROWS: Final = 601  # a minute
_UNIFORM_VARIANCE: Final = 1.0 / 3.0  # of U(-1, 1)
_SHARE, _SPREAD, _TIME = (f"radio.relay.forward_{n}" for n in ("probability", "spread", "time_s"))
Message = tuple[str, float]
"""Whose state it carries, and its timestamp."""


class Relay(NamedTuple):
    """One board that sends on what it hears."""

    board: str  # Its name
    messages: int  # How many it had to send on, or how many copies were to arrive
    share: float  # It sent on
    share_replicates: Floats  # (B,) from blocks of 30 s drawn anew
    time_s: float | None  # For which it works or is idle at a time; None where that does not show
    time_replicates: Floats  # (B,) or (0,)

    @property
    def share_interval(self) -> tuple[float, float]:
        """90 %, of this board alone."""
        return percentile_interval(self.share_replicates)


def own_relays(relays: Sequence[Relay]) -> dict[str, tuple[float, float, float]]:
    """Return what is known of these very boards, in place of relays at large.

    Dotted name to a value and both ends of its 90 % interval; nothing without relays.
    """
    if not relays:
        return {}
    shares = np.array([relay.share for relay in relays])
    means = np.mean([relay.share_replicates for relay in relays], axis=0)
    spread = float(shares.std() / np.sqrt(_UNIFORM_VARIANCE))
    return {
        _SHARE: (float(shares.mean()), *percentile_interval(means)),
        _SPREAD: (spread, spread, spread),
    }


def relay_estimates(
    drives: Sequence[Drive], prior: Parameters, estimates: list[Estimate]
) -> list[Relay]:
    """Judge all boards that relay, and append to `estimates`."""
    rules = prior.radio.relay
    boards = [
        (drive, board) for drive in drives for board in drive.boards if _tells_messages_apart(board)
    ]
    sent_on = [_judged_by_its_own_log(board, rules) for _, board in boards]
    relays = [relay for relay in sent_on if relay is not None]
    if not relays:
        arrived = (_judged_by_what_arrived(drive, board) for drive, board in boards)
        relays = [relay for relay in arrived if relay is not None]
    if not relays:
        why = (
            f"fewer than {_LEAST_MESSAGES:,} messages that a relay had heard can be followed; it "
            "takes a board that logs what it sends on, or three cars in a row with all their logs "
            "(rows with a hop_count above 0)"
        )
        estimates += [kept(name, prior, why) for name in (_SHARE, _SPREAD, _TIME)]
        return relays
    estimates += [
        _estimate_of_shares(relays, prior),
        kept(_SPREAD, prior, "a handful of relays does not show how relays differ"),
        _estimate_of_times(relays, prior),
    ]
    return relays


def _estimate_of_shares(relays: Sequence[Relay], prior: Parameters) -> Estimate:
    """Say of relays at large what these ones show, which differ by chance from the rest."""
    own = np.array([relay.share for relay in relays])
    between = prior.radio.relay.forward_spread**2 * _UNIFORM_VARIANCE
    weights = 1.0 / (between + np.array([relay.share_replicates.var() for relay in relays]) + 1e-9)
    value = float(np.average(own, weights=weights))
    half = Z_90 / float(np.sqrt(weights.sum()))
    interval = max(value - half, 0.0), min(value + half, 1.0)
    each = ", ".join(
        f"{relay.board} {relay.share:.2f} [{low:.2f}, {high:.2f}] of {relay.messages:,}"
        for relay, (low, high) in ((relay, relay.share_interval) for relay in relays)
    )
    spread = prior.radio.relay.forward_spread
    basis = f"messages sent on: {each}; relays may differ by {spread:g} from the mean"
    return judged(_SHARE, value, interval, prior, basis)


def _estimate_of_times(relays: Sequence[Relay], prior: Parameters) -> Estimate:
    shown = [relay for relay in relays if relay.time_s is not None]
    if not shown:
        why = "only a TX log that holds what its board sent on shows when it began and ended"
        return kept(_TIME, prior, why)
    weights = np.array([relay.messages for relay in shown], dtype=np.float64)
    value = float(np.average([relay.time_s or 0.0 for relay in shown], weights=weights))
    replicates = np.average([r.time_replicates for r in shown], axis=0, weights=weights)
    basis = f"how often {counted(len(shown), 'relay')} began and ended"
    return judged(_TIME, value, percentile_interval(replicates), prior, basis)


def _judged_by_its_own_log(board: Board, rules: RelayParameters) -> Relay | None:
    """Hold what a board sent on against what it had received; None where it logs neither."""
    tx, rx = board.tx, board.rx
    assert rx is not None  # noqa: S101 - the caller has looked
    relayed = np.flatnonzero((tx.columns["hop_count"] > 0) & (tx.names["vehicle_id"] != board.name))
    sent_on = set(_messages(tx, "vehicle_id", relayed))
    if not sent_on:
        return None
    rows = _first_of_each(rx, board.name, rules.max_hops)
    rows = rows[_from_ahead(board, rx, rows, sent_on, front_cone=rules.front_cone)]
    slot_ms = board.time_ms
    slot = np.searchsorted(slot_ms, rx.time_ms[rows])
    waited = slot_ms[np.minimum(slot, slot_ms.size - 1)] - rx.time_ms[rows]
    due = (slot < slot_ms.size) & (waited <= STALLED_PERIODS * board.period_ms)
    rows, slot = rows[due], slot[due]
    if rows.size < _LEAST_MESSAGES:
        return None
    did = np.array([message in sent_on for message in _messages(rx, "from_vehicle_id", rows)])
    at_s = slot_ms[slot] / 1000.0
    picks, (ones, count) = _resampled(at_s, [did.astype(np.float64), np.ones(did.size)])
    share, shares = float(did.mean()), ones / count
    # In the model a slot has one fate for all that waits.
    used, first = np.unique(slot, return_index=True)
    fate, slot_s = did[first], slot_ms[used] / 1000.0
    step_s = np.diff(slot_s)
    near = step_s <= STALLED_PERIODS * board.period_ms / 1000.0
    changed = (fate[1:] != fate[:-1])[near].astype(np.float64)
    if changed.sum() < _LEAST_CHANGES:
        return Relay(board.name, rows.size, share, shares, None, np.zeros(0))
    times = [step_s[near], changed]
    _, (long_s, changes) = _resampled(slot_s[1:][near], times, picks, at_s[0])
    replicates = 2.0 * shares * (1.0 - shares) * long_s / np.maximum(changes, 1.0)
    time_s = 2.0 * share * (1.0 - share) * float(step_s[near].sum() / changed.sum())
    return Relay(board.name, rows.size, share, shares, time_s, replicates)


def _judged_by_what_arrived(drive: Drive, board: Board) -> Relay | None:
    """Hold the copies that came from a board against those that could have; None if none did.

    With more than three boards a copy does not show whose it is.
    """
    if len(drive.boards) != 3:  # noqa: PLR2004 - a source, a relay and a receiver
        return None
    assert board.rx is not None  # noqa: S101 - the caller has looked
    at_s, copies, expected = [], [], []
    for receiver in drive.boards:
        if receiver.name == board.name or not _tells_messages_apart(receiver):
            continue
        assert receiver.rx is not None  # noqa: S101 - it is one of those that tell
        (source,) = {b.name for b in drive.boards} - {board.name, receiver.name}
        copied = _stamps(receiver.rx, source, relayed=True)
        if not copied:
            continue
        direct = _stamps(receiver.rx, source, relayed=False)
        own_frames = _stamps(receiver.rx, board.name, relayed=False)
        own = np.array([stamp in own_frames for stamp in board.of_its_own("msg_timestamp")])
        rows = _first_of_each(board.rx, board.name, 1)
        rows = rows[board.rx.names["from_vehicle_id"][rows] == source]
        stamps = board.rx.columns["msg_timestamp"][rows]
        slot = np.searchsorted(board.time_ms, board.rx.time_ms[rows])
        asked = slot < own.size - 2
        asked[asked] &= own[slot[asked]]
        asked &= np.array([stamp not in direct for stamp in stamps], dtype=bool)
        slot = slot[asked]
        at_s.append(board.time_ms[slot] / 1000.0)
        copies.append(np.array([stamp in copied for stamp in stamps[asked]], dtype=np.float64))
        expected.append(2.0 * own[slot + 1] - own[slot + 2])
    if not at_s or sum(part.size for part in at_s) < _LEAST_MESSAGES:
        return None
    parts = [np.concatenate(copies), np.concatenate(expected)]
    _, (came, could) = _resampled(np.concatenate(at_s), parts)
    shares = np.clip(came / np.maximum(could, 1.0), 0.0, 1.0)
    share = float(np.clip(parts[0].sum() / max(parts[1].sum(), 1.0), 0.0, 1.0))
    return Relay(board.name, parts[0].size, share, shares, None, np.zeros(0))


def _tells_messages_apart(board: Board) -> bool:
    """Whether both logs of a board name messages by the senders' clocks."""
    logs = [log for log in (board.tx, board.rx) if log is not None]
    return len(logs) > 1 and all("msg_timestamp" in log.columns for log in logs)


def _messages(log: Log, column: str, rows: Ints) -> list[Message]:
    return list(zip(log.names[column][rows], log.columns["msg_timestamp"][rows], strict=True))


def _stamps(log: Log, source: str, *, relayed: bool) -> set[float]:
    """Timestamps of a source's messages that came relayed, or first-hand."""
    rows = (log.names["from_vehicle_id"] == source) & ((log.columns["hop_count"] > 0) == relayed)
    return set(log.columns["msg_timestamp"][rows].tolist())


def _first_of_each(rx: Log, name: str, max_hops: int) -> Ints:
    """Rows of an RX log at which the board had a message first, if it may be sent on."""
    seen: set[Message] = set()
    rows = []
    for row, message in enumerate(_messages(rx, "from_vehicle_id", np.arange(rx.rows))):
        if message in seen or message[0] == name:
            continue
        seen.add(message)
        if rx.columns["hop_count"][row] < max_hops:
            rows.append(row)
    return np.array(rows, dtype=np.int64)


def _from_ahead(
    board: Board, rx: Log, rows: Ints, sent_on: set[Message], *, front_cone: bool
) -> Bools:
    """Tell which messages (K,) came from ahead, over a minute each; all of them without a cone.

    Where a source never says its position, all is from ahead if any of it was sent on.
    """
    ahead = np.ones(rows.size, dtype=bool)
    if not front_cone:
        return ahead
    before = np.clip(np.searchsorted(board.time_ms, rx.time_ms[rows]) - 1, 0, None)
    here = [board.of_its_own(name)[before] for name in ("lat", "lon", "heading")]
    there = [rx.columns[name][rows] for name in ("lat", "lon")]
    known = (here[0] != 0.0) & (there[0] != 0.0)
    heading = np.radians(here[2])
    east = (there[1] - here[1] + 180.0) % 360.0 - 180.0
    along = (there[0] - here[0]) * np.cos(heading)
    along += east * np.cos(np.radians(here[0])) * np.sin(heading)
    side = np.where(known, np.nan_to_num(np.sign(along)), 0.0)
    sources = rx.names["from_vehicle_id"][rows]
    relayed = {name for name, _ in sent_on}
    for source in set(sources.tolist()):
        mine = sources == source
        if side[mine].any():
            ahead[mine] = uniform_filter1d(side[mine], _STEADY_ROWS, mode="nearest") > 0.0
        else:
            ahead[mine] = source in relayed
    return ahead


def _resampled(
    at_s: Floats, values: Sequence[Floats], picks: Ints | None = None, begin_s: float | None = None
) -> tuple[Ints, list[Floats]]:
    """Sum values (K,) with their blocks of time drawn anew.

    Args:
        at_s: (K,), when.
        values: To be summed.
        picks: (B, blocks), which to draw; at random if left out.
        begin_s: Of the first block; the earliest time if left out.

    Returns:
        What was drawn, and sums (B,).
    """
    begin_s = float(at_s.min()) if begin_s is None else begin_s
    block = np.maximum((at_s - begin_s) // _BLOCK_S, 0.0).astype(np.int64)
    blocks = int(block.max()) + 1 if picks is None else picks.shape[1]
    if picks is None:
        generator = np.random.Generator(np.random.PCG64(_SEED))
        picks = generator.integers(0, blocks, (_REPLICATES, blocks))
    block = np.minimum(block, blocks - 1)
    return picks, [np.bincount(block, one, blocks)[picks].sum(axis=1) for one in values]
