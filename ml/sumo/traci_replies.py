"""TraCI's replies, read as arrays.

Everything is big-endian. Each command gets a status: length, number, result and a text that is
empty when all went well, so seven bytes. Vehicle identifiers have a fixed length, so the answers
about the vehicles after a tick are records of a fixed stride, which numpy reads at once.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from traci import constants as tc
from traci.storage import Storage

from ml.errors import SimulatorError
from ml.sumo import traci_commands as wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_OK_STATUS_LENGTH = 7
_FLOAT_BYTES = 8


def _answer(command: int, variable: int, name: str, value: bytes) -> bytes:
    """Pack SUMO's answer to a question: a good status, and the question with the value."""
    response = command + tc.RESPONSE_GET_VEHICLE_VARIABLE - tc.CMD_GET_VEHICLE_VARIABLE
    content = bytes((variable,)) + wire.string(name) + value
    return _good_statuses(bytes((command,))) + wire.command(response, content)


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
    """Read the list of strings that a get-command without an object answers with.

    Args:
        data: The reply without its length.
        offset: Where its answer starts, behind the status.
    """
    answer = _value(data, offset, "", tc.TYPE_STRINGLIST)
    return list(answer.readStringList())


def read_string(data: bytes, offset: int, name: str) -> str:
    """Read the text that a get-command answers with.

    Args:
        data: The reply without its length.
        offset: Where its answer starts, behind the status.
        name: The object that was asked about.
    """
    return str(_value(data, offset, name, tc.TYPE_STRING).readString())


def _value(data: bytes, offset: int, name: str, wanted: int) -> Any:
    """Return SUMO's own reader (`traci.storage.Storage`) at the value of an answer."""
    start = offset + (1 if data[offset] else 5)
    start += 2 + len(wire.string(name))  # the response's number, the variable, the name
    if data[start] != wanted:
        raise SimulatorError(f"SUMO answered with a value of type {data[start]}, not {wanted}.")
    return Storage(data[start + 1 :])


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


class TickReader:
    """Reads what SUMO answers after a tick; knows beforehand all but the values."""

    def __init__(self, names: Sequence[str]) -> None:
        known = b"".join(
            _answer(tc.CMD_GET_VEHICLE_VARIABLE, value, name, wire.typed_float(0.0))[:-_FLOAT_BYTES]
            for name in names
            for value in wire.VEHICLE_VALUES
        )
        count = len(wire.VEHICLE_VALUES)
        self._known = np.frombuffer(known, np.uint8).reshape(len(names), count, -1)

    def read_cars(
        self, data: NDArray[np.uint8], cars: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Read the answers to `VehicleQuestions`.

        Args:
            data: The answers' bytes and nothing else, uint8.
            cars: int64, who was asked about.

        Returns:
            lane_pos_m, speed_mps: float64, in the order of `cars`. None if the bytes are of
            another form: then SUMO does not know one of them.
        """
        known = self._known[cars]
        shape = (*known.shape[:2], known.shape[2] + _FLOAT_BYTES)
        if data.size != np.prod(shape):
            return None
        answers = data.reshape(shape)
        if not np.array_equal(answers[..., :-_FLOAT_BYTES], known):
            return None
        values = answers[..., -_FLOAT_BYTES:].copy().view(">f8")[..., 0].T.astype(np.float64)
        return values[0], values[1]


_TELEPORTS_FRAME = _answer(
    tc.CMD_GET_SIM_VARIABLE, tc.VAR_TELEPORT_STARTING_VEHICLES_NUMBER, "", wire.typed_int(0)
)


def read_teleports(data: NDArray[np.uint8]) -> tuple[int, int]:
    """Read the number of teleports, which comes first.

    Returns:
        The number, and how many bytes its answer takes.

    Raises:
        SimulatorError: The bytes are of another form.
    """
    size = len(_TELEPORTS_FRAME)
    found = data[:size].tobytes()
    if len(found) != size or found[:-4] != _TELEPORTS_FRAME[:-4]:
        raise SimulatorError(
            f"SUMO's answers after a tick ({data.size} bytes) do not start with the number of "
            "teleports. Is it of another release than this client?",
        )
    return int.from_bytes(found[-4:], "big"), size
