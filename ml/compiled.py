"""Compiled loops: one decorator, so that every kernel is compiled and cached in the same way.

A tick of 64 convoys is a few hundred small numpy calls, and most of their time is the calls
themselves. A kernel says the same as a plain loop over cars and runs as one call. Compilation
takes seconds once; its result is cached beside the source, or in `NUMBA_CACHE_DIR`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Function = TypeVar("Function", bound="Callable[..., object]")


def compiled(function: Function) -> Function:
    """Compile a function over numbers and arrays at its first call, by numba.

    No fast-math: results are those of the formulas in their written order, on every batch size.
    A division by zero gives what numpy gives, not an exception.
    """
    return cast("Function", numba.njit(cache=True, error_model="numpy")(function))


def elementwise(
    signature: str,
) -> Callable[[Callable[..., object]], Callable[..., NDArray[Any]]]:
    """Compile a function of numbers into a numpy ufunc, which broadcasts over arrays.

    Args:
        signature: Its one signature, as numba writes it: `"float64(uint64)"`.
    """

    def compile_it(function: Callable[..., object]) -> Callable[..., NDArray[Any]]:
        ufunc = numba.vectorize([signature], cache=True)(function)  # type: ignore[no-untyped-call]
        return cast("Callable[..., NDArray[Any]]", ufunc)

    return compile_it
