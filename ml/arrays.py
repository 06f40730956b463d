"""Arrays by what they hold, as annotations name them, and records of arrays for compiled loops.

A record is a NamedTuple whose fields say kind and shape once: `xy_m: Annotated[Floats, "E N 2"]`.
Letters and names stand for sizes that `allocate` is given.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Words = NDArray[np.uint64]
"""64 bits without a sign: keys of `ml.keyed_random`, masks."""

Record = TypeVar("Record")


def shapes(record: Callable[..., object], sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of a record; see `allocate`."""
    return {
        name: tuple(int(s) if s.isdigit() else sizes[s] for s in get_args(hint)[1].split())
        for name, hint in get_type_hints(record, include_extras=True).items()
        if get_origin(hint) is Annotated
    }


def allocate(record: Callable[..., Record], sizes: Mapping[str, int], **given: Any) -> Record:
    """Make a record whose arrays hold zeros.

    Args:
        record: Its class.
        sizes: What the letters and names of its shapes stand for.
        given: Fields that are something else.
    """
    kinds = get_type_hints(record)
    for name, shape in shapes(record, sizes).items():
        if name not in given:
            (dtype,) = get_args(get_args(kinds[name])[1])
            given[name] = np.zeros(shape, dtype)
    return record(**given)
