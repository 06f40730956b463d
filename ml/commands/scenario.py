"""`roadsense scenario check`: all that is wrong with a road, what mends it, and what it is like.

Exit codes: 0 convoys drive on it; 2 they do not, or the command was wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ml.console import counted, make_console
from ml.errors import RoadSenseError
from ml.options import read_subcommand

if TYPE_CHECKING:
    from ml.sumo.network import RouteNetwork
    from ml.sumo.road import Road

_CONVOYS = 8
_KMH = 3.6
_MARGIN = len("wrong  ")
_WRAPPED: dict[str, Any] = {"subsequent_indent": " " * _MARGIN, "break_long_words": False,
                            "break_on_hyphens": False}  # fmt: skip
_SLOW_SHARE = 0.6
_MOST_LISTED = 6
_WAYS = {
    "w": "everybody stops",
    "s": "the convoy's side has a stop sign",
    "m": "the convoy's side gives way",
    "=": "the right goes first",
    "Z": "lanes take turns",
}


@dataclass(frozen=True)
class CheckOptions:
    """Say all that keeps convoys off a road, with the commands that mend it, and what it is like.

    Then convoys drive on it for an episode, each behind cars that SUMO drives, with an ego that
    holds its speed. Takes seconds; a minute more the first time, when loops are compiled. Exit
    code 0: they drive. 2: they do not.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """A .sumocfg file, or the name of a built-in scenario."""
    drive: bool = True
    """Drive on it; --no-drive only reads."""


def main(arguments: Sequence[str]) -> int:
    """Run `roadsense scenario`; return the exit code.

    Raises:
        RoadSenseError: There is no such sumocfg, or it is malformed.
    """
    options = read_subcommand({"check": CheckOptions}, "roadsense scenario", arguments)
    console = make_console()
    from ml.sumo.scenarios import examine_scenario  # noqa: PLC0415 (slow to import)

    def say(kind: str, text: str, style: str = "") -> None:
        indented = fill(text, console.width, initial_indent=f"{kind:<{_MARGIN}}", **_WRAPPED)
        console.print(indented, style=style, markup=False, highlight=False, soft_wrap=True)

    examined = examine_scenario(str(options.file))
    for problem in examined.problems:
        say("wrong", f"{problem.what} {problem.remedy}".rstrip(), "bold red")
        if problem.command:  # whole, for whoever copies it
            console.print(f"  {problem.command}", markup=False, highlight=False, soft_wrap=True)
    if examined.network is not None:
        for kind, text in _notes(examined.network):
            say(kind, text)
    if examined.problems:
        say("", f"{counted(len(examined.problems), 'thing')} to mend; then check again", "bold")
        return 2
    if options.drive:
        say("drive", f"{_CONVOYS} convoys, one episode …")
        try:
            how = _drive(str(options.file))
        except RoadSenseError as error:
            say("wrong", str(error), "bold red")
            return 2
        say("ok", how, "green")
    else:
        say("ok", "nothing is wrong; not driven", "green")
    return 0


def _drive(scenario: str) -> str:
    """Let convoys drive for an episode; return how they ended.

    Raises:
        RoadSenseError: They cannot.
    """
    import numpy as np  # noqa: PLC0415

    from ml.envs.config import EnvConfig  # noqa: PLC0415
    from ml.envs.convoy_vec_env import ConvoyVecEnv  # noqa: PLC0415
    from ml.vehicle import DT_S  # noqa: PLC0415

    config = EnvConfig(scenario=scenario)
    env = ConvoyVecEnv(_CONVOYS, config, forced_kind="free")
    ends: Counter[str] = Counter()
    try:
        env.reset()
        hold = np.zeros((_CONVOYS, 1), dtype=np.float32)
        for _ in range(round(config.episode_s / DT_S)):
            infos = env.step(hold)[3]
            ends.update(info["episode_summary"]["status"] for info in infos if info)
    finally:
        env.close()
    told = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in ends.items())
    return f"convoys drive; with an ego that holds its speed their episodes end so: {told}"


def _notes(network: RouteNetwork) -> Iterator[tuple[str, str]]:
    """Yield what is good to know about a road, each with a word before it."""
    road = network.road
    inside = int(road.lane_internal.sum())
    seconds = float((road.lane_length_m / road.lane_limit_mps).sum())
    measures = (
        f"{road.length_m:,.0f} m in {counted(len(road.lane_ids) - inside, 'lane')} one after the "
        f"other, {counted(len(network.ways), 'junction')}; {seconds:,.0f} s at its limits"
    )
    yield "road", measures
    yield "limit", f"lowest: {_limit(road, int(road.lane_limit_mps.argmin()))}"
    yield "limit", f"highest: {_limit(road, int(road.lane_limit_mps.argmax()))}"
    changes = _changes(road)
    if changes:
        yield "limit", f"changes outside junctions: {', '.join(_few(changes))}"
    yield from (("note", text) for text in _few(_slow_turns(road)))
    for state, meaning in _WAYS.items():
        names = [way.junction for way in network.ways if way.state == state]
        if names:
            from ml.sumo.problem import named  # noqa: PLC0415

            passed = f"{meaning} at {named(names)}; convoys pass there: nobody else is on the road"
            yield "note", passed
    if network.foreign_edges:
        yield "note", f"{counted(network.foreign_edges, 'other edge')} of the network left out"


def _few(texts: Iterable[str]) -> list[str]:
    """Return the first of many, and how many more there are."""
    listed = list(texts)
    more = len(listed) - _MOST_LISTED
    return [*listed[:_MOST_LISTED], *([f"and {more} more"] if more > 0 else [])]


def _limit(road: Road, row: int) -> str:
    limit_mps = float(road.lane_limit_mps[row])
    return (
        f"{limit_mps:.2f} m/s ({limit_mps * _KMH:.0f} km/h) at {road.lane_start_m[row]:,.0f} m, "
        f"lane {road.lane_ids[row]}"
    )


def _changes(road: Road) -> list[str]:
    """Return where the limit changes, junctions left out."""
    outside = ~road.lane_internal
    lanes = zip(road.lane_limit_mps[outside], road.lane_start_m[outside], strict=True)
    return [
        f"{old * _KMH:.0f} → {new * _KMH:.0f} km/h at {place_m:,.0f} m"
        for (old, _), (new, place_m) in pairwise(lanes)
        if old != new
    ]


def _slow_turns(road: Road) -> Iterator[str]:
    """Yield the lanes inside junctions that are much slower than the lane before."""
    before_mps = float(road.lane_limit_mps[0])
    for row, inside in enumerate(road.lane_internal.tolist()):
        if not inside:
            before_mps = float(road.lane_limit_mps[row])
        elif road.lane_limit_mps[row] < _SLOW_SHARE * before_mps:
            yield (
                f"slow turn of {road.lane_length_m[row]:.1f} m, after {before_mps:.1f} m/s: "
                f"{_limit(road, row)}"
            )
