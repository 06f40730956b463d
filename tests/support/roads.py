"""Roads such as strangers bring, made on the spot by SUMO's own programs.

`ROADS` names one maker for each kind; each writes a network, a route called `convoy` and a sumocfg
into a folder and returns the sumocfg. All of them are roads that a convoy can drive on.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from ml.sumo.sumo_process import sumo_environment, sumo_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

_WAY_THROUGH_THE_GRID = "A0B0 B0C0 C0C1 C1C2 C2D2 D2E2 E2E3"
_STRAIGHT_THROUGH_THE_GRID = "A1B1 B1C1 C1D1 D1E1"


def run(program: str, *arguments: str | Path, folder: Path) -> None:
    """Run one of SUMO's programs in a folder."""
    command = [sumo_program(program), *arguments]
    subprocess.run(command, cwd=folder, env=sumo_environment(), check=True, capture_output=True)


def sumocfg(folder: Path, net: str | Path, edges: str, *, name: str = "road") -> Path:
    """Write a sumocfg beside its route, and return it."""
    route = f'<routes><route id="convoy" edges="{edges}"/></routes>'
    (folder / f"{name}.rou.xml").write_text(route, encoding="utf-8")
    file = folder / f"{name}.sumocfg"
    file.write_text(
        f'<configuration><input><net-file value="{net}"/>'
        f'<route-files value="{name}.rou.xml"/></input></configuration>',
        encoding="utf-8",
    )
    return file


def plain_road(
    folder: Path,
    nodes: str,
    edges: str,
    route: str,
    *options: str,
    connections: str = "",
    name: str = "road",
) -> Path:
    """Write a road given in SUMO's plain XML.

    Args:
        folder: Where to.
        nodes: <node …/> elements.
        edges: <edge …/> elements.
        route: Edges of the convoy's route.
        options: More options of netconvert.
        connections: <connection …/> and <crossing …/> elements.
        name: Stem of the files.

    Returns:
        The sumocfg.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"node": nodes, "edge": edges, "connection": connections}
    for part, text in parts.items():
        file = folder / f"{name}.{part[:3]}.xml"
        file.write_text(f"<{part}s>{text}</{part}s>", encoding="utf-8")
    sources = ["-n", f"{name}.nod.xml", "-e", f"{name}.edg.xml", "-x", f"{name}.con.xml"]
    run("netconvert", *sources, "-o", f"{name}.net.xml", *options, folder=folder)
    return sumocfg(folder, f"{name}.net.xml", route, name=name)


def generated_road(folder: Path, route: str, *options: str, name: str = "road") -> Path:
    """Write a road of netgenerate's; return the sumocfg."""
    folder.mkdir(parents=True, exist_ok=True)
    run("netgenerate", *options, "-o", f"{name}.net.xml", folder=folder)
    return sumocfg(folder, f"{name}.net.xml", route, name=name)


def nodes_at(points: Iterable[Sequence[object]]) -> str:
    """Return <node> elements for (id, x, y) or (id, x, y, attributes)."""
    elements = []
    for identifier, x, y, *more in points:
        extra = more[0] if more else ""
        elements.append(f'<node id="{identifier}" x="{x}" y="{y}" {extra}/>')
    return "".join(elements)


def edges_between(names: Iterable[str], speed_mps: float, more: str = "") -> str:
    """Return <edge> elements from node to node; "aj" goes from "a" to "j"."""
    return "".join(
        f'<edge id="{a}{b}" from="{a}" to="{b}" numLanes="1" speed="{speed_mps}" {more}/>'
        for a, b in names
    )


