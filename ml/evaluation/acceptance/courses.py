"""What the targets are measured on: courses, each some cases of a suite on one radio.

| part | cases |
|---|---|
| `convoy` | the suite's first hazards and first others with 1 to 8 cars ahead, as in training |
| `r157` | the grid at a time gap of 1.0 s |
| `ncap` | CCRb and CCRm, each with many draws of the sensors' errors |
| `plexe` | the swinging car right in front, with many draws |
| `peers` | as `convoy`, with 9 to 12 cars ahead |
| `road` | as `convoy`, on the rural road |
| `radios` | as `convoy`, on radios between and beyond the presets |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from ml.envs.config import KINDS
from ml.evaluation.acceptance.radios import OTHER_RADIOS, write_radio
from ml.evaluation.suites.convoy import balanced
from ml.evaluation.suites.registry import make_suite
from ml.onboard.observation.spec import MAX_PEERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ml.evaluation.acceptance.radios import Base
    from ml.evaluation.suites.suite import Label, Suite

Part = Literal["convoy", "r157", "ncap", "plexe", "peers", "road", "radios"]
BASES: tuple[Base, ...] = ("clean", "bursty", "shadowed")
_BOTH: tuple[Base, ...] = ("clean", "bursty")
_LEAST_EPISODES = 40_000
"""Episodes of `convoy` to choose from; more where they do not suffice. The first are the same."""
_RURAL = "rural"
R157_CASES = 1121


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many cases.

    Attributes:
        hazards: Of `convoy` on each preset.
        others: Benign and free cases of `convoy` on each preset.
        beyond_hazards: On each of the other roads, radios and numbers of peers.
        beyond_others: The same, benign and free.
        r157_each: Every how many cases of the grid; 1 for all.
        ncap_draws: Draws of the sensors' errors.
        plexe_draws: The same.
    """

    hazards: dict[Base, int]
    others: int
    beyond_hazards: int
    beyond_others: int
    r157_each: int
    ncap_draws: int
    plexe_draws: int


@dataclass(frozen=True, slots=True)
class SuiteChoice:
    """A suite, by what a fresh process needs to build it.

    Attributes:
        spec: As `make_suite` takes it; also what its rows say.
    """

    spec: str

    def build(self) -> Suite:
        """Build the suite; a process does so once.

        Raises:
            ConfigError: There is no such suite.
        """
        return _built(self)


@lru_cache(maxsize=4)
def _built(choice: SuiteChoice) -> Suite:
    return make_suite(choice.spec)


@dataclass(frozen=True, slots=True)
class Course:
    """Cases that every driver meets.

    Attributes:
        part: Which part of the table.
        name: Unique.
        suite: Where the cases are from.
        radio: Preset or parameter file.
        bounds: The preset whose bounds hold.
        beyond: Outside what was trained on: bounds are doubled.
        cases: Numbers of the cases.
        weighted: Hazards and other cases are a `convoy`'s, and weighted as there.
    """

    part: Part
    name: str
    suite: SuiteChoice
    radio: str
    bounds: Base
    cases: tuple[int, ...] = field(repr=False)
    beyond: bool = False
    weighted: bool = True


def make_courses(sizes: Sizes, radios_folder: Path, parts: Sequence[Part]) -> list[Course]:
    """List the courses of some parts; writes the files of the radios that no preset is.

    Raises:
        OSError: The folder cannot be written.
    """
    makers: dict[Part, Callable[[], list[Course]]] = {
        "convoy": lambda: _convoys(sizes),
        "r157": lambda: _r157(sizes.r157_each),
        "ncap": lambda: _ncap(sizes.ncap_draws),
        "plexe": lambda: _plexe(sizes.plexe_draws),
        "peers": lambda: _peers(sizes),
        "road": lambda: _road(sizes),
        "radios": lambda: _radios(sizes, radios_folder),
    }
    return [course for part, make in makers.items() if part in parts for course in make()]


