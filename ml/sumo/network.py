"""Read the lanes of a route out of a SUMO network.

A convoy keeps its lane, so a route over edges becomes one sequence of lanes: from each edge the
rightmost lane that is open to passenger cars and leads on to the road's end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from xml.sax import SAXException

import numpy as np
import sumolib

from ml.errors import ScenarioError
from ml.sumo.road import Lane, Road

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

VEHICLE_CLASS = "passenger"
MIN_ROAD_LENGTH_M = 500.0


@dataclass(frozen=True, slots=True)
class UnusedConnection:
    """A connection between two edges of the route that the convoy does not take."""

    from_edge: str
    to_edge: str
    from_lane: int
    to_lane: int


@dataclass(frozen=True, slots=True)
class RouteNetwork:
    """What a network holds of a route.

    Attributes:
        road: The lanes that the convoy passes.
        foreign_edges: How many edges of the network are not on the route.
        unused: Connections along the route that the convoy does not take.
    """

    road: Road
    foreign_edges: int
    unused: tuple[UnusedConnection, ...]

    @property
    def holds_nothing_else(self) -> bool:
        """True if SUMO has no choice but the lanes of `road`."""
        return self.foreign_edges == 0 and not self.unused


def read_route(net_file: Path, route_edges: Sequence[str]) -> RouteNetwork:
    """Find the lanes of a route in a network.

    Args:
        net_file: A SUMO network (``.net.xml``, may be gzipped).
        route_edges: The route's edges in order.

    Raises:
        ScenarioError: The file is missing or malformed, an edge is missing or visited twice, the
            edges are not connected by lanes that admit passenger cars, a traffic light stands on
            the route, or the road is too short.
    """
    net = _read_net(net_file)
    where = f"route of {len(route_edges)} edges in {net_file}"
    edges = _edges_of(net, route_edges, where)
    lanes = _lanes_that_lead_on(edges, where)
    chain: list[Any] = [lanes[0]]
    unused: list[UnusedConnection] = []
    for here, there in pairwise(lanes):
        connection, others = _choose(here, there)
        if connection.getTLSID():
            raise ScenarioError(
                f"Traffic light {connection.getTLSID()!r} controls the {where}. A light follows "
                "SUMO's clock, so an episode would depend on when it starts. Take it out: "
                f"netconvert -s {net_file} --tls.discard-loaded -o NEW.net.xml",
            )
        unused += others
        chain += _through_junction(net, connection)
        chain.append(there)
    road = Road([_lane(lane) for lane in chain])
    if road.length_m < MIN_ROAD_LENGTH_M:
        raise ScenarioError(
            f"The {where} is {road.length_m:.1f} m long; a convoy needs at least "
            f"{MIN_ROAD_LENGTH_M:.0f} m, and 50 s at the speed limit is better. "
            "Extend the route or the network.",
        )
    known = set(route_edges)
    foreign = sum(edge.getID() not in known for edge in net.getEdges(withInternal=False))
    return RouteNetwork(road=road, foreign_edges=foreign, unused=tuple(unused))


def _read_net(net_file: Path) -> Any:
    if not net_file.is_file():
        raise ScenarioError(
            f"Network file {net_file} does not exist. "
            'Correct <net-file value="…"/> in the sumocfg; paths start at the sumocfg\'s folder.',
        )
    try:
        return sumolib.net.readNet(str(net_file), withInternal=True)
    except (SAXException, LookupError, ValueError, TypeError, AttributeError, OSError) as error:
        raise ScenarioError(
            f"Network file {net_file} is not a SUMO network: {error!r}. "
            "Write it again with netconvert or netedit.",
        ) from error


def _edges_of(net: Any, route_edges: Sequence[str], where: str) -> list[Any]:
    missing = [edge for edge in route_edges if not net.hasEdge(edge)]
    if missing:
        raise ScenarioError(
            f"Edge {missing[0]!r} of the {where} is not in that network. "
            "Name edges of this network in the route, in driving order.",
        )
    if len(set(route_edges)) != len(route_edges):
        twice = next(edge for edge in route_edges if list(route_edges).count(edge) > 1)
        raise ScenarioError(
            f"Edge {twice!r} comes twice in the {where}. A convoy's position would be ambiguous; "
            "use a route that passes each edge once.",
        )
    return [net.getEdge(edge) for edge in route_edges]


def _open_lanes(edge: Any) -> list[Any]:
    return [lane for lane in edge.getLanes() if lane.allows(VEHICLE_CLASS)]


def _lanes_that_lead_on(edges: list[Any], where: str) -> list[Any]:
    """Return one lane per edge, each connected to the next, the rightmost that lead to the end."""
    leading: list[list[Any]] = [[]] * len(edges)
    for index in range(len(edges) - 1, -1, -1):
        lanes = _open_lanes(edges[index])
        if not lanes:
            raise ScenarioError(
                f"No lane of edge {edges[index].getID()!r} on the {where} admits {VEHICLE_CLASS} "
                "cars. Choose another route or allow the class in the network.",
            )
        if index < len(edges) - 1:
            onward = {lane.getID() for lane in leading[index + 1]}
            lanes = [
                lane
                for lane in lanes
                if any(link.getToLane().getID() in onward for link in lane.getOutgoing())
            ]
            if not lanes:
                raise ScenarioError(
                    f"Edges {edges[index].getID()!r} and {edges[index + 1].getID()!r} of the "
                    f"{where} are not joined by a lane that admits {VEHICLE_CLASS} cars and leads "
                    "on to the route's end (convoys keep their lane). Correct the route or add "
                    "the connection.",
                )
        leading[index] = lanes
    chosen = [leading[0][0]]
    for lanes in leading[1:]:
        targets = {link.getToLane().getID() for link in chosen[-1].getOutgoing()}
        chosen.append(next(lane for lane in lanes if lane.getID() in targets))
    return chosen


def _choose(here: Any, there: Any) -> tuple[Any, list[UnusedConnection]]:
    """Return the connection from lane to lane, and the other ones between their edges."""
    chosen = None
    others = []
    for links in here.getEdge().getOutgoing().values():
        for link in links:
            if link.getTo().getID() != there.getEdge().getID():
                continue
            from_id, to_id = link.getFromLane().getID(), link.getToLane().getID()
            if chosen is None and (from_id, to_id) == (here.getID(), there.getID()):
                chosen = link
            else:
                others.append(
                    UnusedConnection(
                        from_edge=here.getEdge().getID(),
                        to_edge=there.getEdge().getID(),
                        from_lane=link.getFromLane().getIndex(),
                        to_lane=link.getToLane().getIndex(),
                    ),
                )
    return chosen, others


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
