"""A board at a serial port, behind a pty: what is late, broken, lost, and when it is given up."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support.board_code import needs
from support.board_on_a_line import MODEL, Line, UnpluggedError, drive_ticks, tick_body

from ml.errors import BoardError
from ml.hil import build
from ml.hil.build import code_of, host_board
from ml.hil.port import serial
from ml.hil.protocol import Kind, Message
from ml.hil.session import Session

TICKS = 40

pytestmark = [pytest.mark.board, needs("gcc")]


@pytest.fixture(scope="module")
def code():
    """The shipped model's."""
    return code_of(MODEL)


@pytest.fixture(scope="module")
def image(code):
    """The host build."""
    return build._image(code, "host")


@pytest.fixture(scope="module")
def undisturbed(code):
    """What the same board decides at a pipe."""
    with host_board(code) as port:
        session = Session(port, deadline_s=5.0)
        found = commands(drive_ticks(session, TICKS))
        session.end()
    return found


def commands(decided):
    """What was commanded, and None where no answer came."""
    return [None if d.answer is None else d.answer.accel_mps2 for d in decided]


def over(line, ticks=TICKS, deadline_s=2.0, **options):
    """Drive some ticks over a line; return what was commanded, and the session."""
    with line, serial(Path(line.device)) as port:
        session = Session(port, deadline_s=deadline_s, **options)
        found = commands(drive_ticks(session, ticks))
        session.end()
    return found, session


def once(tick, change):
    """Do something to the first answer of a tick, or to the tick itself."""

    def fault(message):
        is_it = message.kind in {Kind.ANSWERS, Kind.TICK} and message.tick == tick
        return change(message) if is_it else message.to_wire()

    return fault


def broken(message):
    """A byte of it is another."""
    wire = bytearray(message.to_wire())
    wire[9] = wire[9] % 255 + 1
    return bytes(wire)


def test_a_serial_port_is_a_pipe_with_another_name(image, undisturbed):
    """The same commands, and no faults."""
    found, session = over(Line(image))
    assert found == undisturbed
    assert str(session.faults).startswith("0 late answers, 0 broken and 0 refused messages, 0 fra")


def test_what_a_board_says_as_it_boots_is_passed_over(image, undisturbed):
    """Text at another baud rate, and a half message; then it is greeted again."""
    boots_with = b"ets Jul 29 2019\r\nrst:0x1\xff\xfe\x00\x07\x07"
    found, session = over(Line(image, boots_with=boots_with))
    assert found == undisturbed
    assert session.faults.broken == 0


def test_a_broken_answer_is_counted_and_its_tick_has_none(image, undisturbed):
    """The others are as they were: the board does not know of it."""
    rubbish = []
    found, session = over(
        Line(image, to_us=once(7, broken)),
        on_rubbish=lambda data, tick: rubbish.append((data, tick)),
    )
    assert found == [None if k == 7 else undisturbed[k] for k in range(TICKS)]
    assert (session.faults.broken, session.faults.late) == (1, 1)
    ((data, tick),) = rubbish
    assert tick == 7
    assert len(data) > 60


def test_a_lost_answer_is_late(image, undisturbed):
    """One tick without an answer."""
    found, session = over(Line(image, to_us=once(7, lambda _: b"")))
    assert found == [None if k == 7 else undisturbed[k] for k in range(TICKS)]
    assert (session.faults.broken, session.faults.late) == (0, 1)


def test_an_answer_that_comes_with_the_next_one_is_not_taken_for_it(image, undisturbed):
    """It is that of its own tick, and too late."""
    kept = []

    def delay(message):
        if message.kind == Kind.ANSWERS and message.tick == 7:
            kept.append(message.to_wire())
            return b""
        if message.kind == Kind.ANSWERS and message.tick == 8:
            return kept.pop() + message.to_wire()
        return message.to_wire()

    found, session = over(Line(image, to_us=delay))
    assert found == [None if k == 7 else undisturbed[k] for k in range(TICKS)]
    assert session.faults.late == 1


def test_a_tick_that_is_broken_on_the_way_is_refused(image):
    """Counted, and without an answer; the board goes on with the next."""
    found, session = over(Line(image, to_board=once(7, broken)))
    assert [k for k, command in enumerate(found) if command is None] == [7]
    assert (session.faults.refused, session.faults.late) == (1, 1)


