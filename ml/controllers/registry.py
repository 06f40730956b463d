"""Controllers by name: a specification such as "cth:1.1" names one and its parameters."""

from pathlib import Path
from typing import Literal

from ml.controllers.catalogue import ENTRIES, Entry
from ml.controllers.protocol import Controller, Wrapped
from ml.controllers.tuned import controller_from_file
from ml.errors import ConfigError, did_you_mean

_MOST_PARAMETERS = 2
_WRAPPERS: dict[str, Literal["truth", "nothing"]] = {"truth": "truth", "off": "nothing"}


def make_controller(spec: str) -> Controller:
    """Build a controller from its specification.

    Args:
        spec: `name`, `name:time_gap_s` or `name:time_gap_s:standstill_m`, as in "cth:1.1", or
            `name@FILE` with a file of parameters (`tuned.controller_from_file`). In front,
            "truth:" gives it perfect knowledge and "off:" takes its radio away.

    Raises:
        ConfigError: There is no such controller, its parameters are not numbers, or the file
            cannot be read or does not fit.
    """
    head, _, rest = spec.partition(":")
    if head in _WRAPPERS and rest:
        return Wrapped(make_controller(rest), _WRAPPERS[head])
    name, has_file, file = spec.partition("@")
    if has_file:
        return controller_from_file(name, Path(file))
    entry = _entry(head, spec)
    texts = rest.split(":") if rest else []
    most = _MOST_PARAMETERS if entry.time_gaps_s else 0
    if len(texts) > most:
        raise ConfigError(
            f"controller {spec!r}: {head} takes "
            + ("a time gap and a standstill distance at most" if most else "no parameters")
        )
    return entry.build(*(_number(text, spec) for text in texts))


def frontier(name: str) -> list[str]:
    """Specifications of one kind of controller over its usual time gaps.

    Raises:
        ConfigError: There is no such controller.
    """
    entry = _entry(name, name)
    return [f"{name}:{gap_s:g}" for gap_s in entry.time_gaps_s] or [name]


def controller_names() -> list[str]:
    """Every name that `make_controller` knows, bounds first."""
    return list(ENTRIES)


def _entry(name: str, spec: str) -> Entry:
    if name not in ENTRIES:
        hint = did_you_mean(name, [*ENTRIES, *_WRAPPERS])
        raise ConfigError(
            f"controller {spec!r}: there is no {name!r}.{hint} Known: {', '.join(ENTRIES)}; "
            "'truth:NAME' and 'off:NAME' go in front of any."
        )
    return ENTRIES[name]


def _number(text: str, spec: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise ConfigError(
            f"controller {spec!r}: {text!r} is not a number from 0 on. Write "
            "NAME:time_gap_s:standstill_m, as in 'cth:1.1:9'."
        )
    return value
