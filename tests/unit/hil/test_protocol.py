"""Messages in bytes: what goes on the wire comes back, and nothing else is taken for a message."""

from __future__ import annotations

from binascii import crc_hqx

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.hil.protocol import Answer, Hello, Kind, Message, refusal, stuff, unstuff


@pytest.mark.parametrize(
    ("plain", "stuffed"),
    [
        ("", "01"),
        ("00", "0101"),
        ("0000", "010101"),
        ("11220033", "0311220233"),
        ("11000000", "0211010101"),
        ("01" * 254, "ff" + "01" * 254),
        ("00" + "01" * 254, "01ff" + "01" * 254),
        ("01" * 255, "ff" + "01" * 254 + "0201"),
        ("01" * 254 + "00", "ff" + "01" * 254 + "0101"),
    ],
)
def test_stuffing_is_cobs(plain, stuffed):
    """The examples of its definition, the longest run among them."""
    assert stuff(bytes.fromhex(plain)).hex() == stuffed
    assert unstuff(bytes.fromhex(stuffed)).hex() == plain


@given(st.binary(max_size=1200))
def test_no_byte_on_the_wire_is_zero_and_all_come_back(plain):
    """Whatever the bytes."""
    stuffed = stuff(plain)
    assert 0 not in stuffed
    assert unstuff(stuffed) == plain


def test_the_crc_is_the_one_that_the_table_names():
    """CRC-16/CCITT-FALSE: its check value."""
    assert crc_hqx(b"123456789", 0xFFFF) == 0x29B1


@given(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=400))
def test_a_message_comes_back(kind, tick, body):
    """Kind, tick and body; from what stands before the zero."""
    wire = Message(kind, tick, body).to_wire()
    assert wire.count(0) == 1
    assert Message.from_wire(wire[:-1]) == Message(kind, tick, body)


@given(st.binary(max_size=100), st.data())
def test_a_broken_message_is_none(body, data):
    """One byte changed, or the end cut off."""
    wire = Message(Kind.TICK, 7, body).to_wire()[:-1]
    at = data.draw(st.integers(0, len(wire) - 1))
    other = data.draw(st.integers(1, 255).filter(lambda byte: byte != wire[at]))
    assert Message.from_wire(wire[:at] + bytes([other]) + wire[at + 1 :]) is None
    assert Message.from_wire(wire[:at]) is None


def test_bodies_of_another_size_are_none():
    """Of a hello, an answer and a refusal."""
    assert Hello.of(bytes(27)) is None
    assert Answer.of(bytes(65)) is None
    assert Answer.of(bytes(64) + b"\1\0") is None  # says a peer, and has none
    assert Answer.of(bytes(66)) is not None
    assert refusal(b"") == (Kind.REFUSES, "no reason")
    assert refusal(b"\4\2") == (Kind.TICK, "broken")
    assert refusal(b"\4\77") == (Kind.TICK, "reason 63")