def test_frames_that_are_lost_on_the_way_are_counted(image):
    """By what the board says of how many came."""

    def lose(message):
        is_lost = message.kind == Kind.FRAME and message.tick in {3, 4, 9}
        return b"" if is_lost else message.to_wire()

    found, session = over(Line(image, to_board=lose))
    assert None not in found
    assert session.faults.lost == 3


def test_a_board_that_is_slow_by_its_own_clock_is_late(image):
    """Although its answer came in time."""
    with Line(image) as line, serial(Path(line.device)) as port:
        session = Session(port, deadline_s=60.0)
        drive_ticks(session, 3)
        assert session.decide(tick_body(3, deadline_us=0)).answer is None
        assert session.faults.late == 1


def given_up(line, ticks=TICKS, deadline_s=0.1):
    """Return why a line is given up, how many ticks were decided, and the messages until then."""
    messages = []
    with line, serial(Path(line.device)) as port:
        session = Session(port, deadline_s=deadline_s, on_message=messages.append)
        with pytest.raises(BoardError) as told:
            drive_ticks(session, ticks)
    return str(told.value), session.tick, messages


def test_a_board_that_stops_is_given_up(image):
    """After a second of silence, in which the safe state applied; all until then is there."""
    why, ticks, messages = given_up(
        Line(image, to_us=lambda m: b"" if m.tick >= 7 else m.to_wire())
    )
    assert "says nothing" in why
    assert "Reset it" in why
    assert 7 <= ticks < TICKS  # a second of ticks of 0.1 s
    kept = [Message.from_wire(wire[:-1]) for wire in messages]
    answers = [message.tick for message in kept if message.kind == Kind.ANSWERS]
    assert answers == list(range(7))


def test_a_board_that_says_rubbish_is_given_up(image):
    """And told so."""
    why, _, _ = given_up(
        Line(image, to_us=lambda m: b"\x01\x02 garbage \x00" if m.tick >= 7 else m.to_wire())
    )
    assert "nothing but rubbish" in why
    assert "baud rate" in why


def test_a_board_that_is_unplugged_is_told_at_once(image):
    """With what to do."""

    def pull(_):
        raise UnpluggedError

    why, ticks, _ = given_up(Line(image, to_us=once(7, pull)), deadline_s=60.0)
    assert "was unplugged" in why
    assert "Plug it in again" in why
    assert ticks == 7


def test_a_board_of_another_version_is_told_at_once(image):
    """Both versions are named."""
    other = Line(image, to_us=lambda message: message._replace(version=3).to_wire())
    told = pytest.raises(BoardError, match=r"speaks version 3.*this program 1\. Flash")
    with other as line, serial(Path(line.device)) as port, told:
        Session(port, deadline_s=60.0)


@pytest.mark.parametrize("says", [b"", b"Hello from my sketch\r\n"])
def test_what_is_no_board_is_told(image, says):
    """A port at which nobody answers, or somebody else."""
    told = pytest.raises(BoardError, match="rubbish" if says else "says nothing")
    with Line(image, to_us=lambda _: says) as line, serial(Path(line.device)) as port, told:
        Session(port, deadline_s=0.1)


def test_a_program_that_stands_still_is_given_up(code):
    """And ended: it does not outlive us."""
    with host_board(code) as port:
        session = Session(port, deadline_s=0.1)
        drive_ticks(session, 5)
        process = port._process[0]
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(BoardError, match="says nothing"):
            drive_ticks(session, 5)
    assert process.returncode == -signal.SIGKILL


def test_a_program_that_dies_is_told_with_its_exit_code(code):
    """At once, whatever the deadline."""
    with host_board(code) as port:
        session = Session(port, deadline_s=60.0)
        drive_ticks(session, 5)
        port._process[0].kill()
        with pytest.raises(BoardError, match="ended with exit code -9"):
            drive_ticks(session, 5)


@pytest.mark.parametrize(
    ("device", "why"),
    [("/dev/ttyNONE", "no such device. Plug the board in"), ("/dev/null", "is no serial port")],
)
def test_a_device_that_is_none_is_told(device, why):
    """Before anything is driven."""
    with pytest.raises(BoardError, match=why):
        serial(Path(device))
