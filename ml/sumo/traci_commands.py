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
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

# What is asked of every car after a tick, in this order; all are doubles.
VEHICLE_VALUES = (tc.VAR_LANEPOSITION, tc.VAR_SPEED)

_SHORT_COMMAND = 255
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


def get(number: int, variable: int, name: str = "") -> bytes:
    """Pack a question after a value of an object, or of the simulation."""
    return command(number, bytes((variable,)) + string(name))


SIMULATION_STEP = command(tc.CMD_SIMSTEP, struct.pack("!d", 0.0))
GET_TELEPORTS = get(tc.CMD_GET_SIM_VARIABLE, tc.VAR_TELEPORT_STARTING_VEHICLES_NUMBER)
GET_COLLIDING = get(tc.CMD_GET_SIM_VARIABLE, tc.VAR_COLLIDING_VEHICLES_IDS)
GET_VEHICLES = get(tc.CMD_GET_VEHICLE_VARIABLE, tc.TRACI_ID_LIST)


def _added(route: str, kind: str, depart: str, lane: str, position: str, speed: str) -> bytes:
    """Pack what `vehicle_add` takes, and the rest of what SUMO wants to know as it stands."""
    words = (route, kind, depart, lane, position, speed, "current", "max", "current", "", "", "")
    return compound(*map(typed_string, words), typed_int(0), typed_int(0))


def _moved(lane: str, lane_pos_m: float) -> bytes:
    automatic = typed_int(tc.MOVE_AUTOMATIC)
    return compound(typed_string(lane), typed_float(lane_pos_m), automatic)


# libsumo's functions: command, variable, and how their arguments are packed.
_VEHICLE, _TYPE = tc.CMD_SET_VEHICLE_VARIABLE, tc.CMD_SET_VEHICLETYPE_VARIABLE
_FUNCTIONS: dict[str, tuple[int, int, Callable[..., bytes]]] = {
    "gui_setZoom": (tc.CMD_SET_GUI_VARIABLE, tc.VAR_VIEW_ZOOM, typed_float),
    "gui_trackVehicle": (tc.CMD_SET_GUI_VARIABLE, tc.VAR_TRACK_VEHICLE, typed_string),
    "vehicle_add": (_VEHICLE, tc.ADD_FULL, _added),
    "vehicle_changeLane": (
        _VEHICLE,
        tc.CMD_CHANGELANE,
        lambda lane, kept_s: compound(typed_byte(lane), typed_float(kept_s)),
    ),
    "vehicle_moveTo": (_VEHICLE, tc.VAR_MOVE_TO, _moved),
    "vehicle_remove": (_VEHICLE, tc.REMOVE, lambda: typed_byte(tc.REMOVE_VAPORIZED)),
    "vehicle_setLaneChangeMode": (_VEHICLE, tc.VAR_LANECHANGE_MODE, typed_int),
    "vehicle_setMinGap": (_VEHICLE, tc.VAR_MINGAP, typed_float),
    "vehicle_setPreviousSpeed": (
        _VEHICLE,
        tc.VAR_PREV_SPEED,
        lambda speed_mps, accel_mps2: compound(typed_float(speed_mps), typed_float(accel_mps2)),
    ),
    "vehicle_setSpeed": (_VEHICLE, tc.VAR_SPEED, typed_float),
    "vehicle_setSpeedFactor": (_VEHICLE, tc.VAR_SPEED_FACTOR, typed_float),
    "vehicle_setSpeedMode": (_VEHICLE, tc.VAR_SPEEDSETMODE, typed_int),
    "vehicle_setType": (_VEHICLE, tc.VAR_TYPE, typed_string),
    "vehicletype_setAccel": (_TYPE, tc.VAR_ACCEL, typed_float),
    "vehicletype_setDecel": (_TYPE, tc.VAR_DECEL, typed_float),
    "vehicletype_setTau": (_TYPE, tc.VAR_TAU, typed_float),
}


class Script:
    """Commands under the names of libsumo's functions, packed instead of carried out."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self._numbers = bytearray()

    def __getattr__(self, function: str) -> Callable[..., None]:
        """Return what packs a call of one of libsumo's functions."""
        number, variable, pack = _FUNCTIONS[function]

        def tell(name: str, *values: float | str) -> None:
            content = bytes((variable,)) + string(name) + pack(*values)
            self.add(number, command(number, content))

        return tell

    def add(self, number: int, packed: bytes, count: int = 1) -> None:
        """Append commands of one number that are packed already."""
        self._packed.append(packed)
        self._numbers += bytes((number,)) * count

    @property
    def body(self) -> bytes:
        """All commands in a row."""
        return b"".join(self._packed)

    @property
    def numbers(self) -> bytes:
        """Their numbers in the same order."""
        return bytes(self._numbers)


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
        ask = tc.CMD_GET_VEHICLE_VARIABLE
        packed = (get(ask, value, name) for name in names for value in VEHICLE_VALUES)
        self._records = np.frombuffer(b"".join(packed), np.uint8).reshape(len(names), -1)

    def pack(self, index: NDArray[np.int64]) -> bytes:
        """Pack the questions after the vehicles at `index`."""
        return self._records[index].tobytes()
