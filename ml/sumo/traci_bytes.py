"""TraCI's bytes: commands packed, replies read.

Everything is big-endian. A command is its length (one byte, or 0 and four bytes), its number and
its content. Each gets a status: length, number, result and a text that is empty when all went
well, so seven bytes. Vehicle identifiers have a fixed length, so what is said about all cars in a
tick is records of a fixed stride, which numpy writes and reads at once.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from traci import constants as tc
from traci.storage import Storage

from ml.arrays import Floats, Ints
from ml.errors import SimulatorError

# What is asked of every car after a tick, in this order; all are doubles.
VEHICLE_VALUES = (tc.VAR_LANEPOSITION, tc.VAR_SPEED)

_SHORT_COMMAND = 255
_OK_STATUS_LENGTH = 7
_FLOAT_BYTES = 8


def string(text: str) -> bytes:
    """Pack a string: its length and its bytes."""
    data = text.encode()
    return struct.pack("!i", len(data)) + data


def typed(value: float | str) -> bytes:
    """Pack a text, or a number as a double, which SUMO wants for 15 m/s as for 15.0."""
    if isinstance(value, str):
        return bytes((tc.TYPE_STRING,)) + string(value)
    return struct.pack("!Bd", tc.TYPE_DOUBLE, value)


def typed_int(value: int) -> bytes:
    """Pack a whole number as such."""
    return struct.pack("!Bi", tc.TYPE_INTEGER, value)


def compound(*values: float | str | bytes) -> bytes:
    """Pack values into one; bytes are typed already."""
    items = [value if isinstance(value, bytes) else typed(value) for value in values]
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


# libsumo's functions: command, variable, and how their arguments are packed.
_VEHICLE, _TYPE = tc.CMD_SET_VEHICLE_VARIABLE, tc.CMD_SET_VEHICLETYPE_VARIABLE
_FUNCTIONS: dict[str, tuple[int, int, Callable[..., bytes]]] = {
    "gui_setZoom": (tc.CMD_SET_GUI_VARIABLE, tc.VAR_VIEW_ZOOM, typed),
    "gui_trackVehicle": (tc.CMD_SET_GUI_VARIABLE, tc.VAR_TRACK_VEHICLE, typed),
    # Behind what libsumo's function takes comes what else SUMO wants to know, as it stands.
    "vehicle_add": (
        _VEHICLE,
        tc.ADD_FULL,
        lambda *words: compound(
            *words, "current", "max", "current", "", "", "", typed_int(0), typed_int(0)
        ),
    ),
    "vehicle_changeLane": (
        _VEHICLE,
        tc.CMD_CHANGELANE,
        lambda lane, kept_s: compound(struct.pack("!Bb", tc.TYPE_BYTE, lane), kept_s),
    ),
    "vehicle_moveTo": (
        _VEHICLE,
        tc.VAR_MOVE_TO,
        lambda *to: compound(*to, typed_int(tc.MOVE_AUTOMATIC)),
    ),
    "vehicle_remove": (
        _VEHICLE,
        tc.REMOVE,
        lambda: struct.pack("!Bb", tc.TYPE_BYTE, tc.REMOVE_VAPORIZED),
    ),
    "vehicle_setLaneChangeMode": (_VEHICLE, tc.VAR_LANECHANGE_MODE, typed_int),
    "vehicle_setMinGap": (_VEHICLE, tc.VAR_MINGAP, typed),
    "vehicle_setPreviousSpeed": (_VEHICLE, tc.VAR_PREV_SPEED, compound),
    "vehicle_setSpeed": (_VEHICLE, tc.VAR_SPEED, typed),
    "vehicle_setSpeedFactor": (_VEHICLE, tc.VAR_SPEED_FACTOR, typed),
    "vehicle_setSpeedMode": (_VEHICLE, tc.VAR_SPEEDSETMODE, typed_int),
    "vehicle_setType": (_VEHICLE, tc.VAR_TYPE, typed),
    "vehicletype_setAccel": (_TYPE, tc.VAR_ACCEL, typed),
    "vehicletype_setDecel": (_TYPE, tc.VAR_DECEL, typed),
    "vehicletype_setTau": (_TYPE, tc.VAR_TAU, typed),
}


class Script:
    """Commands under the names of libsumo's functions, packed instead of carried out.

    Attributes:
        body: All commands in a row.
        numbers: Their numbers in the same order.
    """

    def __init__(self) -> None:
        self.body = bytearray()
        self.numbers = bytearray()

    def __getattr__(self, function: str) -> Callable[..., None]:
        return partial(self._tell, *_FUNCTIONS[function])

    def _tell(
        self,
        number: int,
        variable: int,
        pack: Callable[..., bytes],
        name: str,
        *values: float | str,
    ) -> None:
        self.add(number, command(number, bytes((variable,)) + string(name) + pack(*values)))

    def add(self, number: int, packed: bytes, count: int = 1) -> None:
        """Append commands of one number that are packed already."""
        self.body += packed
        self.numbers += bytes((number,)) * count


class FloatRecords:
    """Bytes about each car that end in a float64, written or read for many cars in one go.

    Args:
        packed: What is said of one car after the other, `per_car` pieces of one length for each,
            whatever their last eight bytes.
        per_car: How many pieces there are for a car.
    """

    def __init__(self, packed: Iterable[bytes], per_car: int = 1) -> None:
        pieces = list(packed)
        everything = np.frombuffer(b"".join(pieces), np.uint8)
        self._pieces = everything.reshape(len(pieces) // per_car, per_car, -1).copy()
        self._pieces[..., -_FLOAT_BYTES:] = 0
        self._expected = b""
        self._expected_of: Ints | None = None

    def pack(self, cars: Ints, values: Floats) -> bytes:
        """Pack a value for each of `cars`."""
        pieces = self._pieces[cars]
        numbers = values.astype(">f8").view(np.uint8)
        pieces[:, 0, -_FLOAT_BYTES:] = numbers.reshape(-1, _FLOAT_BYTES)
        return pieces.tobytes()

    def read(self, data: NDArray[np.uint8], cars: Ints) -> Floats | None:
        """Read what is said of `cars` and nothing else, uint8.

        Returns:
            (per_car, cars) float64; None if the bytes are of another form.
        """
        if cars is not self._expected_of:  # the same from tick to tick
            self._expected, self._expected_of = self._pieces[cars].tobytes(), cars
        if data.size != len(self._expected):
            return None
        pieces = data.reshape(len(cars), *self._pieces.shape[1:]).copy()
        numbers = pieces[..., -_FLOAT_BYTES:].copy().view(">f8")
        pieces[..., -_FLOAT_BYTES:] = 0
        if pieces.tobytes() != self._expected:
            return None
        return numbers[..., 0].T.astype(np.float64)


def set_floats(variable: int, names: Sequence[str]) -> FloatRecords:
    """Return the commands that set a number of each vehicle, e.g. its speed."""
    content = bytes((variable,))
    return FloatRecords(
        command(tc.CMD_SET_VEHICLE_VARIABLE, content + string(name) + typed(0.0)) for name in names
    )


def questions(names: Sequence[str]) -> NDArray[np.uint8]:
    """Return (vehicles, bytes) uint8, the questions after `VEHICLE_VALUES` of each vehicle."""
    ask = tc.CMD_GET_VEHICLE_VARIABLE
    packed = (get(ask, value, name) for name in names for value in VEHICLE_VALUES)
    return np.frombuffer(b"".join(packed), np.uint8).reshape(len(names), -1)


def answers(names: Sequence[str]) -> FloatRecords:
    """Return what SUMO answers to `questions`, if it knows the vehicle."""
    number, ask = typed(0.0), tc.CMD_GET_VEHICLE_VARIABLE
    packed = (_answer(ask, value, name, number) for name in names for value in VEHICLE_VALUES)
    return FloatRecords(packed, per_car=len(VEHICLE_VALUES))


def _answer(number: int, variable: int, name: str, value: bytes) -> bytes:
    """Pack SUMO's answer to a question: a good status, and the question with the value."""
    response = number + tc.RESPONSE_GET_VEHICLE_VARIABLE - tc.CMD_GET_VEHICLE_VARIABLE
    content = bytes((variable,)) + string(name) + value
    return _good_statuses(bytes((number,))) + command(response, content)


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


def read_value(data: bytes, offset: int, wanted: int, name: str = "") -> Any:
    """Return SUMO's own reader (`traci.storage.Storage`) at the value that a get-command brought.

    Args:
        data: The reply without its length.
        offset: Where its answer starts, behind the status.
        wanted: The value's type.
        name: The object that was asked about.
    """
    start = offset + (1 if data[offset] else 5)
    start += 2 + len(string(name))  # the response's number, the variable, the name
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


def read_teleports(data: NDArray[np.uint8]) -> tuple[int, int]:
    """Read the number of teleports, which comes first.

    Returns:
        The number, and how many bytes its answer takes.

    Raises:
        SimulatorError: The bytes are of another form.
    """
    variable = tc.VAR_TELEPORT_STARTING_VEHICLES_NUMBER
    form = _answer(tc.CMD_GET_SIM_VARIABLE, variable, "", typed_int(0))
    size = len(form)
    found = data[:size].tobytes()
    if len(found) != size or found[:-4] != form[:-4]:
        raise SimulatorError(
            f"SUMO's answers after a tick ({data.size} bytes) do not start with the number of "
            "teleports. Is it of another release than this client?"
        )
    return int.from_bytes(found[-4:], "big"), size
