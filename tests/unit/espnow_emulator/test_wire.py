"""The 90 bytes of the board: layout, round trips, rounding, refusals."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ml.errors import EmulatorError
from ml.espnow_emulator.messages import V2VMessage
from ml.espnow_emulator.parameters.radio import WireParameters
from ml.espnow_emulator.wire import (
    WIRE_BYTES,
    GeoReference,
    mac_of_name,
    name_of_mac,
    pack,
    quantise,
    unpack,
)

HERE = GeoReference.of(WireParameters())
MESSAGE = V2VMessage("car-1", 123_456, 1000.0, -200.0, 13.9, 271.5, -3.25, 1, "car-3", 2.1)

names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=7)
# Group addresses apart, any; so names written as words and makers' addresses both occur.
addresses = st.binary(min_size=6, max_size=6).map(lambda a: bytes([a[0] & 0xFE]) + a[1:])
sources = st.one_of(names, addresses.filter(any).map(name_of_mac))
messages = st.builds(
    V2VMessage,
    vehicle_id=names,
    timestamp_ms=st.integers(0, 2**32 - 1),
    x_m=st.floats(-99_999.0, 99_999.0),
    y_m=st.floats(-99_999.0, 99_999.0),
    speed_mps=st.floats(0.0, 150.0),
    heading_deg=st.floats(0.0, 360.0, exclude_max=True),
    accel_mps2=st.floats(-100.0, 100.0),
    hop_count=st.integers(0, 3),
    source_id=sources,
    position_sd_m=st.floats(0.0, 99_999.0),
)


def _with(offset: int, layout: str, value) -> bytes:
    data = bytearray(pack(MESSAGE, HERE))
    struct.pack_into("<" + layout, data, offset, value)
    return bytes(data)


def test_every_field_lies_where_the_board_expects_it():
    """The bytes, read one by one at the offsets of the C struct, hold the message."""
    data = pack(MESSAGE, HERE)
    assert len(data) == WIRE_BYTES == 90
    assert data[0] == 2
    assert data[1:9] == b"car-1\0\0\0"
    assert struct.unpack_from("<I", data, 9) == (123_456,)
    lat, lon, altitude = struct.unpack_from("<3f", data, 13)
    # A degree on WGS 84 at 32.8 degrees: 110,901 m north, 93,671 m east (series of the ellipsoid).
    phi = math.radians(32.8)
    north = 111_132.954 - 559.822 * math.cos(2 * phi) + 1.175 * math.cos(4 * phi)
    east = 111_412.84 * math.cos(phi) - 93.5 * math.cos(3 * phi) + 0.118 * math.cos(5 * phi)
    assert (lat - 32.8) * north == pytest.approx(-200.0, abs=0.25)
    assert (lon - 35.0) * east == pytest.approx(1000.0, abs=0.25)
    assert altitude == 0.0
    assert struct.unpack_from("<4f", data, 25) == pytest.approx((13.9, 271.5, -3.25, 0.0))
    assert struct.unpack_from("<9f", data, 41) == (0.0,) * 9
    assert data[77:79] == b"\0\0"
    assert struct.unpack_from("<f", data, 79)[0] == pytest.approx(1.0 / 3.1)
    assert data[83] == 1
    assert data[84:] == mac_of_name("car-3")
    assert data[84] & 0b11 == 0b10, "a locally administered address of one station"


@pytest.mark.parametrize("lat_deg", [0.0, 32.8, -60.0, 80.0])
def test_the_plane_has_the_scale_of_the_ellipsoid(lat_deg: float):
    """Metres to a degree are those of the series for WGS 84, in both directions."""
    phi = math.radians(lat_deg)
    north = 111_132.954 - 559.822 * math.cos(2 * phi) + 1.175 * math.cos(4 * phi)
    east = 111_412.84 * math.cos(phi) - 93.5 * math.cos(3 * phi) + 0.118 * math.cos(5 * phi)
    here = GeoReference.of(WireParameters(reference_lat_deg=lat_deg, reference_lon_deg=10.0))
    assert here.north_m_per_deg == pytest.approx(north, rel=1e-5)
    assert here.east_m_per_deg == pytest.approx(east, rel=1e-5)


@given(messages)
@example(replace(MESSAGE, heading_deg=math.nextafter(360.0, 0.0)))
@example(replace(MESSAGE, vehicle_id="~~~~~~~", source_id="~~~~~~~"))
@example(replace(MESSAGE, source_id="24:0a:c4:12:34:56"))
def test_a_message_survives_the_wire_but_for_float32(message: V2VMessage):
    """Names, time and hops come back exactly, numbers within half a step of float32."""
    back = unpack(pack(message, HERE), HERE)
    for name in ("vehicle_id", "timestamp_ms", "hop_count", "source_id"):
        assert getattr(back, name) == getattr(message, name)
    # Degrees between 32 and 64 have steps of 2^-18, a degree has at most 111 km.
    step_m = 2.0**-18 * 111_000.0
    assert abs(back.x_m - message.x_m) <= 0.5 * step_m
    assert abs(back.y_m - message.y_m) <= 0.5 * step_m
    assert back.speed_mps == np.float32(message.speed_mps)
    assert back.accel_mps2 == np.float32(message.accel_mps2)
    assert back.heading_deg in (np.float32(message.heading_deg), 0.0)
    assert 1 + back.position_sd_m == pytest.approx(1 + message.position_sd_m, rel=1e-7)


@settings(deadline=None)  # the first call may compile
@given(st.lists(messages, min_size=1, max_size=5))
@example([replace(MESSAGE, heading_deg=math.nextafter(360.0, 0.0))])
def test_the_training_path_rounds_as_the_wire_does(batch: list[V2VMessage]):
    """`quantise` gives what packing and unpacking gives, to the last bit, and is idempotent."""
    payload = np.array([[m.payload() for m in batch]])
    quantise(payload, HERE)
    expected = np.array([[unpack(pack(m, HERE), HERE).payload() for m in batch]])
    assert payload.tobytes() == expected.tobytes()
    quantise(payload, HERE)
    assert payload.tobytes() == expected.tobytes()


def test_rounding_costs_as_much_as_the_measured_boards_lost():
    """Positions lie on a grid of 0.42 m north and 0.36 m east; nothing else loses a millimetre."""
    random = np.random.default_rng(3)
    payload = np.empty((4000, 6))
    payload[:, :2] = random.uniform(-5000.0, 5000.0, (4000, 2))
    payload[:, 2:] = random.uniform((0, 0, -8, 0), (40, 359, 8, 20), (4000, 4))
    before = payload.copy()
    quantise(payload, HERE)
    error = payload - before
    assert np.abs(error[:, 1]).max() == pytest.approx(0.2115, abs=0.002)
    assert np.abs(error[:, 0]).max() == pytest.approx(0.1787, abs=0.002)
    assert np.abs(error[:, 0]).std() > 0.04
    # float32 has 24 bits: 256 to 360 degrees lie in steps of 3e-5, 20 m of sd in steps of 3e-5.
    assert np.abs(error[:, 2:]).max() < 4e-5
    assert (error[:, 2:] != 0.0).any(axis=0).all()


def test_an_array_that_cannot_be_written_in_place_is_refused():
    """A strided view would be rounded in a copy, unseen; it raises instead."""
    with pytest.raises(EmulatorError, match="C order"):
        quantise(np.zeros((4, 6, 6))[:, ::2], HERE)


@given(st.binary(max_size=200))
@example(b"")
def test_bytes_of_another_length_are_refused(data: bytes):
    """Anything but 90 bytes is named with its length."""
    if len(data) != WIRE_BYTES:
        with pytest.raises(EmulatorError, match=f"has 90 bytes, these are {len(data)}"):
            unpack(data, HERE)


@given(st.just(2) | st.integers(0, 255), st.binary(min_size=89, max_size=89))
def test_any_bytes_are_a_stable_message_or_refused(version: int, rest: bytes):
    """Random bytes, half of them with the right version, never crash and never half pass."""
    _stable_or_refused(bytes([version]) + rest)


@given(
    messages,
    st.lists(st.tuples(st.integers(0, 89), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_message_with_flipped_bytes_is_stable_or_refused(message, flips):
    """Bytes near a valid message: what is accepted packs to bytes that read the same."""
    data = bytearray(pack(message, HERE))
    for position, value in flips:
        data[position] = value
    _stable_or_refused(bytes(data))


def _stable_or_refused(data: bytes) -> None:
    try:
        message = unpack(data, HERE)
    except EmulatorError:
        return
    again = pack(message, HERE)
    assert unpack(again, HERE) == message
    assert pack(unpack(again, HERE), HERE) == again
    # All that a message holds is in the bytes that came.
    held = [*range(21), *range(25, 37), *range(79, 90)]
    if data[0] == 2:
        assert bytes(again[i] for i in held) == bytes(data[i] for i in held)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_with(0, "B", 1), "version 1, allowed is 2"),
        (_with(1, "8s", b"car-1234"), "ends with a zero byte"),
        (_with(1, "8s", b"car\0x\0\0\0"), "only zero bytes after the first"),
        (_with(1, "8s", b"\0" * 8), "id on the wire is ''"),
        (_with(1, "8s", b"c\xe4r\0\0\0\0\0"), "visible ASCII"),
        (_with(1, "8s", b"c r\0\0\0\0\0"), "visible ASCII"),
        (_with(13, "f", math.nan), "latitude on the wire is nan"),
        (_with(13, "f", 90.5), "latitude on the wire is 90.5"),
        (_with(13, "f", 35.0), "choose a reference"),
        (_with(17, "f", -180.5), "longitude on the wire is -180.5"),
        (_with(17, "f", 36.5), "choose a reference"),
        (_with(21, "f", math.inf), "altitude on the wire is inf"),
        (_with(25, "f", -1.0), "speed_mps .* is -1.0"),
        (_with(25, "f", 151.0), "speed_mps .* is 151.0"),
        (_with(29, "f", 360.0), "heading_deg .* is 360.0"),
        (_with(29, "f", -0.5), "heading_deg .* is -0.5"),
        (_with(33, "f", 101.0), "accel_mps2 .* is 101.0"),
        (_with(37, "f", math.nan), "lateral acceleration on the wire is nan"),
        (_with(41, "f", math.nan), "accelerometer x on the wire is nan"),
        (_with(57, "f", -math.inf), "gyroscope y on the wire is -inf"),
        (_with(73, "f", math.nan), "magnetometer z on the wire is nan"),
        (_with(79, "f", 0.0), "confidence on the wire is 0"),
        (_with(79, "f", 1.01), "confidence on the wire is 1.01"),
        (_with(79, "f", math.nan), "confidence on the wire is nan"),
        (_with(83, "B", 4), "hop_count .* is 4"),
        (_with(84, "6s", b"\0" * 6), "source MAC 00:00:00:00:00:00 is empty"),
        (_with(84, "6s", b"\xff" * 6), "source MAC ff:ff:ff:ff:ff:ff is a group address"),
    ],
)
def test_each_malformed_field_is_refused_by_name(data: bytes, reason: str):
    """The error says which field, its value and what is allowed."""
    with pytest.raises(EmulatorError, match=reason):
        unpack(data, HERE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vehicle_id": "vehicle-1"}, "vehicle_id is 'vehicle-1', allowed on the wire"),
        ({"source_id": "vehicle-1"}, "source_id is 'vehicle-1', allowed on the wire"),
        ({"source_id": "24:0A:C4:12:34:56"}, "in lower case"),
        ({"source_id": "24:0a:c4:12:34:no"}, "in lower case"),
        ({"source_id": "01:00:5e:00:00:01"}, "is a group address"),
        ({"timestamp_ms": -1}, "timestamp_ms of 'car-1' is -1"),
        ({"timestamp_ms": 2**32}, "allowed on the wire is 0 to 4294967295"),
        ({"x_m": 100_001.0}, "100.0 km east"),
        ({"speed_mps": math.nan}, "speed_mps of 'car-1' is nan"),
    ],
)
def test_what_the_bytes_cannot_hold_is_not_packed(change: dict, reason: str):
    """A message that would come out as another one is refused, with the field's name."""
    with pytest.raises(EmulatorError, match=reason):
        pack(replace(MESSAGE, **change), HERE)


@given(names, names)
def test_names_and_addresses_are_one_to_one(one: str, other: str):
    """A name comes back from its address, and two names never share one."""
    assert name_of_mac(mac_of_name(one)) == one
    assert (mac_of_name(one) == mac_of_name(other)) == (one == other)


@given(addresses.filter(any))
def test_any_stations_address_is_a_name(address: bytes):
    """Makers' addresses and others that are no word come back byte for byte."""
    assert mac_of_name(name_of_mac(address)) == address


def test_an_address_that_is_a_word_has_one_name_only():
    """The address of `car-3` written as text would be a second name of the same source."""
    text = ":".join(f"{byte:02x}" for byte in mac_of_name("car-3"))
    with pytest.raises(EmulatorError, match="node named 'car-3'"):
        pack(replace(MESSAGE, source_id=text), HERE)
