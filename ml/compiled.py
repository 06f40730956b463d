"""Compiled loops: one decorator, so that every kernel is compiled and cached in the same way.

A tick of 64 convoys is a few hundred small numpy calls, and most of their time is the calls
themselves. A kernel says the same as a plain loop over cars and runs as one call. Compilation
takes seconds once; its result is kept in `NUMBA_CACHE_DIR`, or in the cache directory of RoadSense
(see `ml.folders`).
"""

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numpy.typing import NDArray

from ml.folders import default_cache_dir, expand_home

_PACKAGE = Path(__file__).parent
_IMPORT = re.compile(r"^\s*(?:from|import) (ml(?:\.\w+)*)", re.MULTILINE)


@cache
def _imports_of(file: Path) -> tuple[bytes, frozenset[Path]]:
    """Content of a file of this package, and the files of this package that it names as imports."""
    content = file.read_bytes()
    found: set[Path] = set()
    for name in _IMPORT.findall(content.decode()):
        at = _PACKAGE.parent.joinpath(*name.split("."))
        module = at.with_suffix(".py")
        # What is imported from a package may be any of its files.
        found.update([module] if module.is_file() else at.glob("*.py"))
    return content, frozenset(found)


@cache
def _source_digest(file: Path) -> str:
    """Digest of a file and of all that it imports of this package, directly or not.

    numba recompiles a loop when its own file changes, but not when a function or a constant changes
    that it takes from another file. So the loops of a file are kept in a folder of their own for
    each state of all that they can depend on.
    """
    seen, waiting = {file}, [file]
    while waiting:
        new = _imports_of(waiting.pop())[1] - seen
        seen |= new
        waiting += new
    digest = blake2b(digest_size=8)
    for one in sorted(seen):
        digest.update(os.path.relpath(one, _PACKAGE).encode() + b"\0" + _imports_of(one)[0])
    return digest.hexdigest()


@cache
def _cache_folder() -> Path:
    """Where compiled loops are kept; a folder for this process where none can be written."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    folder = expand_home(Path(named)) if named else default_cache_dir() / "numba"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        folder = Path(tempfile.mkdtemp(prefix="roadsense-numba-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _keep_beside_sources(function: Callable[..., object]) -> None:
    """Have numba keep the loop that is declared next in the folder of its file's state."""
    file = Path(function.__code__.co_filename)
    numba.config.CACHE_DIR = str(_cache_folder() / _source_digest(file))  # type: ignore[attr-defined]


Function = TypeVar("Function", bound="Callable[..., object]")


def _loop(function: Function, **options: Any) -> Function:
    """Compile a loop; a division by zero gives what numpy gives, not an exception."""
    _keep_beside_sources(function)
    return cast("Function", numba.njit(cache=True, error_model="numpy", **options)(function))


def compiled(function: Function) -> Function:
    """Compile a function over numbers and arrays at its first call, by numba.

    No fast-math: results are those of the formulas in their written order, on every batch size.
    A division by zero gives what numpy gives, not an exception.
    """
    return _loop(function)


def compiled_without_gil(function: Function) -> Function:
    """Compile as `compiled` does, for work that threads share: it runs beside other Python."""
    return _loop(function, nogil=True)


def compiled_with_fma(function: Function) -> Function:
    """Compile as `compiled` does, but let a product and a sum become one rounding.

    For networks: twice as fast where the processor has such an instruction. The result of a row is
    the same on every batch size still, but not on every processor.
    """
    return _loop(function, fastmath={"contract"})


def inlined(function: Function) -> Function:
    """Compile a part of a kernel, to be copied into the loop that calls it.

    For parts that take whole groups of arrays: to hand those over at each call, and to count who
    holds them, would take longer than the work. Such a part neither makes nor returns an array. A
    kernel that is made of such parts is declared in the same way.
    """
    return _loop(function, forceinline=True, _nrt=False)


def elementwise(signature: str) -> Callable[[Callable[..., object]], Callable[..., NDArray[Any]]]:
    """Compile a function of numbers into a numpy ufunc, which broadcasts over arrays.

    Args:
        signature: Its one signature, as numba writes it: `"float64(uint64)"`.
    """

    def compile_it(function: Callable[..., object]) -> Callable[..., NDArray[Any]]:
        _keep_beside_sources(function)
        compiling = numba.vectorize([signature], cache=True)(function)  # type: ignore[no-untyped-call]
        # The plain ufunc inside: numba's own dress looks at every argument in Python.
        return cast("Callable[..., NDArray[Any]]", compiling.ufunc)

    return compile_it
