"""Read the lanes of a route out of a SUMO network, and say all that is wrong with them.

A convoy keeps its lane, so a route over edges becomes one sequence of lanes: from each edge the
rightmost lane that is open to passenger cars and leads on to the road's end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax import SAXException

import numpy as np
import sumolib

from ml.errors import ScenarioError
from ml.sumo.lane_numbers import impossible_numbers, strange_lengths
from ml.sumo.problem import Problem, named, signals_out, tell, written_anew
from ml.sumo.road import Lane, Road

VEHICLE_CLASS = "passenger"
MIN_ROAD_LENGTH_M = 500.0
_RAILS = {"rail_crossing": "level crossing", "rail_signal": "railway signal"}


@dataclass(frozen=True, slots=True)
class Way:
    """How the convoy passes a junction.

    Attributes:
        junction: The junction's identifier.
        state: SUMO's letter for the right of way there: "M" has it, "w" all have to stop, "s" has
            to stop, "m" gives way, "=" gives way to the right, "Z" takes turns.
    """

    junction: str
    state: str


@dataclass(frozen=True, slots=True)
class RouteNetwork:
    """What a network holds of a route.

    Attributes:
        road: The lanes that the convoy passes.
        ways: The junctions that it passes, in order.
        foreign_edges: How many edges of the network are not on the route.
    """

    road: Road
    ways: tuple[Way, ...]
    foreign_edges: int

    @property
    def holds_nothing_else(self) -> bool:
        """True if the network holds no other edges, nor lanes beside the road's in junctions."""
        inside = [lane for lane in self.road.lane_ids if lane.startswith(":")]
        return self.foreign_edges == 0 and all(lane.endswith("_0") for lane in inside)


def read_route(net_file: Path, route_edges: Sequence[str]) -> RouteNetwork:
    """Find the lanes of a route in a network.

    Args:
        net_file: A SUMO network (``.net.xml``, may be gzipped).
        route_edges: The route's edges in order.

    Raises:
        ScenarioError: `examine_route` found problems; all of them are told.
    """
    network, problems = examine_route(net_file, route_edges)
    if network is None or problems:
        raise ScenarioError(tell(problems))
    return network


def examine_route(
    net_file: Path, route_edges: Sequence[str] | None
) -> tuple[RouteNetwork | None, list[Problem]]:
    """Find the lanes of a route in a network, and all that is wrong with them.

    Without a route, only the file is looked at.

    The file may be missing or malformed; an edge missing or visited twice; edges not connected by
    lanes that admit passenger cars; a number none that a road can have; a lane longer or shorter
    than it is drawn; lights or a level crossing may stand
    on the route; the road may be too short.

    Returns:
        What was found, None where the problems left no road; and the problems.
    """
    net = _read_net(net_file)
    if isinstance(net, Problem):
        return None, [net]
    if route_edges is None:
        return None, []
    where = f"route of {len(route_edges)} edges in {net_file}"
    problems = _wrong_edges(net, route_edges, where)
    if problems:
        return None, problems
    edges = [net.getEdge(edge) for edge in route_edges]
    lanes, problems = _lanes_that_lead_on(edges, where)
    if lanes is None:
        problems += _signals(_connections_along(edges), net_file, where)
        return None, problems + impossible_numbers(edges, net_file)
    connections = [_from_to(here, there) for here, there in pairwise(lanes)]
    chain: list[Any] = [lanes[0]]
    for connection, there in zip(connections, lanes[1:], strict=True):
        chain += [*_through_junction(net, connection), there]
    signals = _signals(connections, net_file, where)
    problems += signals
    passed = list({lane.getEdge().getID(): lane.getEdge() for lane in chain}.values())
    impossible = impossible_numbers(passed, net_file)
    if impossible:
        return None, problems + impossible
    problems += strange_lengths(passed, net_file, after_signals=bool(signals))
    road = Road([_lane(lane) for lane in chain])
    if road.length_m < MIN_ROAD_LENGTH_M:
        what = (
            f"The {where} is {road.length_m:.1f} m long; a convoy needs at least "
            f"{MIN_ROAD_LENGTH_M:.0f} m, and 50 s at the speed limit is better."
        )
        problems.append(Problem(what, "Extend the route or the network."))
    known = set(route_edges)
    foreign = sum(edge.getID() not in known for edge in net.getEdges(withInternal=False))
    ways = tuple(
        Way(connection.getJunction().getID(), connection.getState()) for connection in connections
    )
    return RouteNetwork(road=road, ways=ways, foreign_edges=foreign), problems


def _read_net(net_file: Path) -> Any:
    """Return sumolib's network, or what is wrong with the file."""
    if not net_file.is_file():
        return Problem(
            f"Network file {net_file} does not exist.",
            'Correct <net-file value="…"/> in the sumocfg; paths start at the sumocfg\'s folder.',
        )
    try:
        return sumolib.net.readNet(str(net_file), withInternal=True)
    except (SAXException, LookupError, ValueError, TypeError, AttributeError, OSError) as error:
        return Problem(
            f"Network file {net_file} is not a SUMO network: {error!r}.",
            "Write it again with netconvert or netedit.",
        )