def _convoys(sizes: Sizes) -> list[Course]:
    return [
        Course("convoy", f"convoy {radio}", *_picked(sizes.hazards[radio], sizes.others, radio))
        for radio in BASES
    ]


def _picked(
    hazards: int, others: int, radio: Base, *, extrapolated: bool = False
) -> tuple[SuiteChoice, str, Base, tuple[int, ...]]:
    choice, cases = pick_convoy(hazards, others, extrapolated=extrapolated)
    return choice, radio, radio, cases


@lru_cache(maxsize=8)
def pick_convoy(
    hazards: int, others: int, *, extrapolated: bool = False
) -> tuple[SuiteChoice, tuple[int, ...]]:
    """Choose the first hazards and the first other cases of the suite `convoy`.

    Args:
        hazards: How many.
        others: How many.
        extrapolated: Those with more cars ahead than training had, or those with as many.

    Returns:
        The suite, and the cases, hazards first.
    """
    config = make_suite("convoy:1").config
    episodes = _LEAST_EPISODES
    while True:
        strata = balanced(episodes, config)
        here = (strata.num_peers > MAX_PEERS) == extrapolated
        hazard = strata.kind == KINDS.index("hazard")
        brakes, quiet = np.flatnonzero(here & hazard), np.flatnonzero(here & ~hazard)
        if brakes.size >= hazards and quiet.size >= others:
            cases = (*brakes[:hazards].tolist(), *quiet[:others].tolist())
            return SuiteChoice(f"convoy:{episodes}"), cases
        episodes *= 2


def _r157(each: int) -> list[Course]:
    cases = tuple(range(0, R157_CASES, each))
    suite = SuiteChoice("r157:1")
    return [
        Course("r157", f"r157 {radio}", suite, radio, radio, cases, weighted=False)
        for radio in _BOTH
    ]


def _ncap(draws: int) -> list[Course]:
    suite = SuiteChoice(f"ncap:{draws}")
    cases = _labelled(suite, lambda labels: str(labels["test"]).startswith(("CCRb", "CCRm")))
    return [
        Course("ncap", f"ncap {radio}", suite, radio, radio, cases, weighted=False)
        for radio in _BOTH
    ]


def _plexe(draws: int) -> list[Course]:
    suite = SuiteChoice(f"plexe:{draws}")
    cases = _labelled(suite, lambda labels: labels["manoeuvre"] == "sinusoidal in front")
    return [
        Course("plexe", f"plexe {radio}", suite, radio, radio, cases, weighted=False)
        for radio in _BOTH
    ]


def _labelled(choice: SuiteChoice, wanted: Callable[[dict[str, Label]], bool]) -> tuple[int, ...]:
    suite = choice.build()
    return tuple(case for case in range(suite.num_cases) if wanted(suite.labels(case)))


def _peers(sizes: Sizes) -> list[Course]:
    found = []
    for radio in _BOTH:
        picked = _picked(sizes.beyond_hazards, sizes.beyond_others, radio, extrapolated=True)
        found.append(Course("peers", f"9-12 peers {radio}", *picked, beyond=True))
    return found


def _road(sizes: Sizes) -> list[Course]:
    found = []
    for radio in _BOTH:
        choice, cases = pick_convoy(sizes.beyond_hazards, sizes.beyond_others)
        suite = SuiteChoice(f"{choice.spec}@{_RURAL}")
        found.append(
            Course("road", f"{_RURAL} road {radio}", suite, radio, radio, cases, beyond=True)
        )
    return found


def _radios(sizes: Sizes, folder: Path) -> list[Course]:
    suite, cases = pick_convoy(sizes.beyond_hazards, sizes.beyond_others)
    return [
        Course(
            "radios",
            f"radio {radio.name}",
            suite,
            str(write_radio(radio, folder)),
            radio.bounds,
            cases,
            beyond=True,
        )
        for radio in OTHER_RADIOS
    ]
