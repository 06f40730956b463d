"""Suites by name: a specification such as `r157:2` names one and its parameter.

`convoy:300@rural` is `convoy:300` on another road: a scenario's name or the path of a sumocfg.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ml.errors import ConfigError, did_you_mean
from ml.evaluation.suites.convoy import convoy
from ml.evaluation.suites.cut_in import cut_in
from ml.evaluation.suites.eebl import eebl
from ml.evaluation.suites.names import SUITE_NAMES
from ml.evaluation.suites.ncap import ncap
from ml.evaluation.suites.plexe import plexe
from ml.evaluation.suites.queue import queue
from ml.evaluation.suites.r157 import TIME_GAP_S, r157

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml.evaluation.suites.suite import Suite

ALL_RADIOS = ("clean", "bursty", "shadowed")


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of suite.

    Attributes:
        build: Takes the specification and the number.
        number: What stands behind the colon by default; one that is whole must stay so.
        meaning: What that number is.
        radios: Radios that it runs on by default.
    """

    build: Callable[[str, float], Suite]
    number: int | float
    meaning: str
    radios: tuple[str, ...]


ENTRIES: dict[str, Entry] = {
    "convoy": Entry(lambda s, n: convoy(s, int(n)), 1000, "episodes", ALL_RADIOS),
    "r157": Entry(r157, TIME_GAP_S, "time gap in s", ("clean",)),
    "ncap": Entry(lambda s, n: ncap(s, int(n)), 4, "repeats", ALL_RADIOS),
    "plexe": Entry(lambda s, n: plexe(s, int(n)), 16, "repeats", ("clean", "bursty")),
    "eebl": Entry(lambda s, n: eebl(s, int(n)), 2, "repeats", ALL_RADIOS),
    "cut-in": Entry(lambda s, n: cut_in(s, int(n)), 1, "repeats", ALL_RADIOS),
    "queue": Entry(lambda s, n: queue(s, int(n)), 2, "repeats", ALL_RADIOS),
}


def entry_of(spec: str) -> Entry:
    """Find the kind of suite that a specification names.

    Raises:
        ConfigError: There is no such suite.
    """
    name = spec.partition("@")[0].partition(":")[0]
    if name not in ENTRIES:
        hint = did_you_mean(name, SUITE_NAMES)
        raise ConfigError(f"there is no suite {name!r}.{hint} Known: {', '.join(SUITE_NAMES)}")
    return ENTRIES[name]


@lru_cache(maxsize=16)
def make_suite(spec: str) -> Suite:
    """Return the suite of a specification: `NAME`, `NAME:NUMBER`, either with `@SCENARIO`.

    Raises:
        ConfigError: There is no such suite, the number is none, or the scenario has no name.
    """
    entry = entry_of(spec)
    plain, at, scenario = spec.partition("@")
    if at and not scenario:
        raise ConfigError(f"suite {spec!r}: name a road behind the @, as {plain}@rural")
    name, _, text = plain.partition(":")
    number: float = entry.number
    whole = isinstance(entry.number, int)
    if text:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
    if not 0.0 < number <= 1e6 or (whole and number != int(number)):  # noqa: PLR2004
        allowed = "a whole number from 1 on" if whole else "a number above 0"
        raise ConfigError(f"suite {spec!r}: {text!r} is no {entry.meaning}; write {name}:{allowed}")
    suite = entry.build(spec, number)
    if not scenario:
        return suite
    return replace(suite, config=suite.config.model_copy(update={"scenario": scenario}))
