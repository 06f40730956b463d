"""Cut a road out of a network: the convoy's lanes as they stand there, and nothing else.

netconvert would cut, too, but works lengths out anew where the neighbours of a lane are gone. So
lanes are copied word for word. Junctions are made for the convoy alone: nobody else is there, so
it has the right of way at each, whatever stands there in the whole network.
"""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from ml.arrays import Floats
from ml.errors import ScenarioError
from ml.sumo.names import prefixed
from ml.sumo.road import Road
from ml.sumo.sumocfg import GZIPPED

_NETWORK = ("version", "junctionCornerDetail", "lefthand", "limitTurnSpeed")
_EDGE = ("id", "from", "to", "function", "priority", "spreadType", "shape")
_LANE = ("id", "index", "allow", "disallow", "speed", "length", "width", "changeLeft",
         "changeRight", "shape")  # fmt: skip
_JUNCTION = ("x", "y", "z", "shape", "radius")
_CONNECTION = ("from", "to", "fromLane", "toLane", "dir")
_NOWHERE = {"x": "0", "y": "0", "shape": ""}
_ROUNDING = 1e-6  # m, m/s


@dataclass(frozen=True, slots=True)
class CutRoad:
    """A network that holds a convoy's road alone.

    Attributes:
        attributes: Of the <net> element.
        edges: <edge> elements with their lanes.
        junctions: <junction> elements with their right of way.
        connections: <connection> elements.
    """

    attributes: dict[str, str]
    edges: tuple[ET.Element, ...]
    junctions: tuple[ET.Element, ...]
    connections: tuple[ET.Element, ...]


def cut_road(net_file: Path, road: Road) -> CutRoad:
    """Cut a road's lanes out of a network.

    Args:
        net_file: The network, may be gzipped.
        road: What has been read from it.

    Raises:
        ScenarioError: The file cannot be read, or its lanes are not the road's.
    """
    parts = _Parts(road.lane_ids)
    try:
        with _opened(net_file) as stream:
            parts.collect(stream)
    except (OSError, EOFError, ET.ParseError, LookupError, ValueError) as error:
        raise ScenarioError(
            f"Network file {net_file} cannot be read: {error}. Write it again with netconvert."
        ) from error
    edges = parts.edges.values()
    difference = find_difference(edges, road.lane_ids, road.lane_length_m, road.lane_limit_mps)
    if difference:
        raise ScenarioError(
            f"The network {net_file} is not the one that was read: {difference}. "
            "If it was changed meanwhile, start again."
        )
    passages = _passages(road)
    cut = CutRoad(
        attributes=parts.attributes,
        edges=tuple(parts.edges.values()),
        junctions=tuple(_junctions(parts, road, passages)),
        connections=tuple(
            connection for passage in passages for connection in _connections(parts, passage)
        ),
    )
    _number_anew(cut)
    return cut


def network_text(attributes: dict[str, str], elements: Iterable[str]) -> str:
    """Return the text of a network file, given that of its elements."""
    head = " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items())
    body = "".join(elements)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<net {head}>\n{body}</net>\n'


def written(element: ET.Element) -> str:
    """Return an element's text, a line for each of its children."""
    ET.indent(element, "    ", level=1)
    return f"    {ET.tostring(element, encoding='unicode').rstrip()}\n"


def find_difference(
    edges: Iterable[ET.Element],
    lane_ids: Sequence[str],
    lengths_m: Floats,
    limits_mps: Floats,
    prefix: str = "",
) -> str:
    """Say what is wrong with the lanes of <edge> elements; nothing is an empty text.

    They have to hold `lane_ids`, with lengths and limits (lanes,); in the elements alone `prefix`
    stands before each identifier.
    """
    lanes = {str(lane.get("id")): lane for edge in edges for lane in edge.iter("lane")}
    for lane_id, *numbers in zip(lane_ids, lengths_m.tolist(), limits_mps.tolist(), strict=True):
        lane = lanes.get(prefixed(lane_id, prefix))
        if lane is None:
            return f"lane {lane_id!r} of the road is missing"
        for name, wanted in zip(("length", "speed"), numbers, strict=True):
            found = float(lane.get(name, "nan"))
            if not abs(found - wanted) <= _ROUNDING:
                return f"lane {lane_id!r} has {name} {found:.9g}, the road's has {wanted:.9g}"
    return ""


