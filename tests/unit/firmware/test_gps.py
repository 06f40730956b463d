"""What a receiver sends becomes fixes, as two libraries of others' write it."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynmeagps import GET as NMEA_GET
from pynmeagps import NMEAMessage
from pyubx2 import GET, UBXMessage
from support.nodes import nmea, rmc

pytestmark = pytest.mark.board

CHATTER = (
    nmea("GPVTG,77.52,T,,M,0.004,N,0.008,K,A")
    + nmea("GPGGA,120000.00,3248.00000,N,03500.00000,E,1,08,1.01,499.6,M,48.0,M,,")
    + nmea("GPGSV,3,1,11,03,03,111,00,04,15,270,00,06,01,010,00,13,06,292,00")
)


class Fix(ctypes.Structure):
    """`struct gps_fix`."""

    _fields_ = (
        ("place_e7", ctypes.c_int32 * 2),
        ("speed_mps", ctypes.c_float),
        ("heading_deg", ctypes.c_float),
        ("has_heading", ctypes.c_bool),
    )


class Parser:
    """A parser that has read nothing yet."""

    def __init__(self, library):
        self._parse = library.gps_parse
        self._parse.restype = ctypes.c_bool
        self._memory = ctypes.create_string_buffer(128)

    def read(self, data):
        """Return the fixes in some bytes."""
        fixes = []
        for byte in data:
            fix = Fix()
            if self._parse(self._memory, ctypes.c_uint8(byte), ctypes.byref(fix)):
                fixes.append(fix)
        return fixes

    @property
    def refused(self):
        """Sentences and messages with a wrong checksum."""
        return int.from_bytes(self._memory.raw[116:120], "little")


@pytest.fixture
def parser(node_parts):
    """See `Parser`."""
    return Parser(node_parts)


def pvt(**fields):
    """A whole NAV-PVT message, as pyubx2 writes it."""
    usual = {"fixType": 3, "gnssFixOk": 1, "lat": 32.8, "lon": 35.0, "gSpeed": 12_345}
    return UBXMessage("NAV", "NAV-PVT", GET, **(usual | {"headMot": 271.5} | fields)).serialize()


def test_a_sentence_as_another_library_writes_it(parser):
    """Latitude, longitude, knots and course, of any talker."""
    message = NMEAMessage(
        "GN", "RMC", NMEA_GET, status="A", lat=-32.8123456, lon=-70.1234567, spd=19.4384, cog=271.5
    )
    (fix,) = parser.read(CHATTER + message.serialize() + CHATTER)
    assert list(fix.place_e7) == pytest.approx([-328123456, -701234567], abs=2)
    assert fix.speed_mps == pytest.approx(10.0, abs=1e-3)
    assert fix.heading_deg == pytest.approx(271.5, abs=0.01)
    assert fix.has_heading


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.floats(-89.99, 89.99),
    st.floats(-179.99, 179.99),
    st.floats(0.0, 80.0),
    st.none() | st.floats(0.0, 359.98),
)
def test_every_place_comes_out_as_finely_as_it_was_sent(parser, lat, lon, speed, heading):
    """1e-5 minutes are 1.7e-7 degrees; a course that was left empty is none."""
    (fix,) = parser.read(rmc(lat, lon, speed, heading))
    assert fix.place_e7[0] == pytest.approx(lat * 1e7, abs=1.5)
    assert fix.place_e7[1] == pytest.approx(lon * 1e7, abs=1.5)
    assert fix.speed_mps == pytest.approx(speed, abs=1e-3)
    assert fix.has_heading == (heading is not None)
    if heading is not None:
        assert fix.heading_deg == pytest.approx(heading, abs=0.006)


def test_a_binary_message_as_another_library_writes_it(parser):
    """NAV-PVT among sentences and other messages of its kind."""
    other = UBXMessage("NAV", "NAV-STATUS", GET).serialize()
    (fix,) = parser.read(CHATTER + other + pvt() + CHATTER)
    assert list(fix.place_e7) == [328_000_000, 350_000_000]
    assert fix.speed_mps == pytest.approx(12.345)
    assert fix.heading_deg == pytest.approx(271.5)
    assert fix.has_heading


@pytest.mark.parametrize(
    "data",
    [
        nmea("GPRMC,120000.00,V,,,,,,,301126,,,N"),
        nmea("GPRMC,120000.00,A,3248.0000,N,03500.0000,X,1.0,2.0,301126,,,A"),
        nmea("GPRMC,120000.00,A,3260.0000,N,03500.0000,E,1.0,2.0,301126,,,A"),
        nmea("GPRMC,120000.00,A,9100.0000,N,03500.0000,E,1.0,2.0,301126,,,A"),
        nmea("GPRMC,120000.00,A,3248.0000,N,03500.0000,E,,2.0,301126,,,A"),
        nmea("GPRMC,120000.00,A,3248.0000,N,03500.0000,E,-1.0,2.0,301126,,,A"),
        nmea("GPRMC"),
        pvt(fixType=1),
        pvt(gnssFixOk=0),
        pvt(gSpeed=-1),
    ],
    ids=["void", "X", "60 minutes", "91 degrees", "no speed", "negative", "short",
         "dead reckoning", "not ok", "negative speed"],
)  # fmt: skip
def test_what_is_no_fix_is_none(parser, data):
    """And the next one is read."""
    assert parser.read(data) == []
    assert parser.refused == 0
    assert len(parser.read(rmc(32.8, 35.0, 1.0, 2.0))) == 1


def test_any_changed_bit_is_refused(parser):
    """Of a sentence and of a message; the next fix is read all the same."""
    for whole in (rmc(32.8, 35.0, 10.0, 90.0), pvt()):
        behind = len(whole) if whole[0] == 0xB5 else len(whole) - 2  # without the line's end
        for at in range(2 if whole[0] == 0xB5 else 1, behind):
            for bit in range(8):
                broken = bytearray(whole)
                broken[at] ^= 1 << bit
                found = parser.read(bytes(broken) + b"\r\n" * 60)
                same_digits = broken[at : at + 1].upper() == whole[at : at + 1].upper()
                assert not found or same_digits, (at, bit)
                assert len(parser.read(whole)) == 1
    assert parser.refused > 100


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_after_any_rubbish_the_third_fix_is_read_at_the_latest(parser, rubbish):
    """The beginning of a message may swallow a hundred bytes, and does so once."""
    whole = rmc(32.8, 35.0, 10.0, 90.0)
    assert len(parser.read(rubbish + 3 * whole)) >= 1
