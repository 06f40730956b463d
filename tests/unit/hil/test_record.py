"""Records: whole or cut, what was written is read; what is none is refused with words."""

from __future__ import annotations

import math

import pytest

from ml.errors import ConfigError
from ml.hil.protocol import Kind, Message
from ml.hil.record import (
    Car,
    Note,
    Record,
    done_body,
    done_of,
    json_of,
    read_record,
    truth_body,
    truth_of,
)

TICKS = 200


def written(file):
    """Write a record of some ticks; return its messages."""
    messages = [Message(Kind.TICK, tick, bytes([tick % 7]) * 24) for tick in range(TICKS)]
    with Record(file, {"suite": "convoy:1"}) as record:
        for message in messages:
            record.write(message.to_wire())
            record.flush()
    return messages


def test_what_was_written_is_read(tmp_path):
    """Header and messages, in order."""
    messages = written(tmp_path / "a.hil")
    header, found = read_record(tmp_path / "a.hil")
    assert header == {"format": 1, "suite": "convoy:1"}
    assert list(found) == messages


def test_a_cut_record_has_all_that_is_whole(tmp_path):
    """Wherever the power went: nothing before it is lost, and no half message is taken."""
    messages = written(tmp_path / "a.hil")
    content = (tmp_path / "a.hil").read_bytes()
    numbers = []
    for size in range(len(content) // 3, len(content), 97):
        cut = tmp_path / "cut.hil"
        cut.write_bytes(content[:size])
        found = list(read_record(cut)[1])
        assert found == messages[: len(found)]
        numbers.append(len(found))
    assert numbers == sorted(numbers)
    assert numbers[-1] > TICKS * 0.9


def test_what_is_flushed_is_there_while_it_is_written(tmp_path):
    """Before the record is closed, as when its program is killed."""
    record = Record(tmp_path / "a.hil", {})
    record.write(Message(Kind.TICK, 3).to_wire())
    record.flush()
    assert list(read_record(tmp_path / "a.hil")[1]) == [Message(Kind.TICK, 3)]
    record.__exit__(None, None, None)


def test_a_record_that_is_there_stays(tmp_path):
    """With the remedy."""
    (tmp_path / "a.hil").write_text("mine")
    with pytest.raises(ConfigError, match=r"exists\. Name another file"):
        Record(tmp_path / "a.hil", {})
    assert (tmp_path / "a.hil").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"no record", b"\x1f\x8b\x08"])
def test_what_is_no_record_is_refused(tmp_path, content):
    """Its name is said."""
    (tmp_path / "a.hil").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.hil is no record"):
        read_record(tmp_path / "a.hil")


def test_a_missing_or_damaged_record_is_refused(tmp_path):
    """A file that is not there; a byte changed within; another format."""
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file"):
        read_record(tmp_path / "a.hil")
    written(tmp_path / "a.hil")
    content = bytearray((tmp_path / "a.hil").read_bytes())
    content[len(content) // 2] ^= 0x55
    (tmp_path / "a.hil").write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        list(read_record(tmp_path / "a.hil")[1])
    with Record(tmp_path / "b.hil", {"format": 99}):
        pass
    with pytest.raises(ConfigError, match="in format 1"):
        read_record(tmp_path / "b.hil")


def test_notes_come_back(tmp_path):
    """Truth with a car that is not there, what was done, JSON without what is not finite."""
    cars = [Car(100.5, 0.0, 1.0, 2.0, 20.25, -1.5), Car(*[math.nan] * 6)]
    wall_ms, found = truth_of(truth_body(2**32 + 5, cars))
    assert (wall_ms, found[0]) == (5, cars[0])
    assert math.isnan(found[1].route_pos_m)
    assert done_of(done_body(-1.5, is_safe_state=True)) == (-1.5, True)
    with Record(tmp_path / "a.hil", {}) as record:
        record.note_json(Note.RESULT, 9, {"case": 3, "ttc_s": math.inf})
    (note,) = read_record(tmp_path / "a.hil")[1]
    assert (note.kind, note.tick) == (Note.RESULT, 9)
    assert json_of(note) == {"case": 3, "ttc_s": None}