def _wrong_edges(net: Any, route_edges: Sequence[str], where: str) -> list[Problem]:
    problems = []
    missing = [edge for edge in route_edges if not net.hasEdge(edge)]
    if missing:
        others = f", nor are {named(missing[1:])}" if missing[1:] else ""
        what = f"Edge {missing[0]!r} of the {where} is not in that network{others}."
        remedy = "Name edges of this network in the route, in driving order."
        problems.append(Problem(what, remedy))
    known = [net.getEdge(edge) for edge in route_edges if net.hasEdge(edge)]
    loose = [e.getID() for e in known if e.getFromNode() is None or e.getToNode() is None]
    if loose:
        what = f"The {where} has edges that begin or end at no junction: {named(loose)}."
        remedy = "Correct from and to of these edges, or write the network again with netconvert."
        problems.append(Problem(what, remedy))
    if len(set(route_edges)) != len(route_edges):
        twice = next(edge for edge in route_edges if list(route_edges).count(edge) > 1)
        what = f"Edge {twice!r} comes twice in the {where}. A convoy's position would be ambiguous."
        problems.append(Problem(what, "Use a route that passes each edge once."))
    return problems


def _lanes_that_lead_on(edges: list[Any], where: str) -> tuple[list[Any] | None, list[Problem]]:
    """Return one lane per edge, each connected to the next, the rightmost that lead to the end."""
    problems: list[Problem] = []
    leading: list[list[Any]] = [[]] * len(edges)
    for index in range(len(edges) - 1, -1, -1):
        edge = edges[index]
        lanes = [lane for lane in edge.getLanes() if lane.allows(VEHICLE_CLASS)]
        if not lanes:
            what = f"No lane of edge {edge.getID()!r} on the {where} admits {VEHICLE_CLASS} cars."
            remedy = "Choose another route or allow the class in the network."
            problems.append(Problem(what, remedy))
        elif index < len(edges) - 1 and leading[index + 1]:
            onward = leading[index + 1]
            lanes = [lane for lane in lanes if any(_from_to(lane, there) for there in onward)]
            if not lanes:
                what = (
                    f"Edges {edge.getID()!r} and {edges[index + 1].getID()!r} of the {where} are "
                    f"not joined by a lane that admits {VEHICLE_CLASS} cars and leads on to the "
                    "route's end (convoys keep their lane)."
                )
                problems.append(Problem(what, "Correct the route or add the connection."))
                lanes = [lane for lane in edge.getLanes() if lane.allows(VEHICLE_CLASS)]
        leading[index] = lanes
    if problems:
        return None, problems[::-1]
    chosen = [leading[0][0]]
    for lanes in leading[1:]:
        chosen.append(next(lane for lane in lanes if _from_to(chosen[-1], lane)))
    return chosen, []


def _from_to(here: Any, there: Any) -> Any:
    """Return the connection of two lanes that cars may take; None without."""
    for link in here.getOutgoing():
        if link.getToLane() is there and link.allows(VEHICLE_CLASS):
            return link
    return None


def _connections_along(edges: list[Any]) -> list[Any]:
    """Return all connections from each edge to the next."""
    return [
        link
        for here, there in pairwise(edges)
        for links in (here.getOutgoing().get(there, ()),)
        for link in links
    ]


def _signals(connections: list[Any], net_file: Path, where: str) -> list[Problem]:
    """Return what has to be said of lights and railways: one thing, with one command."""
    lights: dict[str, str] = {}
    rails: dict[str, str] = {}
    for connection in connections:
        junction, signal = connection.getJunction(), connection.getTLSID()
        if junction.getType() in _RAILS:
            rails[junction.getID()] = _RAILS[junction.getType()]
        elif signal:
            lights[junction.getID()] = signal
    if not lights and not rails:
        return []
    names = {"traffic light": list(dict.fromkeys(lights.values()))}
    for kind in _RAILS.values():
        names[kind] = [junction for junction, found in rails.items() if found == kind]
    found = [
        f"{kind}{'s' if len(each) > 1 else ''} {named(each)}"
        for kind, each in names.items()
        if each
    ]
    subject = " and ".join(found)
    verb = "controls" if sum(map(len, names.values())) == 1 else "control"
    what = (
        f"{subject[0].upper()}{subject[1:]} {verb} the {where}. Signals follow SUMO's clock, so "
        "an episode would depend on when it starts."
    )
    remedy = f"Take them out, and name {written_anew(net_file).name} in the sumocfg:"
    return [Problem(what, remedy, signals_out(net_file, lights=list(lights), rails=list(rails)))]


def _through_junction(net: Any, connection: Any) -> list[Any]:
    """Return the internal lanes of a connection: none, one, or two at an internal junction."""
    chain = []
    via = connection.getViaLaneID()
    while via:
        lane = net.getLane(via)
        chain.append(lane)
        onward = lane.getOutgoing()
        via = onward[0].getViaLaneID() if onward else ""
    return chain


def _lane(lane: Any) -> Lane:
    left = _left_of(lane)
    return Lane(
        lane_id=lane.getID(),
        length_m=float(lane.getLength()),
        speed_limit_mps=float(lane.getSpeed()),
        internal=lane.getEdge().isSpecial(),
        shape_m=np.array(lane.getShape3D(), dtype=np.float64),
        left_id=left.getID() if left else "",
        left_m=0.5 * float(lane.getWidth() + left.getWidth()) if left else 0.0,
    )


def _left_of(lane: Any) -> Any:
    """Return the lane to the left that a car can change to and drive as far in; None without."""
    beside = lane.getEdge().getLanes()[lane.getIndex() + 1 : lane.getIndex() + 2]
    for left in beside:
        as_long = left.getLength() == lane.getLength()
        if as_long and left.allows(VEHICLE_CLASS) and not lane.getEdge().isSpecial():
            return left
    return None
