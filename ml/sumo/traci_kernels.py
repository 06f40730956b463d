"""TraCI's answers about vehicles, read in one compiled loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.compiled import compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNDERSTOOD = -1
_VALUE_BYTES = 8  # a float64


@compiled
def read_answers(
    data: NDArray[np.uint8],
    cars: NDArray[np.int64],
    frames: NDArray[np.uint8],
    value_bits: NDArray[np.int64],
) -> int:
    """Read the answers to questions after numbers, several for each car.

    An answer is bytes that are known beforehand and then a big-endian float64.

    Args:
        data: (n · values · answer,) uint8.
        cars: (n,) int64, the cars that were asked about, in order.
        frames: (N, values, answer) uint8, every car's answers, whatever their last eight bytes.
        value_bits: (values, n) int64, filled: the bits of the float64 numbers.

    Returns:
        UNDERSTOOD, or the place in `cars` of the first whose answers are of another form.
    """
    _, values, answer = frames.shape
    known = answer - _VALUE_BYTES
    at = 0
    for row in range(cars.size):
        for value in range(values):
            for column in range(known):
                if data[at + column] != frames[cars[row], value, column]:
                    return row
            bits = 0
            for column in range(known, answer):
                bits = (bits << 8) | int(data[at + column])
            value_bits[value, row] = bits
            at += answer
    return UNDERSTOOD
