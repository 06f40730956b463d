"""The board's side of the protocol: what it answers and refuses, and that nothing breaks it."""

from __future__ import annotations

import random
import subprocess

import pytest
from support.board_code import needs
from support.board_on_a_line import (
    MODEL,
    REFERENCE,
    begin_body,
    drive_ticks,
    fix_body,
    frame_body,
    tick_body,
)

from ml.espnow_emulator.wire import mac_of_name, unpack
from ml.export.folder import SOURCE
from ml.export.toolchain import FLAGS, run
from ml.hil.build import code_of, host_board, qemu_board
from ml.hil.protocol import LATE, Answer, Kind, Message, refusal
from ml.hil.session import Session

HIL = SOURCE.parent / "hil"
WARNINGS = (*("-Wdouble-promotion", "-Wconversion", "-Wshadow", "-pedantic", "-Wstack-usage=2048"),)
TICKS = 60

pytestmark = [pytest.mark.board, needs("gcc")]
on_qemu = needs("riscv64-unknown-elf-gcc", "qemu-system-riscv32")


@pytest.fixture(scope="module")
def code():
    """The shipped model's."""
    return code_of(MODEL)


@pytest.fixture(scope="module")
def room(code, tmp_path_factory):
    """A folder with its weights."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "weights.h").write_bytes(code.weights)
    return folder


def build(room, out, *flags):
    """Compile the host's board with more flags."""
    sources = [SOURCE / "brain.c", HIL / "hil.c", HIL / "host.c"]
    headers = [f"-I{room}", f"-I{SOURCE}", f"-I{HIL}"]
    run(["gcc", *FLAGS, *flags, *headers, *map(str, sources), "-o", str(out)])
    return out


def said(image, *messages):
    """Return what a board says to messages, or to plain bytes, the zero behind each included."""
    wire = b"".join(m if isinstance(m, bytes) else m.to_wire() for m in messages)
    ran = subprocess.run([str(image)], input=wire, capture_output=True, check=True, timeout=60)
    assert not ran.stderr, ran.stderr.decode()
    answers = [Message.from_wire(stuffed) for stuffed in ran.stdout.split(b"\0") if stuffed]
    assert None not in answers
    return answers


@pytest.fixture(scope="module")
def image(room, tmp_path_factory):
    """The board, with all warnings and the sanitizers on."""
    flags = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return build(room, tmp_path_factory.mktemp("hil") / "board", *flags)


def test_the_code_is_clean(room, tmp_path):
    """Without a warning, on less than 2 kB of stack."""
    build(room, tmp_path / "board", *WARNINGS)


@needs("cppcheck")
def test_cppcheck_has_nothing_to_say(room):
    """Of the code and of its programs."""
    files = [HIL / "hil.c", HIL / "host.c"]
    run(
        [
            *("cppcheck", "--quiet", "--enable=warning,style,performance,portability"),
            *("--std=c99", "--error-exitcode=1", f"-I{room}", f"-I{SOURCE}", f"-I{HIL}"),
            *map(str, files),
        ]
    )


def test_a_board_says_who_it_is(code):
    """Name, model and the time gap that it keeps."""
    with host_board(code) as port:
        session = Session(port, deadline_s=0.1)
        hello = session.hello
        session.end()
    assert (hello.name, hello.model, hello.observation_version) == ("host", code.digest, 6)
    assert hello.time_gap_s == pytest.approx(0.88)
    assert code.digest


def test_a_tick_is_answered_with_all_that_it_knew(code):
    """Command and bounds, its place, the car ahead, and its beacon."""
    with host_board(code) as port:
        session = Session(port, deadline_s=0.1)
        decided = drive_ticks(session, TICKS)
        session.end()
    assert [bool(d.answer) for d in decided] == [True] * TICKS
    answer, sent = decided[-1].answer, decided[-1].sent
    (peer,) = answer.peers
    assert (peer.mac, peer.hops, peer.rank) == (mac_of_name("v1"), 0, 0)
    assert 0.0 <= peer.age_s < 0.2
    assert answer.own_mps == pytest.approx(20.0, abs=0.5)
    assert answer.floor_mps2 <= answer.accel_mps2 <= answer.hard_mps2
    assert (answer.num_frames, answer.num_refused, answer.flags) == (1, 0, 0)
    own, *relays = sent
    assert not own[0]
    assert unpack(own[1], REFERENCE).x_m == pytest.approx(answer.x_um * 1e-6, abs=0.4)
    # What it heard from ahead goes on, a hop further.
    assert [(is_relay, unpack(frame, REFERENCE).hop_count) for is_relay, frame in relays] == [
        (True, 1)
    ]
    assert session.faults.late == session.faults.broken == session.faults.lost == 0