class _Parts:
    """What a network file holds of some edges."""

    def __init__(self, lanes: Sequence[str]) -> None:
        self.attributes: dict[str, str] = {}
        self.edges: dict[str, ET.Element] = {}
        self._wanted = {_edge_of(lane) for lane in lanes}
        # SUMO breaks down over a lane inside a junction to which nothing leads.
        self._inside = {lane for lane in lanes if lane.startswith(":")}
        self.junctions: dict[str, dict[str, str]] = {}
        self._connections: dict[tuple[str, str], ET.Element] = {}

    def collect(self, stream: BinaryIO) -> None:
        """Read a network, an element at a time: a city's would not fit into memory as a tree."""
        events = ET.iterparse(stream, events=("start", "end"))  # noqa: S314 # nosec B314 (user's)
        _, root = next(events)
        self.attributes = _some(root, _NETWORK)
        depth = 0
        for event, element in events:
            depth += 1 if event == "start" else -1
            if event == "end" and depth == 0:
                self._take(element)
                root.clear()

    def _take(self, element: ET.Element) -> None:
        name = element.get("id", "")
        if element.tag == "edge" and name in self._wanted:
            self.edges[name] = ET.Element("edge", _some(element, _EDGE))
            for lane in element.iter("lane"):
                if not name.startswith(":") or lane.get("id") in self._inside:
                    ET.SubElement(self.edges[name], "lane", _some(lane, _LANE))
        elif element.tag == "junction":
            self.junctions[name] = _some(element, _JUNCTION)
        elif element.tag == "connection":
            ends = element.get("from", ""), element.get("to", "")
            if self._wanted.issuperset(ends):
                lanes = [
                    f"{edge}_{element.get(key)}"
                    for edge, key in zip(ends, ("fromLane", "toLane"), strict=True)
                ]
                self._connections[lanes[0], lanes[1]] = element

    def connection(self, here: str, there: str, via: str) -> ET.Element:
        """Return the connection of two lanes, through `via` if that is not empty."""
        found = self._connections.get((here, there))
        if found is None:
            raise ScenarioError(
                f"The network has no connection from lane {here!r} to {there!r}. "
                "Write it again with netconvert."
            )
        through = {"via": via} if via else {}
        return ET.Element("connection", {**_some(found, _CONNECTION), **through, "state": "M"})


class _Passage(NamedTuple):
    """From lane to lane, through a junction: over no lane inside it, over one, or over two."""

    here: str
    inside: tuple[str, ...]
    there: str


def _passages(road: Road) -> list[_Passage]:
    passages = []
    here, *onward = road.lane_ids
    inside: list[str] = []
    for lane in onward:
        if lane.startswith(":"):
            inside.append(lane)
        else:
            passages.append(_Passage(here, tuple(inside), lane))
            here, inside = lane, []
    return passages


def _connections(parts: _Parts, passage: _Passage) -> Iterator[ET.Element]:
    """Yield SUMO's connections: each leads to the lane behind the junction, also from inside."""
    here, inside, there = passage
    for lane, via in zip((here, *inside), (*inside, ""), strict=True):
        yield parts.connection(lane, there, via)


def _junctions(parts: _Parts, road: Road, passages: Sequence[_Passage]) -> Iterator[ET.Element]:
    """Yield the junctions on the way, at which nobody else drives."""
    edges = [_edge_of(lane) for lane in road.lane_ids if not lane.startswith(":")]
    ends = [parts.edges[edge].get("to", "") for edge in edges]
    for junction in dict.fromkeys((parts.edges[edges[0]].get("from", ""), *ends)):
        before = [edge for edge, end in zip(edges, ends, strict=True) if end == junction]
        ways = [passage for passage in passages if _edge_of(passage.here) in before]
        incoming = [
            str(lane.get("id")) for edge in before for lane in parts.edges[edge].iter("lane")
        ]
        kind = "priority" if ways else "dead_end"
        last = [passage.inside[-1] for passage in ways if passage.inside]
        element = _junction(junction, kind, incoming, last, parts.junctions.get(junction, _NOWHERE))
        nobody = "0" * len(ways)
        for index in range(len(ways)):
            request = {"index": str(index), "response": nobody, "foes": nobody, "cont": "0"}
            ET.SubElement(element, "request", request)
        yield element
    for passage in passages:
        for before_it, lane in pairwise(passage.inside):
            yield _junction(lane, "internal", [before_it], [], parts.junctions.get(lane, _NOWHERE))


def _number_anew(cut: CutRoad) -> None:
    """Give the only lane that an edge inside a junction has left the number 0."""
    names = {}
    for edge in cut.edges:
        if str(edge.get("id")).startswith(":"):
            for lane in edge:
                old, new = str(lane.get("id")), f"{edge.get('id')}_0"
                names[old] = new
                lane.set("index", "0")
    for element in (*cut.edges, *cut.junctions, *cut.connections):
        for each in element.iter():
            for key in ("id", "via", "incLanes", "intLanes"):
                words = each.get(key)
                if words:
                    each.set(key, " ".join(names.get(word, word) for word in words.split()))
    for connection in cut.connections:
        if str(connection.get("from")).startswith(":"):
            connection.set("fromLane", "0")


def _junction(
    name: str, kind: str, incoming: Sequence[str], inside: Sequence[str], place: dict[str, str]
) -> ET.Element:
    lanes = {"incLanes": " ".join(incoming), "intLanes": " ".join(inside)}
    return ET.Element("junction", {"id": name, "type": kind, **lanes, **place})


def _opened(net_file: Path) -> BinaryIO:
    with net_file.open("rb") as stream:
        packed = stream.read(len(GZIPPED)) == GZIPPED
    return cast("BinaryIO", gzip.open(net_file)) if packed else net_file.open("rb")


def _some(element: ET.Element, names: Sequence[str]) -> dict[str, str]:
    return {name: element.attrib[name] for name in names if name in element.attrib}


def _edge_of(lane: str) -> str:
    return lane.rpartition("_")[0]
