"""Suites by name: a specification such as `r157:2` names one and its parameter.

`convoy:300@rural` is `convoy:300` on another road: a scenario's name or the path of a sumocfg.
`drives:FOLDER` and `drives-all:FOLDER` take recorded convoys.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ml.envs.episodes.scripted import ManoeuvreCase
from ml.errors import ConfigError, did_you_mean
from ml.evaluation.plan import SUITE_NAMES
from ml.evaluation.suites import cut_in, eebl, ncap, plexe, queue
from ml.evaluation.suites.convoy import convoy
from ml.evaluation.suites.drives import HALVES, drives
from ml.evaluation.suites.r157 import TIME_GAP_S, r157
from ml.evaluation.suites.suite import Suite, scripted_suite
from ml.folders import expand_home
from ml.sumo.scenarios import BUILTIN_SCENARIOS, DEFAULT_SCENARIO, scenario_files

ALL_RADIOS = ("clean", "bursty", "shadowed")


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of suite.

    Attributes:
        build: Takes the specification and the number.
        number: What stands behind the colon by default; one that is whole must stay so.
        radios: Radios that it runs on by default.
        meaning: What that number is.
    """

    build: Callable[[str, float], Suite]
    number: int | float
    radios: tuple[str, ...] = ALL_RADIOS
    meaning: str = "repeats"


def _repeated(
    make: Callable[[], list[ManoeuvreCase]],
    ticks: int,
    reference_gap: float | Literal["own"],
    scenario: str = "highway",
) -> Callable[[str, float], Suite]:
    """Make a suite of manoeuvres, each run as often as the number says."""
    more: dict[str, Any] = {"ticks": ticks, "reference_gap": reference_gap, "scenario": scenario}
    return lambda name, number: scripted_suite(name, make(), repeats=int(number), **more)


ENTRIES: dict[str, Entry] = {
    "convoy": Entry(lambda name, n: convoy(name, int(n)), 1000, meaning="episodes"),
    "r157": Entry(r157, TIME_GAP_S, ("clean",), "time gap in s"),
    "ncap": Entry(_repeated(ncap.ncap, ncap.TICKS, "own"), 4),
    "plexe": Entry(_repeated(plexe.plexe, plexe.TICKS, 1.5), 16, ("clean", "bursty")),
    "eebl": Entry(_repeated(eebl.eebl, eebl.TICKS, 1.5), 2),
    "cut-in": Entry(_repeated(cut_in.cut_in, cut_in.TICKS, "own", "two-lanes"), 1),
    "queue": Entry(_repeated(queue.queue, queue.TICKS, "own", "rural"), 2),
}


def folder_of(spec: str) -> tuple[str, Path, str] | None:
    """Take the specification of a suite of recorded convoys apart: name, folder and scenario.

    A folder's name may hold `:` and `@`; what follows the last `@` is a road if it is called so.

    Returns:
        None for another suite.

    Raises:
        ConfigError: It names no folder.
    """
    name, _, rest = spec.partition(":")
    if name.partition("@")[0] not in HALVES:
        return None
    folder, at, scenario = rest.rpartition("@")
    if not at or not (scenario in BUILTIN_SCENARIOS or scenario.endswith(".sumocfg")):
        folder, scenario = rest, DEFAULT_SCENARIO
    if name not in HALVES or not folder:
        raise ConfigError(f"suite {spec!r}: name a folder of recordings, as drives:my-drives")
    return name, expand_home(Path(folder)), scenario


def suite_files(spec: str) -> dict[str, list[Path]]:
    """List the files of a suite by the path that its specification names: a road, recordings.

    The specification is complete: its paths are absolute.
    """
    of_folder = folder_of(spec)
    found: dict[str, list[Path]] = {}
    if of_folder is not None:
        _, folder, scenario = of_folder
        found[str(folder)] = sorted(folder.rglob("*.csv"))
    else:
        scenario = spec.partition("@")[2]
    if scenario and scenario not in BUILTIN_SCENARIOS:
        found[scenario] = scenario_files(Path(scenario))
    return found


def suite_at(spec: str, places: Mapping[str, str]) -> str:
    """Return a complete specification with the paths of `suite_files` as they are elsewhere."""
    of_folder = folder_of(spec)
    if of_folder is None:
        plain, at, scenario = spec.partition("@")
        return f"{plain}{at}{places.get(scenario, scenario)}"
    name, folder, scenario = of_folder
    road = "" if scenario == DEFAULT_SCENARIO else f"@{places.get(scenario, scenario)}"
    return f"{name}:{places[str(folder)]}{road}"


def _recorded(name: str, _: float) -> Suite:
    found = folder_of(name)
    assert found is not None  # noqa: S101 - whoever calls has looked
    kind, folder, scenario = found
    return drives(name, folder, HALVES[kind], scenario)


_OF_FOLDER = Entry(_recorded, 1)


def entry_of(spec: str) -> Entry:
    """Find the kind of suite that a specification names.

    Raises:
        ConfigError: There is no such suite.
    """
    if folder_of(spec):
        return _OF_FOLDER
    name = spec.partition("@")[0].partition(":")[0]
    if name not in ENTRIES:
        known = (*SUITE_NAMES, *HALVES)
        hint = did_you_mean(name, known)
        raise ConfigError(f"there is no suite {name!r}.{hint} Known: {', '.join(known)}")
    return ENTRIES[name]


@lru_cache(maxsize=16)
def make_suite(spec: str) -> Suite:
    """Return the suite of a specification: `NAME`, `NAME:NUMBER`, either with `@SCENARIO`.

    Raises:
        ConfigError: There is no such suite, the number is none, or the scenario has no name.
        LogError: A recording is wrong, or a folder has none.
    """
    entry = entry_of(spec)
    if entry is _OF_FOLDER:
        return entry.build(spec, entry.number)
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