@on_qemu
@pytest.mark.parametrize("core", ["rv32imc", "rv32imafc"])
def test_both_cores_answer_with_the_same_bits_as_this_machine(code, core):
    """Every field but the time, and every frame."""
    found = []
    for start in (host_board, lambda code: qemu_board(code, core)):
        with start(code) as port:
            session = Session(port, deadline_s=10.0)
            found.append(drive_ticks(session, TICKS))
            session.end()
    here, there = ([replaced(decided) for decided in each] for each in found)
    assert here == there
    took_us = [decided.answer.took_us for decided in found[1]]
    assert (max(took_us) > 5_000) == (core == "rv32imc")  # without an FPU it takes milliseconds
    assert max(took_us) < 50_000


def replaced(decided):
    """What became of a tick, but for the time."""
    return decided.answer._replace(took_us=0), decided.sent


def test_a_deadline_that_passes_by_the_boards_own_clock_is_told(image):
    """The flag is on at a deadline of nothing, and off at one of a second."""
    *_, late = said(image, Message(1, 0, begin_body()), Message(4, 0, tick_body(0, 0)))
    *_, fine = said(image, Message(1, 0, begin_body()), Message(4, 0, tick_body(0, 10**9)))
    assert Answer.of(late.body).flags & LATE
    assert not Answer.of(fine.body).flags & LATE


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        (Message(4, 3, tick_body(0)), (4, "not begun")),
        (Message(2, 3, frame_body(0)), (2, "not begun")),
        (Message(3, 3, fix_body()), (3, "not begun")),
        (Message(1, 3, begin_body(time_gap_s=6.0)), (1, "settings")),
        (Message(1, 3, begin_body(name="12345678")), (1, "settings")),
        (Message(4, 3, tick_body(0) + b"\0"), (4, "size")),
        (Message(0, 3, b"?"), (0, "size")),
        (Message(6, 3), (6, "type")),
        (Message(0x80, 3), (0x80, "type")),
        (Message(0, 3, version=2), (0, "version")),
        (b"\2\2\0", (255, "size")),
        (b"\7\1\1\1\1\1\1\5\1\1\1\1\0", (255, "broken")),
        (b"\1" * 500 + b"\0", (255, "size")),
    ],
)
def test_what_is_wrong_is_refused_with_a_reason(image, message, refused):
    """And it goes on: the next hello is answered."""
    first, hello = said(image, message, Message(0, 4))
    assert (first.kind, refusal(first.body)) == (Kind.REFUSES, refused)
    if isinstance(message, Message):
        assert first.tick == 3
    assert (hello.kind, hello.tick) == (Kind.IS_HELLO, 4)


def test_empty_messages_are_passed_over(image):
    """Zeros between messages are no fault."""
    (hello,) = said(image, b"\0\0\0", Message(0, 0), b"\0")
    assert hello.kind == Kind.IS_HELLO


def test_rubbish_by_the_megabyte_breaks_nothing(image):
    """Under the sanitizers: bytes at random, and sound messages with some bytes changed."""
    rng = random.Random(7)  # noqa: S311 (no secret)
    parts = [Message(1, 0, begin_body()).to_wire()]
    sound = [
        Message(2, 0, frame_body(0)),
        Message(3, 0, fix_body()),
        Message(4, 0, tick_body(0)),
        Message(1, 0, begin_body()),
        Message(0, 0),
    ]
    for number in range(20_000):
        wire = bytearray(rng.choice(sound)._replace(tick=number).to_wire())
        for _ in range(rng.choice((0, 0, 1, 3))):
            wire[rng.randrange(len(wire))] = rng.randrange(256)
        parts.append(bytes(wire) if rng.random() < 0.9 else rng.randbytes(rng.randrange(200)))
    parts.append(b"\0" + Message(0, 77).to_wire())
    answers = said(image, *parts)
    kinds = {answer.kind for answer in answers}
    assert {Kind.ANSWERS, Kind.REFUSES, Kind.SENDS, Kind.HAS_BEGUN} <= kinds
    assert (answers[-1].kind, answers[-1].tick) == (Kind.IS_HELLO, 77)
