"""A record put to a board again: does it answer the same, and if not, from which tick on and where.

No SUMO: the board gets what was recorded, message by message.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ml.hil.protocol import LATE, SENDS, Answer, Kind, Message
from ml.hil.session import Decided, Session

_TO_THE_BOARD: Final = {Kind.BEGIN, Kind.FRAME, Kind.FIX, Kind.TICK}
_OF_TIME: Final = "took_us"  # says how fast a board is, not what it does


class Difference(NamedTuple):
    """The first difference of an episode.

    Attributes:
        episode: Number in the record, from 1.
        tick: Of the episode, from 0.
        field: What differs: a field of `Answer`, of its peers, or a frame.
        recorded: As it was.
        now: As it is.
    """

    episode: int
    tick: int
    field: str
    recorded: object
    now: object

    def __str__(self) -> str:
        return (
            f"episode {self.episode}, tick {self.tick}: {self.field} was {_shown(self.recorded)} "
            f"and is {_shown(self.now)}"
        )


@dataclass
class Compared:
    """What came of a replay.

    Attributes:
        episodes: Replayed.
        ticks: Compared.
        unanswered: Ticks without an answer in the record or now, which were not.
        differing: Ticks that differ.
        first: First difference of each episode that has one.
    """

    episodes: int = 0
    ticks: int = 0
    unanswered: int = 0
    differing: int = 0
    first: list[Difference] = field(default_factory=list)


@dataclass
class _Tick:
    """A tick of a record: what was handed over, and what came of it."""

    begin: bytes | None = None
    frames: list[bytes] = field(default_factory=list)
    fixes: list[bytes] = field(default_factory=list)
    body: bytes | None = None
    number: int = -1
    answer: Answer | None = None
    sent: list[tuple[bool, bytes]] = field(default_factory=list)

    def take(self, message: Message) -> None:
        """Take in the next message."""
        if message.kind == Kind.BEGIN:
            self.begin = message.body
        elif message.kind == Kind.FRAME:
            self.frames.append(message.body)
        elif message.kind == Kind.FIX:
            self.fixes.append(message.body)
        elif message.kind == Kind.TICK:
            self.body, self.number = message.body, message.tick
        elif message.tick != self.number:
            return  # an answer that came too late
        elif message.kind == Kind.ANSWERS:
            self.answer = Answer.of(message.body)
        elif message.kind == Kind.SENDS and len(message.body) == SENDS.size:
            self.sent.append((bool(message.body[0]), message.body[1:]))


def replay(
    messages: Iterable[Message], session: Session, on_tick: Callable[[], None] = lambda: None
) -> Compared:
    """Put a record to a board.

    Args:
        messages: Of `read_record`.
        session: With the board.
        on_tick: Called after each tick.

    Raises:
        BoardError: The board is gone, silent, or refuses.
    """
    compared, of_episode = Compared(), 0
    differs = False
    for tick in _ticks(messages):
        if tick.begin is not None:
            session.begin(tick.begin)
            compared.episodes += 1
            of_episode, differs = 0, False
        for frame in tick.frames:
            session.hear(frame)
        for fix in tick.fixes:
            session.take_fix(fix)
        assert tick.body is not None  # noqa: S101 (for the type checker)
        recorded, now = Decided(tick.answer, tuple(tick.sent)), session.decide(tick.body)
        if recorded.answer is None or now.answer is None:
            compared.unanswered += 1
        else:
            compared.ticks += 1
            found = next(_differences(recorded, now), None)
            if found is not None:
                compared.differing += 1
                if not differs:
                    differs = True
                    compared.first.append(Difference(compared.episodes, of_episode, *found))
        of_episode += 1
        on_tick()
    return compared


def count_ticks(messages: Iterable[Message]) -> int:
    """Return how many ticks a record has."""
    return sum(message.kind == Kind.TICK for message in messages)


def _ticks(messages: Iterable[Message]) -> Iterator[_Tick]:
    """Put the messages of each tick together."""
    tick = _Tick()
    for message in messages:
        if tick.body is not None and message.kind in _TO_THE_BOARD:
            yield tick
            tick = _Tick()
        tick.take(message)
    if tick.body is not None:
        yield tick


def _differences(recorded: Decided, now: Decided) -> Iterator[tuple[str, object, object]]:
    """Name what differs in a tick, causes before effects."""
    before, after = recorded.answer, now.answer
    assert before is not None and after is not None  # noqa: PT018, S101 (for the type checker)
    # What was believed, then what was decided, and the digest last: it has all that is not told.
    order = ("num_frames", "num_refused", "x_um", "y_um", "own_mps", "own_deg", "own_sd_m")
    yield from _of_fields("", before, after, order)
    if len(before.peers) != len(after.peers):
        yield "number of peers", len(before.peers), len(after.peers)
    for number, (peer, other) in enumerate(zip(before.peers, after.peers, strict=False)):
        yield from _of_fields(f"peers[{number}].", peer, other, peer._fields)
    rest = [name for name in before._fields if name not in {*order, "peers", "digest", _OF_TIME}]
    # Whether a board was late says how fast it is, too.
    before, after = (each._replace(flags=each.flags & ~LATE) for each in (before, after))
    yield from _of_fields("", before, after, rest)
    if recorded.sent != now.sent:
        yield "frames that it sends", _frames(recorded), _frames(now)
    yield from _of_fields("", before, after, ("digest",))


def _of_fields(
    prefix: str, before: NamedTuple, after: NamedTuple, names: Iterable[str]
) -> Iterator[tuple[str, object, object]]:
    for name in names:
        was, is_now = getattr(before, name), getattr(after, name)
        if repr(was) != repr(is_now):  # -0.0 is another number than 0.0, and NaN the same as NaN
            yield prefix + name, was, is_now


def _frames(decided: Decided) -> str:
    return " ".join(frame.hex() for _, frame in decided.sent) or "none"


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex(":")
    return f"{value:.9g}" if isinstance(value, float) else str(value)
