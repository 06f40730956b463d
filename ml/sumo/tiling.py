"""Lay out one road many times in one network, a copy for each convoy.

The road's part of its network is copied as text, with a prefix before every identifier and moved
north, so every copy has the road's lane lengths to the last digit; SUMO itself never looks at
coordinates to move a car along a lane.

All lanes of a copy get one speed limit, the road's highest. SUMO takes the speed factor that a car
has on its lane for the lane ahead as well, so a car with a wish of its own, factor = wish / limit,
would brake before each lower limit to wish · lower / higher. Which limits a convoy meets is the
business of whoever plans its episode (`Road.lane_limit_mps`).
"""

import copy
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

import numpy as np

from ml.errors import SimulatorError
from ml.sumo.cache import content_key, publish, require_whole
from ml.sumo.cutting import CutRoad, cut_road, find_difference, network_text, written
from ml.sumo.names import MAX_TILES, prefixed, tile_prefix
from ml.sumo.road import Road
from ml.sumo.scenarios import Scenario
from ml.vehicle import CAR_LENGTH_M, DT_S

NET_FILE, ROUTE_FILE = "tiled.net.xml", "convoys.add.xml"
"""The network with all copies; vehicle types, and one route for each copy."""
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
_IDENTIFIERS = frozenset({"id", "from", "to", "via", "incLanes", "intLanes"})
_MARK = "\ue000"  # of no use to anybody, so in nobody's names
_SHAPE = re.compile(r'(?<= shape=")[^"]*')
_Y = re.compile(r'(?<= y=")[^"]*')


def tile_scenario(scenario: Scenario, num_envs: int, *, cache_dir: Path) -> Path:
    """Return the folder of a network with at least `num_envs` copies of a scenario's road, cached.

    The number of copies is a power of two.

    Raises:
        SimulatorError: Too many convoys, or the cache cannot be written or is damaged.
        ScenarioError: The network has changed since the scenario was loaded.
    """
    if not 1 <= num_envs <= MAX_TILES:
        raise SimulatorError(
            f"num_envs is {num_envs}; one SUMO carries 1 to {MAX_TILES} convoys. "
            "Choose a number in that range."
        )
    num_tiles = 1 << (num_envs - 1).bit_length()
    road = scenario.road
    key = content_key(
        "tiled",
        scenario.net_file.read_bytes(),
        " ".join(scenario.route_edges),
        num_tiles,
        repr(road.fastest_mps),
        _VEHICLE_TYPES,
    )

    def build(directory: Path) -> None:
        cut = cut_road(scenario.net_file, road)
        for edge in cut.edges:
            for lane in edge:
                lane.set("speed", repr(road.fastest_mps))
        (directory / NET_FILE).write_text(_replicate(cut, num_tiles), encoding="utf-8")
        additional = _additional(scenario.route_edges, num_tiles)
        (directory / ROUTE_FILE).write_text(additional, encoding="utf-8")

    tiles = publish(cache_dir / "tiles" / key, build)
    require_whole(tiles / NET_FILE, "</net>")
    require_whole(tiles / ROUTE_FILE, "</additional>")
    _require_road(tiles / NET_FILE, road)
    return tiles


def load_options(tiles: Path) -> list[str]:
    """Return SUMO's options for the folder of a tiled network, without the program's name.

    Cars are moved by the trapezoidal rule, never teleported or removed, and nothing is random.
    """
    return [
        *("--net-file", str(tiles / NET_FILE)),
        *("--additional-files", str(tiles / ROUTE_FILE)),
        *("--step-length", str(DT_S)),
        *("--step-method.ballistic", "true"),
        *("--time-to-teleport", "-1"),
        *("--collision.action", "warn"),
        *("--collision.mingap-factor", "0"),
        *("--default.speeddev", "0"),
        *("--seed", "1"),
        *("--no-step-log", "true"),
        *("--no-warnings", "true"),
        *("--duration-log.disable", "true"),
        *("--xml-validation", "never"),
        *("--xml-validation.net", "never"),
    ]


def _require_road(net_file: Path, road: Road) -> None:
    """Check that the first copy's lanes are the road's; the others are its text again.

    Positions along the road would be others than SUMO's, and a car would seem to jump.

    Raises:
        SimulatorError: They are not.
    """
    prefix = tile_prefix(0)
    edges = []
    try:
        with net_file.open("rb") as stream:
            for _, element in ET.iterparse(stream):  # noqa: S314 # nosec B314 (our own file)
                if element.tag == "edge":
                    if not str(element.get("id")).startswith((prefix, f":{prefix}")):
                        break
                    edges.append(element)
    except ET.ParseError as error:
        difference = str(error)
    else:
        limits_mps = np.full(len(road.lane_ids), road.fastest_mps)
        difference = find_difference(edges, road.lane_ids, road.lane_length_m, limits_mps, prefix)
    if difference:
        raise SimulatorError(
            f"The cached network {net_file} is not the scenario's: {difference}. "
            f"It is made again after: rm -r {shlex.quote(str(net_file.parent))}"
        )


def _replicate(cut: CutRoad, num_tiles: int) -> str:
    """Return the network of so many copies of a road, the first where it was."""
    parts = [
        "".join(_written_with_mark(element) for element in elements)
        for elements in (cut.edges, cut.junctions, cut.connections)
    ]
    spacing_m = _height_m(parts[0]) + TILE_SPACING_M
    copies = [
        _move_north(part, tile * spacing_m).replace(_MARK, tile_prefix(tile))
        for part in parts
        for tile in range(num_tiles)
    ]
    return network_text(cut.attributes, copies)


def _written_with_mark(element: ET.Element) -> str:
    """Return an element's text with a mark where each copy has its prefix."""
    marked = copy.deepcopy(element)
    for each in marked.iter():
        for name in _IDENTIFIERS.intersection(each.keys()):
            names = str(each.get(name)).split()
            each.set(name, " ".join(prefixed(one, _MARK) for one in names))
    return written(marked)


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
