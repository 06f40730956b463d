"""TraCI's replies, read as arrays.

Everything is big-endian. Each command gets a status: length, number, result and a text that is
empty when all went well, so seven bytes. Vehicle identifiers have a fixed length, so the
subscription results of a tick are records of a fixed stride, which numpy reads at once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from traci import constants as tc

from ml.errors import SimulatorError
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
_ID_OFFSET = 10
_ID_COLUMNS = np.arange(_ID_OFFSET, _ID_OFFSET + VEHICLE_ID_LENGTH)
_ENV_COLUMNS, _SLOT_COLUMNS = _ID_COLUMNS[ENV_DIGITS], _ID_COLUMNS[SLOT_DIGITS]
_DIGIT_COLUMNS = np.concatenate((_ENV_COLUMNS, _SLOT_COLUMNS))
_ENV_WEIGHTS = 10 ** np.arange(_ENV_COLUMNS.size - 1, -1, -1)
_SLOT_WEIGHTS = 10 ** np.arange(_SLOT_COLUMNS.size - 1, -1, -1)
_POSITION_OFFSET, _SPEED_OFFSET = _RESULT.itemsize - 19, _RESULT.itemsize - 8
# What is not a value in a result: all before the position, and between position and speed.
_HEAD = slice(0, _POSITION_OFFSET)
_MIDDLE = slice(_POSITION_OFFSET + 8, _SPEED_OFFSET)


def _result_frame() -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Return the bytes that are the same in every result, and their columns."""
    record = np.zeros(1, dtype=_RESULT)
    record["length"] = _RESULT.itemsize
    record["response"] = tc.RESPONSE_SUBSCRIBE_VEHICLE_VARIABLE
    record["id_length"] = VEHICLE_ID_LENGTH
    record["id"] = b"c0000.v00"
    record["count"], record["position_variable"], record["speed_variable"] = VEHICLE_VALUES
    record["position_type"] = record["speed_type"] = tc.TYPE_DOUBLE
    columns = np.arange(_RESULT.itemsize)
    fixed = np.setdiff1d(np.concatenate((columns[_HEAD], columns[_MIDDLE])), _DIGIT_COLUMNS)
    return record.view(np.uint8)[fixed], fixed


_FRAME, _FRAME_COLUMNS = _result_frame()
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

    Attributes:
        env: int64, convoy of each.
        slot: int64, vehicle slot of each.
        lane_pos_m: float64.
        speed_mps: float64.
    """

    env: NDArray[np.int64]
    slot: NDArray[np.int64]
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
    count = len(numbers)
    expected = np.zeros((count, _OK_STATUS_LENGTH), dtype=np.uint8)
    expected[:, 0] = _OK_STATUS_LENGTH
    expected[:, 1] = np.frombuffer(numbers, np.uint8)
    if reply[: expected.size].tobytes() == expected.tobytes():
        return expected.size
    raise SimulatorError(_first_complaint(reply.tobytes(), count))


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


def read_subscriptions(data: NDArray[np.uint8], count: int) -> Readings:
    """Read the answers to `count` subscriptions: each a status and the first result.

    Raises:
        SimulatorError: One was refused, or the bytes are of another form.
    """
    stride = _OK_STATUS_LENGTH + _RESULT.itemsize
    _require_size(data.size, count, stride)
    rows = data.reshape(count, stride)
    statuses = np.ascontiguousarray(rows[:, :_OK_STATUS_LENGTH]).ravel()
    check_statuses(statuses, bytes((tc.CMD_SUBSCRIBE_VEHICLE_VARIABLE,)) * count)
    return ResultReader().read_results(rows[:, _OK_STATUS_LENGTH:].tobytes(), count)


class ResultReader:
    """Reads the results of a tick, and remembers whose they were.

    From one tick to the next the same vehicles come in the same order, so all but the values is
    the same to the byte, and need not be understood again.
    """

    def __init__(self) -> None:
        self._frames = b""
        self._env = self._slot = np.zeros(0, dtype=np.int64)

    def read_tick(self, data: NDArray[np.uint8]) -> tuple[int, Readings]:
        """Read what follows the statuses of a tick: the subscription to teleports, then vehicles.

        Returns:
            The number of teleports in this tick, and the vehicles' values.

        Raises:
            SimulatorError: The bytes are of another form.
        """
        head = data[: _TICK_HEAD.size].tobytes()
        if len(head) < _TICK_HEAD.size:
            raise SimulatorError(f"SUMO's reply to a tick is too short ({data.size} bytes).")
        count, frame, teleports = _TICK_HEAD.unpack(head)
        if frame != _TELEPORTS_FRAME:
            raise SimulatorError(
                "SUMO's reply to a tick does not start with the number of teleports. "
                "Does another program use this SUMO too?",
            )
        return teleports, self.read_results(data[_TICK_HEAD.size :].tobytes(), count - 1)

    def read_results(self, data: bytes, count: int) -> Readings:
        """Read subscription results of vehicles.

        Args:
            data: The results' bytes and nothing else.
            count: How many there must be.

        Raises:
            SimulatorError: The bytes are not that many results of lane position and speed.
        """
        _require_size(len(data), count, _RESULT.itemsize)
        records = np.frombuffer(data, dtype=_RESULT)
        rows = np.frombuffer(data, np.uint8).reshape(count, _RESULT.itemsize)
        frames = rows[:, _HEAD].tobytes() + rows[:, _MIDDLE].tobytes()
        if frames != self._frames:
            if not (rows[:, _FRAME_COLUMNS] == _FRAME).all():
                raise SimulatorError(
                    "SUMO sent vehicle values of another form than lane position and speed of our "
                    "cars. Does another program use this SUMO too?",
                )
            digits = rows[:, _DIGIT_COLUMNS].astype(np.int64) - ord("0")
            self._env = digits[:, : _ENV_COLUMNS.size] @ _ENV_WEIGHTS
            self._slot = digits[:, _ENV_COLUMNS.size :] @ _SLOT_WEIGHTS
            self._frames = frames
        return Readings(
            env=self._env,
            slot=self._slot,
            lane_pos_m=records["lane_pos_m"].astype(np.float64),
            speed_mps=records["speed_mps"].astype(np.float64),
        )


def _require_size(size: int, count: int, stride: int) -> None:
    if size != count * stride:
        raise SimulatorError(
            f"SUMO sent {size} bytes of vehicle values; {count} vehicles take {count * stride}. "
            "Does another program use this SUMO too?",
        )
