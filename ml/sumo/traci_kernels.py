"""TraCI's vehicle values, read in one compiled loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.compiled import compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIXED, CONVOY_DIGIT, SLOT_DIGIT, POSITION, SPEED = range(5)
UNDERSTOOD = -1
_ZERO = ord("0")


@compiled
def read_records(
    data: NDArray[np.uint8],
    start: int,
    stride: int,
    frame: NDArray[np.uint8],
    meaning: NDArray[np.uint8],
    num_vehicles: int,
    num_cars: int,
    cars: NDArray[np.int64],
    lane_pos_bits: NDArray[np.int64],
    speed_bits: NDArray[np.int64],
) -> int:
    """Read subscription results that all have one form.

    Args:
        data: (bytes,) uint8, long enough for what is asked for.
        start: Where the first result starts.
        stride: Bytes from one result to the next.
        frame: (record,) uint8, the bytes that are the same in every result.
        meaning: (record,) uint8, what each byte of a result is.
        num_vehicles: V.
        num_cars: E · V.
        cars: (n,) int64, filled: convoy · V + slot of each result.
        lane_pos_bits: (n,) int64, filled: the bits of a float64.
        speed_bits: (n,) int64, filled: the bits of a float64.

    Returns:
        UNDERSTOOD, or the number of the first result of another form or of no car of ours.
    """
    for row in range(cars.size):
        first = start + row * stride
        convoy, slot, position, speed = 0, 0, 0, 0
        for column in range(frame.size):
            byte = int(data[first + column])
            what = meaning[column]
            if what == FIXED:
                if byte != frame[column]:
                    return row
            elif what == POSITION:
                position = (position << 8) | byte
            elif what == SPEED:
                speed = (speed << 8) | byte
            else:
                digit = byte - _ZERO
                if not 0 <= digit <= 9:  # noqa: PLR2004
                    return row
                if what == CONVOY_DIGIT:
                    convoy = 10 * convoy + digit
                else:
                    slot = 10 * slot + digit
        car = convoy * num_vehicles + slot
        if slot >= num_vehicles or car >= num_cars:
            return row
        cars[row] = car
        lane_pos_bits[row] = position
        speed_bits[row] = speed
    return UNDERSTOOD
