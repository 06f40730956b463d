"""Lay out one road many times in one network, a copy for each convoy.

netconvert writes one copy with a prefix before every identifier. The others are that text with
another prefix and moved north, so every copy has the same lane lengths to the last digit; SUMO
itself never looks at coordinates to move a car along a lane.

All lanes of a copy get one speed limit, the road's highest. SUMO takes the speed factor that a car
has on its lane for the lane ahead as well, so a car with a wish of its own, factor = wish / limit,
would brake before each lower limit to wish · lower / higher. Which limits a convoy meets is the
business of whoever plans its episode (`Road.lane_limit_mps`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from ml.errors import SimulatorError
from ml.sumo.cache import content_key, publish, require_whole
from ml.sumo.names import MAX_TILES, tile_prefix
from ml.sumo.netconvert import run_netconvert, strip_header
from ml.sumo.road import CAR_LENGTH_M

if TYPE_CHECKING:
    from pathlib import Path

    from ml.sumo.scenarios import Scenario

TILE_SPACING_M = 200.0
ROUTE_SUFFIX = "convoy"
PEER_TYPE, EGO_TYPE = "peer", "ego"
_MAX_SPEED_MPS = 70.0

# sigma and speedDev are 0: SUMO's own randomness would tie a convoy to the batch around it. Cars
# that SUMO drives follow the car in front and nothing else: they pass a slower one on its right.
_VEHICLE_TYPES = f"""\
    <vType id="{PEER_TYPE}" carFollowModel="IDM" length="{CAR_LENGTH_M}" sigma="0" speedDev="0"
           maxSpeed="{_MAX_SPEED_MPS}" emergencyDecel="9" lcOvertakeRight="1"/>
    <vType id="{EGO_TYPE}" carFollowModel="Krauss" length="{CAR_LENGTH_M}" sigma="0" speedDev="0"
           maxSpeed="{_MAX_SPEED_MPS}" decel="8" emergencyDecel="9" lcOvertakeRight="1"/>
"""
# The parts of a network that a convoy needs, in the order in which SUMO wants them.
_PARTS = ("edge", "junction", "connection")
_SHAPE = re.compile(r'(?<= shape=")[^"]*')
_Y = re.compile(r'(?<= y=")[^"]*')
_LIMIT = re.compile(r'(?<= speed=")[^"]*')


@dataclass(frozen=True, slots=True)
class TiledNetwork:
    """Files that SUMO loads.

    Attributes:
        net_file: The network with all copies.
        additional_file: Vehicle types, and one route for each copy.
        num_tiles: How many copies there are, a power of two.
    """

    net_file: Path
    additional_file: Path
    num_tiles: int


def tile_scenario(scenario: Scenario, num_envs: int, *, cache_dir: Path) -> TiledNetwork:
    """Return a network with at least `num_envs` copies of a scenario's road, cached.

    Raises:
        SimulatorError: Too many convoys, netconvert failed, or the cache cannot be written.
    """
    if not 1 <= num_envs <= MAX_TILES:
        raise SimulatorError(
            f"num_envs is {num_envs}; one SUMO carries 1 to {MAX_TILES} convoys. "
            "Choose a number in that range.",
        )
    num_tiles = 1 << (num_envs - 1).bit_length()
    key = content_key(
        "tiled",
        scenario.net_file.read_bytes(),
        " ".join(scenario.route_edges),
        num_tiles,
        repr(scenario.road.fastest_mps),
        _VEHICLE_TYPES,
    )

    def build(directory: Path) -> None:
        first = directory / "first.net.xml"
        arguments = ["-s", str(scenario.net_file), "--prefix", tile_prefix(0), "-o", first.name]
        run_netconvert(
            [*arguments, "--offset.disable-normalization", "--xml-validation", "never"],
            cwd=directory,
        )
        strip_header(first)
        text = _LIMIT.sub(repr(scenario.road.fastest_mps), first.read_text(encoding="utf-8"))
        first.unlink()
        (directory / "tiled.net.xml").write_text(_replicate(text, num_tiles), encoding="utf-8")
        additional = _additional(scenario.route_edges, num_tiles)
        (directory / "convoys.add.xml").write_text(additional, encoding="utf-8")

    entry = publish(cache_dir / "tiles" / key, build)
    require_whole(entry / "tiled.net.xml", "</net>")
    require_whole(entry / "convoys.add.xml", "</additional>")
    return TiledNetwork(entry / "tiled.net.xml", entry / "convoys.add.xml", num_tiles)


def _replicate(first: str, num_tiles: int) -> str:
    """Return the network of `num_tiles` copies, given that of the first one."""
    # netconvert has just written it.
    root = ET.fromstring(first)  # noqa: S314 # nosec B314
    attributes = " ".join(
        f"{name}={quoteattr(value)}" for name, value in root.items() if not name.startswith("{")
    )
    spacing_m = _height_m(first) + TILE_SPACING_M
    parts = [f'<?xml version="1.0" encoding="UTF-8"?>\n<net {attributes}>\n']
    for tag in _PARTS:
        text = "".join(ET.tostring(element, encoding="unicode") for element in root.iter(tag))
        for tile in range(num_tiles):
            moved = _move_north(text, tile * spacing_m)
            parts.append(moved.replace(tile_prefix(0), tile_prefix(tile)))
    return "".join((*parts, "</net>\n"))


def _height_m(text: str) -> float:
    ys = [float(point.split(",")[1]) for shape in _SHAPE.findall(text) for point in shape.split()]
    return float(round(max(ys) - min(ys)))


def _move_north(text: str, offset_m: float) -> str:
    def moved(y: str) -> str:
        return f"{float(y) + offset_m:.2f}"

    def moved_shape(match: re.Match[str]) -> str:
        points = (point.split(",") for point in match[0].split())
        return " ".join(",".join((x, moved(y), *z)) for x, y, *z in points)

    return _Y.sub(lambda match: moved(match[0]), _SHAPE.sub(moved_shape, text))


def _additional(route_edges: tuple[str, ...], num_tiles: int) -> str:
    routes = []
    for tile in range(num_tiles):
        prefix = tile_prefix(tile)
        edges = quoteattr(" ".join(prefix + edge for edge in route_edges))
        routes.append(f'    <route id="{prefix}{ROUTE_SUFFIX}" edges={edges}/>\n')
    return f"<additional>\n{_VEHICLE_TYPES}{''.join(routes)}</additional>\n"