def line_road(
    folder: Path,
    limits_mps: Sequence[float] = (13.89, 13.89),
    *options: str,
    length_m: float = 900.0,
    more: str = "",
    middle: str = "",
    connections: str = "",
) -> Path:
    """Write a straight road of equally long edges, e0, e1, …, each with its limit.

    Args:
        folder: Where to.
        limits_mps: One limit for each edge.
        options: More options of netconvert.
        length_m: Of each edge.
        more: More attributes of the edges.
        middle: More attributes of the nodes between the edges.
        connections: <connection …/> and <crossing …/> elements.
    """
    count = len(limits_mps)
    nodes = nodes_at(
        (f"n{i}", i * length_m, 0, middle if 0 < i < count else "") for i in range(count + 1)
    )
    edges = "".join(
        f'<edge id="e{i}" from="n{i}" to="n{i + 1}" numLanes="1" speed="{limit}" {more}/>'
        for i, limit in enumerate(limits_mps)
    )
    route = " ".join(f"e{i}" for i in range(count))
    return plain_road(folder, nodes, edges, route, *options, connections=connections)


def flat(folder: Path) -> Path:
    """Two straight edges, one limit: what the others are held against."""
    return line_road(folder, (13.89, 13.89))


def crossing(folder: Path) -> Path:
    """A pedestrian crossing where the road merely goes on (netconvert moves it when run again)."""
    walk = '<crossing node="n1" edges="e1" priority="1"/>'
    return line_road(folder, more='sidewalkWidth="2"', connections=walk)


def all_way_stop(folder: Path) -> Path:
    """A crossroads in the middle at which everybody stops."""
    return crossroads(folder, 'type="allway_stop"')


def stop_sign(folder: Path) -> Path:
    """A crossroads at which the convoy comes from the side that has to stop."""
    return crossroads(folder, 'type="priority_stop"', side_priority=10)


def give_way(folder: Path) -> Path:
    """A crossroads at which the convoy comes from the side that has to give way."""
    return crossroads(folder, 'type="priority"', side_priority=10)


def right_before_left(folder: Path) -> Path:
    """A crossroads without signs."""
    return crossroads(folder, 'type="right_before_left"')


def crossroads(folder: Path, junction: str, *, side_priority: int = 1) -> Path:
    """The convoy passes a crossroads straight on.

    Args:
        folder: Where to.
        junction: More attributes of the node in the middle.
        side_priority: Of the road that crosses; the convoy's has 1.
    """
    nodes = nodes_at(
        [
            ("a", 0, 0),
            ("j", 900, 0, junction),
            ("b", 1800, 0),
            ("n", 900, 300),
            ("s", 900, -300),
        ]
    )
    edges = edges_between(["aj", "jb", "ja", "bj"], 20, 'priority="1"')
    edges += edges_between(["nj", "js", "jn", "sj"], 13.89, f'priority="{side_priority}"')
    return plain_road(folder, nodes, edges, "aj jb")


def limits(folder: Path) -> Path:
    """The speed limit changes at every edge, down and up, in a straight line."""
    limits_mps = (27.78, 13.89, 22.22, 8.33, 19.44, 13.89, 27.78)
    return line_road(folder, limits_mps, length_m=400.0)


def step_down(folder: Path) -> Path:
    """From 100 km/h to 30 km/h in one step."""
    return line_road(folder, (27.78, 8.33))


def tight_turn(folder: Path) -> Path:
    """A fast road with one short and slow lane inside a junction."""
    nodes = nodes_at([("a", 0, 0), ("j", 1002, 0), ("b", 1002, -1500)])
    return plain_road(folder, nodes, edges_between(["aj", "jb"], 27.78), "aj jb")


def short_lanes(folder: Path) -> Path:
    """Many junctions, some of them so close that the lanes between are shorter than a car."""
    ends_m = (0, 500, 503, 506, 900, 902, 1400, 1404, 1900)
    nodes = nodes_at((f"n{i}", x, 0, 'radius="0.5"') for i, x in enumerate(ends_m))
    edges = "".join(
        f'<edge id="e{i}" from="n{i}" to="n{i + 1}" numLanes="1" speed="16.67"/>'
        for i in range(len(ends_m) - 1)
    )
    return plain_road(folder, nodes, edges, " ".join(f"e{i}" for i in range(len(ends_m) - 1)))


def turns(folder: Path) -> Path:
    """Right and left turns through a town; left turns wait inside the junction for others."""
    return generated_road(
        folder, _WAY_THROUGH_THE_GRID, "--grid", "--grid.number", "6", "--grid.length", "250"
    )


