"""TraCI's commands as bytes.

Everything is big-endian. A command is its length (one byte, or 0 and four bytes), its number and
its content. Vehicle identifiers have a fixed length, so the commands of a tick are records of a
fixed stride, which numpy writes at once.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
from traci import constants as tc

from ml.sumo.names import VEHICLE_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# What is asked of every car after a tick, in this order; all are doubles.
VEHICLE_VALUES = (tc.VAR_LANEPOSITION, tc.VAR_SPEED)

_SHORT_COMMAND = 255
_FIRST_VIEW = "View #0"
# One set-command with a number as its value, e.g. setSpeed.
_SET_FLOAT = np.dtype(
    [
        ("length", "u1"),
        ("command", "u1"),
        ("variable", "u1"),
        ("id_length", ">i4"),
        ("id", f"S{VEHICLE_ID_LENGTH}"),
        ("type", "u1"),
        ("value", ">f8"),
    ],
)


def string(text: str) -> bytes:
    """Pack a string: its length and its bytes."""
    data = text.encode()
    return struct.pack("!i", len(data)) + data


def typed_string(text: str) -> bytes:
    """Pack a string value."""
    return bytes((tc.TYPE_STRING,)) + string(text)


def typed_float(value: float) -> bytes:
    """Pack a double value."""
    return struct.pack("!Bd", tc.TYPE_DOUBLE, value)


def typed_int(value: int) -> bytes:
    """Pack an integer value."""
    return struct.pack("!Bi", tc.TYPE_INTEGER, value)


def typed_byte(value: int) -> bytes:
    """Pack a byte value."""
    return struct.pack("!Bb", tc.TYPE_BYTE, value)


def typed_strings(texts: Sequence[str]) -> bytes:
    """Pack a list of strings."""
    return struct.pack("!Bi", tc.TYPE_STRINGLIST, len(texts)) + b"".join(map(string, texts))


def compound(*items: bytes) -> bytes:
    """Pack values that are already typed into one."""
    return struct.pack("!Bi", tc.TYPE_COMPOUND, len(items)) + b"".join(items)


def command(number: int, content: bytes = b"") -> bytes:
    """Pack one command."""
    length = len(content) + 2
    if length <= _SHORT_COMMAND:
        return bytes((length, number)) + content
    return struct.pack("!BiB", 0, length + 4, number) + content


def number_of(packed: bytes) -> int:
    """Return the number of a packed command."""
    return packed[1] if packed[0] else packed[5]


def set_vehicle(variable: int, name: str, value: bytes) -> bytes:
    """Pack a command that changes a vehicle."""
    return command(tc.CMD_SET_VEHICLE_VARIABLE, bytes((variable,)) + string(name) + value)


def set_vehicle_type(variable: int, name: str, value: bytes) -> bytes:
    """Pack a command that changes a vehicle type."""
    return command(tc.CMD_SET_VEHICLETYPE_VARIABLE, bytes((variable,)) + string(name) + value)


def set_gui(variable: int, value: bytes) -> bytes:
    """Pack a command that changes what sumo-gui's first view shows."""
    return command(tc.CMD_SET_GUI_VARIABLE, bytes((variable,)) + string(_FIRST_VIEW) + value)


def _get_simulation(variable: int) -> bytes:
    return command(tc.CMD_GET_SIM_VARIABLE, bytes((variable,)) + string(""))


def get_vehicle(variable: int, name: str) -> bytes:
    """Pack a question after a vehicle's value."""
    return command(tc.CMD_GET_VEHICLE_VARIABLE, bytes((variable,)) + string(name))


SIMULATION_STEP = command(tc.CMD_SIMSTEP, struct.pack("!d", 0.0))
GET_TELEPORTS = _get_simulation(tc.VAR_TELEPORT_STARTING_VEHICLES_NUMBER)
GET_COLLIDING = _get_simulation(tc.VAR_COLLIDING_VEHICLES_IDS)
GET_VEHICLES = get_vehicle(tc.TRACI_ID_LIST, "")


class FloatCommands:
    """Set-commands with one number, one template per vehicle, packed in one go."""

    def __init__(self, variable: int, names: Sequence[str]) -> None:
        self._templates = np.zeros(len(names), dtype=_SET_FLOAT)
        self._templates["length"] = _SET_FLOAT.itemsize
        self._templates["command"] = tc.CMD_SET_VEHICLE_VARIABLE
        self._templates["variable"] = variable
        self._templates["id_length"] = VEHICLE_ID_LENGTH
        self._templates["id"] = names
        self._templates["type"] = tc.TYPE_DOUBLE

    def pack(self, index: NDArray[np.int64], values: NDArray[np.float64]) -> bytes:
        """Pack the commands for the vehicles at `index`."""
        records = self._templates[index]
        records["value"] = values
        return records.tobytes()


class VehicleQuestions:
    """The questions after `VEHICLE_VALUES`, for many vehicles packed in one go."""

    def __init__(self, names: Sequence[str]) -> None:
        packed = (get_vehicle(value, name) for name in names for value in VEHICLE_VALUES)
        self._records = np.frombuffer(b"".join(packed), np.uint8).reshape(len(names), -1)

    def pack(self, index: NDArray[np.int64]) -> bytes:
        """Pack the questions after the vehicles at `index`."""
        return self._records[index].tobytes()
