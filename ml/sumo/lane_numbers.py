"""Numbers in networks that no road can have: some of them take SUMO's process along."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ml.sumo.problem import Problem, lengths_of_shapes, named, written_anew

# Lanes side by side share a length, and SUMO makes none shorter than 0.1 m; the rest is rounding.
_MOST_OFF_M = 1.0
_MOST_OFF_SHARE = 0.05


def impossible_numbers(edges: Sequence[Any], net_file: Path) -> list[Problem]:
    """Return what is wrong with the numbers of sumolib's edges and of the junctions beside them."""
    found = [each for edge in edges for each in (*_of_lanes(edge), *_of_junctions(edge))]
    return [
        Problem(f"{thing} in {net_file} has {fault}.", "Correct it there, by hand or in netedit.")
        for thing, fault in dict.fromkeys(found)
    ]


def _of_lanes(edge: Any) -> Iterator[tuple[str, str]]:
    for lane in edge.getLanes():
        name = f"Lane {lane.getID()!r}"
        values = {"speed": lane.getSpeed(), "length": lane.getLength(), "width": lane.getWidth()}
        for attribute, value in values.items():
            if not (math.isfinite(value) and value > 0.0):
                yield name, f'{attribute}="{value}"; a number above 0 is needed'
        shape = lane.getShape3D()
        if len(shape) < 2:  # noqa: PLR2004 (a line has two ends)
            number = f"{len(shape)} point{'' if len(shape) == 1 else 's'}"
            yield name, f"a shape of {number}; at least 2 are needed"
        elif not all(math.isfinite(value) for point in shape for value in point):
            yield name, 'something in its shape="…" that is no number'


def _of_junctions(edge: Any) -> Iterator[tuple[str, str]]:
    if edge.isSpecial():
        return
    for end, node in (("from", edge.getFromNode()), ("to", edge.getToNode())):
        if node is None:
            yield f"Edge {edge.getID()!r}", f'no {end}="…", the junction at that end'
            continue
        numbers = [*node.getCoord3D(), *(value for point in node.getShape3D() for value in point)]
        if not all(math.isfinite(value) for value in numbers):
            yield f"Junction {node.getID()!r}", "something in x, y, z or shape that is no number"


def strange_lengths(edges: Sequence[Any], net_file: Path, *, after_signals: bool) -> list[Problem]:
    """Return what has to be said of sumolib's edges that are not as long as they are drawn.

    Args:
        edges: Those that the convoy passes.
        net_file: The network.
        after_signals: Whether signals have to be taken out as well, by a command before this one.
    """
    bridged = not any(edge.isSpecial() for edge in edges)
    strange = []
    for edge in edges:
        lanes = edge.getLanes()
        drawn_m = [_length_m(lane.getShape3D(), axes) for lane in lanes for axes in (2, 3)]
        least_m, most_m = min(drawn_m), max(drawn_m)
        if bridged:  # without lanes in junctions an edge is as long as from middle to middle
            most_m += max(_way_to_nodes_m(edge, lane) for lane in lanes)
        slack_m = max(_MOST_OFF_M, _MOST_OFF_SHARE * most_m)
        lengths_m = [lane.getLength() for lane in lanes]
        if max(lengths_m) > most_m + slack_m or min(lengths_m) < least_m - slack_m:
            strange.append((edge.getID(), lengths_m[0], drawn_m[0]))
    if not strange:
        return []
    name, length_m, shape_m = strange[0]
    more = f" So it is with {named([name for name, *_ in strange[1:]])}." if strange[1:] else ""
    what = (
        f'Edge {name!r} in {net_file} has length="{length_m:g}", but its shape is {shape_m:.2f} m '
        f"long. Distances would not be those on the map.{more}"
    )
    then = "Then take" if after_signals else "Take"
    remedy = f"{then} the lengths out, and name {written_anew(net_file).name} in the sumocfg:"
    return [Problem(what, remedy, lengths_of_shapes(net_file, after_signals=after_signals))]


def _way_to_nodes_m(edge: Any, lane: Any) -> float:
    shape = lane.getShape()
    ends = (shape[0], edge.getFromNode()), (shape[-1], edge.getToNode())
    return sum(math.dist(point, node.getCoord()) for point, node in ends)


def _length_m(shape: Sequence[Sequence[float]], axes: int) -> float:
    return sum(math.dist(here[:axes], there[:axes]) for here, there in pairwise(shape))