def roundabout(folder: Path) -> Path:
    """In, three quarters round, and out."""
    ring = [("e", 1020, 0), ("s", 1000, -20), ("w", 980, 0), ("n", 1000, 20)]
    nodes = nodes_at(
        [("a", 0, 0), ("x", 1000, 900), ("y", 1900, 0), ("z", 1000, -900)]
        + [(name, x, y) for name, x, y in ring]
    )
    arcs = {"we": "", "ws": "987,-15", "se": "1015,-13", "en": "1013,15", "nw": "985,13"}
    edges = edges_between(["aw", "nx", "ey", "sz"], 20.0)
    edges += "".join(
        f'<edge id="{a}{b}" from="{a}" to="{b}" numLanes="1" speed="8" priority="10" shape='
        f'"{_place(ring, a)} {arcs[a + b]} {_place(ring, b)}"/>'
        for a, b in ("ws", "se", "en", "nw")
    )
    return plain_road(folder, nodes, edges, "aw ws se en nx", "--roundabouts.guess")


def _place(ring: list[tuple[str, int, int]], name: str) -> str:
    return next(f"{x},{y}" for node, x, y in ring if node == name)


def sidewalks(folder: Path) -> Path:
    """A town with sidewalks and crossings at every junction."""
    return generated_road(
        folder,
        _WAY_THROUGH_THE_GRID,
        *("--grid", "--grid.number", "6", "--grid.length", "250"),
        *("--sidewalks.guess", "--crossings.guess"),
    )


def lefthand(folder: Path) -> Path:
    """A town that drives on the left, with sidewalks."""
    return generated_road(
        folder,
        _WAY_THROUGH_THE_GRID,
        *("--grid", "--grid.number", "6", "--grid.length", "250"),
        *("--lefthand", "--sidewalks.guess", "--crossings.guess"),
    )


def no_internal_links(folder: Path) -> Path:
    """A town whose junctions have no lanes inside."""
    return generated_road(
        folder,
        _WAY_THROUGH_THE_GRID,
        *("--grid", "--grid.number", "6", "--grid.length", "250", "--no-internal-links"),
    )


def two_lanes(folder: Path) -> Path:
    """A town of two lanes each way; lanes of a junction lie side by side."""
    return generated_road(
        folder,
        _STRAIGHT_THROUGH_THE_GRID,
        *("--grid", "--grid.number", "6", "--grid.length", "400", "-L", "2"),
    )


def bus_lane(folder: Path) -> Path:
    """Cars keep to the second lane, since the first one is for buses, also inside the junction."""
    lanes = '<lane index="0" allow="bus"/>'
    edges = "".join(
        f'<edge id="{a}{b}" from="{a}" to="{b}" numLanes="2" speed="13.89">{lanes}</edge>'
        for a, b in ("aj", "jb")
    )
    nodes = nodes_at([("a", 0, 0), ("j", 900, 0), ("b", 1800, 200)])
    return plain_road(folder, nodes, edges, "aj jb")


def curves(folder: Path) -> Path:
    """Two lanes round a narrow bend: one length for both, though the inner one is shorter."""
    bend = "0,0 700,0 720,8 728,28 720,48 700,56 0,56"
    nodes = nodes_at([("a", 0, 0), ("b", 0, 56), ("c", -900, 56)])
    edges = f'<edge id="ab" from="a" to="b" numLanes="2" speed="13.89" shape="{bend}"/>'
    edges += '<edge id="bc" from="b" to="c" numLanes="2" speed="13.89"/>'
    return plain_road(folder, nodes, edges, "ab bc")


def hills(folder: Path) -> Path:
    """A road that goes up and down; SUMO's lengths are those of the slope."""
    nodes = nodes_at([("a", 0, 0, 'z="0"'), ("j", 900, 0, 'z="90"'), ("b", 1800, 0, 'z="0"')])
    return plain_road(folder, nodes, edges_between(["aj", "jb"], 13.89), "aj jb")


