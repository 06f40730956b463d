"""TraCI's replies, read as arrays.

Everything is big-endian. Each command gets a status: length, number, result and a text that is
empty when all went well, so seven bytes. Vehicle identifiers have a fixed length, so the
subscription results of a tick are records of a fixed stride, which one loop reads.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from traci import constants as tc

from ml.errors import SimulatorError
from ml.sumo import traci_kernels as kernels
from ml.sumo.names import ENV_DIGITS, SLOT_DIGITS, VEHICLE_ID_LENGTH
from ml.sumo.traci_commands import TELEPORTS, VEHICLE_VALUES, string

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OK_STATUS_LENGTH = 7
# One subscription result with lane position and speed; its length is always the long form.
_RESULT = np.dtype(
    [
        ("long_form", "u1"),
        ("length", ">i4"),
        ("response", "u1"),
        ("id_length", ">i4"),
        ("id", f"S{VEHICLE_ID_LENGTH}"),
        ("count", "u1"),
        ("position_variable", "u1"),
        ("position_status", "u1"),
        ("position_type", "u1"),
        ("lane_pos_m", ">f8"),
        ("speed_variable", "u1"),
        ("speed_status", "u1"),
        ("speed_type", "u1"),
        ("speed_mps", ">f8"),
    ],
)
_ID_OFFSET, _POSITION_OFFSET, _SPEED_OFFSET = (
    _RESULT.fields[name][1]  # type: ignore[index]
    for name in ("id", "lane_pos_m", "speed_mps")
)


def _result_frame() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the bytes that are the same in every result, and what each byte means."""
    record = np.zeros(1, dtype=_RESULT)
    record["length"] = _RESULT.itemsize
    record["response"] = tc.RESPONSE_SUBSCRIBE_VEHICLE_VARIABLE
    record["id_length"] = VEHICLE_ID_LENGTH
    record["id"] = b"c0000.v00"
    record["count"], record["position_variable"], record["speed_variable"] = VEHICLE_VALUES
    record["position_type"] = record["speed_type"] = tc.TYPE_DOUBLE
    meaning = np.full(_RESULT.itemsize, kernels.FIXED, dtype=np.uint8)
    name = meaning[_ID_OFFSET : _ID_OFFSET + VEHICLE_ID_LENGTH]
    name[ENV_DIGITS], name[SLOT_DIGITS] = kernels.CONVOY_DIGIT, kernels.SLOT_DIGIT
    meaning[_POSITION_OFFSET : _POSITION_OFFSET + 8] = kernels.POSITION
    meaning[_SPEED_OFFSET : _SPEED_OFFSET + 8] = kernels.SPEED
    return record.view(np.uint8), meaning


_FRAME, _MEANING = _result_frame()
# The result of the subscription to teleports, up to its value.
_TELEPORTS_FRAME = (
    struct.pack("!BiB", 0, 18, tc.RESPONSE_SUBSCRIBE_SIM_VARIABLE)
    + string("")
    + TELEPORTS
    + bytes((tc.RTYPE_OK, tc.TYPE_INTEGER))
)
_TICK_HEAD = struct.Struct(f"!i{len(_TELEPORTS_FRAME)}si")


@dataclass(frozen=True, slots=True)
class Readings:
    """Subscription results of one tick, in the order in which SUMO sent them.

    The arrays are views that the next reading overwrites.

    Attributes:
        cars: int64, whose they are: convoy · V + slot.
        lane_pos_m: float64.
        speed_mps: float64.
    """

    cars: NDArray[np.int64]
    lane_pos_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]


def check_statuses(reply: NDArray[np.uint8], numbers: bytes) -> int:
    """Check the statuses at a reply's start.

    Args:
        reply: The reply without its length, uint8.
        numbers: The numbers of the commands that were sent, in order.

    Returns:
        How many bytes they take.

    Raises:
        SimulatorError: SUMO answered one of them with an error; the message has SUMO's words.
    """
    expected = _good_statuses(numbers)
    if reply[: len(expected)].tobytes() == expected:
        return len(expected)
    raise SimulatorError(_first_complaint(reply.tobytes(), len(numbers)))


@lru_cache(maxsize=16)
def _good_statuses(numbers: bytes) -> bytes:
    return b"".join(bytes((_OK_STATUS_LENGTH, number, 0, 0, 0, 0, 0)) for number in numbers)


def read_strings(data: bytes, offset: int) -> list[str]:
    """Read the list of strings that a get-command for the simulation answers with.

    Args:
        data: The reply without its length.
        offset: Where its answer starts, behind the status.
    """
    start = offset + (1 if data[offset] else 5)
    start += 2 + len(string(""))  # the response's number, the variable, the empty name
    kind, count = struct.unpack_from("!Bi", data, start)
    if kind != tc.TYPE_STRINGLIST:
        raise SimulatorError(f"SUMO answered with a value of type {kind}, not a list of names.")
    start += 5
    names = []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", data, start)
        names.append(data[start + 4 : start + 4 + length].decode())
        start += 4 + length
    return names


def read_version(data: bytes, offset: int) -> tuple[int, str]:
    """Read SUMO's answer to the version command: the API's number and SUMO's name for itself."""
    api, length = struct.unpack_from("!ii", data, offset + 2)
    return api, data[offset + 10 : offset + 10 + length].decode(errors="replace")


def _first_complaint(data: bytes, count: int) -> str:
    """Find the first status that is not OK and say what SUMO says."""
    offset = 0
    try:
        for _ in range(count):
            length, start = data[offset], offset + 1
            if length == 0:
                length, start = struct.unpack_from("!i", data, start)[0], start + 4
            number, result = data[start], data[start + 1]
            (text_length,) = struct.unpack_from("!i", data, start + 2)
            if result != tc.RTYPE_OK:
                text = data[start + 6 : start + 6 + text_length].decode(errors="replace")
                return f"SUMO answered TraCI command 0x{number:02x} with an error: {text}"
            offset += length
    except (struct.error, IndexError):
        pass
    return f"SUMO's reply to {count} TraCI commands cannot be understood ({len(data)} bytes)."


class ResultReader:
    """Reads vehicle values into arrays of its own."""

    def __init__(self, num_envs: int, num_vehicles: int) -> None:
        self._num_vehicles = num_vehicles
        capacity = num_envs * num_vehicles
        self._cars = np.zeros(capacity, dtype=np.int64)
        self._lane_pos_m = np.zeros(capacity)
        self._speed_mps = np.zeros(capacity)
        self._lane_pos_bits = self._lane_pos_m.view(np.int64)
        self._speed_bits = self._speed_mps.view(np.int64)

    def read_tick(self, data: NDArray[np.uint8]) -> tuple[int, Readings]:
        """Read what follows the statuses of a tick: the subscription to teleports, then vehicles.

        Returns:
            The number of teleports in this tick, and the vehicles' values.

        Raises:
            SimulatorError: The bytes are of another form.
        """
        if data.size < _TICK_HEAD.size:
            raise SimulatorError(f"SUMO's reply to a tick is too short ({data.size} bytes).")
        count, frame, teleports = _TICK_HEAD.unpack(data[: _TICK_HEAD.size].tobytes())
        if frame != _TELEPORTS_FRAME:
            raise SimulatorError(
                "SUMO's reply to a tick does not start with the number of teleports. "
                "Does another program use this SUMO too?",
            )
        return teleports, self.read_results(data[_TICK_HEAD.size :], count - 1)

    def read_subscriptions(self, data: NDArray[np.uint8], count: int) -> Readings:
        """Read the answers to `count` subscriptions: each a status and the first result.

        Raises:
            SimulatorError: One was refused, or the bytes are of another form.
        """
        stride = _OK_STATUS_LENGTH + _RESULT.itemsize
        if data.size == count * stride:
            statuses = data.reshape(count, stride)[:, :_OK_STATUS_LENGTH].ravel()
            check_statuses(statuses, bytes((tc.CMD_SUBSCRIBE_VEHICLE_VARIABLE,)) * count)
        return self._read(data, count, before=_OK_STATUS_LENGTH)

    def read_results(self, data: NDArray[np.uint8], count: int) -> Readings:
        """Read subscription results of vehicles.

        Args:
            data: The results' bytes and nothing else, uint8.
            count: How many there must be.

        Raises:
            SimulatorError: The bytes are not that many results of lane position and speed.
        """
        return self._read(data, count, before=0)

    def _read(self, data: NDArray[np.uint8], count: int, *, before: int) -> Readings:
        """Read results with so many other bytes before each."""
        stride = before + _RESULT.itemsize
        if data.size != count * stride or not 0 <= count <= self._cars.size:
            raise SimulatorError(
                f"SUMO sent {data.size} bytes of vehicle values; {count} of at most "
                f"{self._cars.size} vehicles take {count * stride}. "
                "Does another program use this SUMO too?",
            )
        cars = self._cars[:count]
        fault = kernels.read_records(
            data,
            before,
            stride,
            _FRAME,
            _MEANING,
            self._num_vehicles,
            self._cars.size,
            cars,
            self._lane_pos_bits[:count],
            self._speed_bits[:count],
        )
        if fault != kernels.UNDERSTOOD:
            raise SimulatorError(
                "SUMO sent vehicle values of another form than lane position and speed of our "
                "cars. Does another program use this SUMO too?",
            )
        return Readings(cars, self._lane_pos_m[:count], self._speed_mps[:count])