OSM = """<?xml version="1.0" encoding="UTF-8"?>
<osm version="0.6">
  <bounds minlat="52.5000" minlon="13.3600" maxlat="52.5060" maxlon="13.4000"/>
  <node id="1" lat="52.5000" lon="13.3600"/>
  <node id="2" lat="52.5005" lon="13.3660"/>
  <node id="3" lat="52.5010" lon="13.3720"><tag k="highway" v="{signals}"/></node>
  <node id="4" lat="52.5012" lon="13.3750"><tag k="highway" v="crossing"/>
    <tag k="crossing" v="{crossing}"/></node>
  <node id="5" lat="52.5015" lon="13.3780"><tag k="highway" v="stop"/></node>
  <node id="6" lat="52.5020" lon="13.3840"><tag k="highway" v="{signals}"/></node>
  <node id="7" lat="52.5030" lon="13.3930"/>
  <node id="8" lat="52.5040" lon="13.3990"/>
  <node id="13" lat="52.5030" lon="13.3715"/>
  <node id="14" lat="52.4990" lon="13.3725"/>
  <node id="15" lat="52.5030" lon="13.3775"/>
  <node id="16" lat="52.4995" lon="13.3785"/>
  <node id="17" lat="52.5040" lon="13.3835"/>
  <node id="18" lat="52.5000" lon="13.3845"/>
  <way id="101"><nd ref="1"/><nd ref="2"/><nd ref="3"/><tag k="highway" v="secondary"/>
    <tag k="maxspeed" v="50"/><tag k="lanes" v="2"/><tag k="sidewalk" v="both"/></way>
  <way id="102"><nd ref="3"/><nd ref="4"/><nd ref="5"/><tag k="highway" v="secondary"/>
    <tag k="maxspeed" v="30"/><tag k="lanes" v="2"/><tag k="sidewalk" v="both"/></way>
  <way id="103"><nd ref="5"/><nd ref="6"/><tag k="highway" v="secondary"/>
    <tag k="maxspeed" v="50"/><tag k="lanes" v="2"/></way>
  <way id="104"><nd ref="6"/><nd ref="7"/><nd ref="8"/><tag k="highway" v="secondary"/>
    <tag k="maxspeed" v="70"/><tag k="lanes" v="2"/></way>
  <way id="201"><nd ref="13"/><nd ref="3"/><nd ref="14"/><tag k="highway" v="tertiary"/></way>
  <way id="202"><nd ref="15"/><nd ref="5"/><nd ref="16"/><tag k="highway" v="residential"/></way>
  <way id="203"><nd ref="17"/><nd ref="6"/><nd ref="18"/><tag k="highway" v="tertiary"/></way>
</osm>
"""
OSM_OPTIONS = (
    *("--geometry.remove", "--roundabouts.guess", "--junctions.join"),
    *("--tls.guess-signals", "--tls.discard-simple", "--tls.join"),
    *("--sidewalks.guess", "--crossings.guess"),
)


def osm_file(folder: Path, *, signals: bool) -> Path:
    """Write an extract of a town: limits of 50, 30 and 70, a crossing, a stop, perhaps lights."""
    kinds = (
        {"signals": "traffic_signals", "crossing": "traffic_signals"}
        if signals
        else {"signals": "give_way", "crossing": "uncontrolled"}
    )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "town.osm"
    file.write_text(OSM.format(**kinds), encoding="utf-8")
    return file


def osm(folder: Path) -> Path:
    """A main road of OpenStreetMap's kind, crossed by others; without lights."""
    osm_file(folder, signals=False)
    run("netconvert", "--osm-files", "town.osm", *OSM_OPTIONS, "-o", "road.net.xml", folder=folder)
    return sumocfg(folder, "road.net.xml", "101 102 103 104")


ROADS: dict[str, Callable[[Path], Path]] = {
    maker.__name__: maker
    for maker in (
        flat,
        crossing,
        all_way_stop,
        stop_sign,
        give_way,
        right_before_left,
        limits,
        step_down,
        tight_turn,
        short_lanes,
        turns,
        roundabout,
        sidewalks,
        lefthand,
        no_internal_links,
        two_lanes,
        bus_lane,
        curves,
        hills,
        osm,
    )
}
