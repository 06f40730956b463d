"""Write the networks of our scenarios through SUMO's netconvert.

Run it from anywhere: ``python sumo-configs/generate.py`` writes all of them, each into its folder;
names after it choose some. The same SUMO version writes the same bytes.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from ml.sumo.sumo_process import sumo_environment, sumo_program

HERE = Path(__file__).resolve().parent
LENGTH_M = 6000.0
SPEED_LIMIT_MPS = 36.11  # 130 km/h
LANE_WIDTH_M = 3.5  # as UN Regulation No. 157 takes it
POINT_SPACING_M = 5.0
OPTIONS = ("--no-turnarounds", "--offset.disable-normalization", "--xml-validation", "never")
# The comment with the date and the options that netconvert writes into a network.
HEADER = re.compile(r"<!--.*?-->\s*", re.DOTALL)


class Arc(NamedTuple):
    """A piece of road: `turn_deg` > 0 turns left, 0 is straight."""

    length_m: float
    turn_deg: float = 0.0


class Stretch(NamedTuple):
    """One edge: its speed limit, the size of the junction at its end, and its pieces."""

    speed_limit_mps: float
    end_radius_m: float
    arcs: tuple[Arc, ...]


# The limit of each stretch keeps the lateral acceleration in its tightest arc below 2.5 m/s².
RURAL = (
    Stretch(22.22, 1.5, (Arc(420), Arc(300, 50), Arc(120))),
    Stretch(22.22, 4.0, (Arc(260, -60), Arc(180), Arc(210, 35))),
    Stretch(13.89, 6.0, (Arc(80), Arc(140, 95), Arc(40), Arc(150, -100), Arc(60))),
    Stretch(19.44, 1.5, (Arc(200, -40), Arc(240, 60), Arc(90))),
    Stretch(22.22, 9.0, (Arc(520), Arc(400, -55))),
    Stretch(16.67, 1.5, (Arc(120, 45), Arc(130, -50), Arc(110, 40), Arc(45))),
    Stretch(22.22, 3.0, (Arc(300, -70), Arc(350))),
    Stretch(22.22, 1.5, (Arc(380, 60), Arc(500))),
)


def straight_road(lanes: str) -> tuple[str, str]:
    """Return nodes and edges, in SUMO's plain XML, of a straight road with such lanes."""
    nodes = f"""<nodes>
    <node id="west" x="0" y="0" type="priority"/>
    <node id="east" x="{LENGTH_M}" y="0" type="priority"/>
</nodes>
"""
    edges = f"""<edges>
    <edge id="straight" from="west" to="east" {lanes} speed="{SPEED_LIMIT_MPS}"
          spreadType="center"/>
</edges>
"""
    return nodes, edges


def trace(stretch: Stretch, x: float, y: float, heading: float) -> list[tuple[float, float, float]]:
    """Return points (x, y, heading in rad) along a stretch; the first is the start."""
    points = [(x, y, heading)]
    for arc in stretch.arcs:
        steps = max(1, round(arc.length_m / POINT_SPACING_M)) if arc.turn_deg else 1
        turn = math.radians(arc.turn_deg) / steps
        # A chord is shorter than its arc.
        arc_m = arc.length_m / steps
        chord_m = arc_m if turn == 0.0 else 2.0 * arc_m / turn * math.sin(turn / 2.0)
        for _ in range(steps):
            x += chord_m * math.cos(heading + turn / 2.0)
            y += chord_m * math.sin(heading + turn / 2.0)
            heading += turn
            points.append((x, y, heading))
    return points


def winding_road(stretches: tuple[Stretch, ...]) -> tuple[str, str]:
    """Return nodes and edges, in SUMO's plain XML, of a road of straights and circular arcs."""
    x = y = heading = 0.0
    nodes = ['    <node id="n0" x="0" y="0" type="priority"/>']
    edges = []
    for index, stretch in enumerate(stretches):
        points = trace(stretch, x, y, heading)
        x, y, heading = points[-1]
        nodes.append(
            f'    <node id="n{index + 1}" x="{x:.3f}" y="{y:.3f}" type="priority"'
            f' radius="{stretch.end_radius_m}"/>',
        )
        shape = " ".join(f"{px:.3f},{py:.3f}" for px, py, _ in points)
        edges.append(
            f'    <edge id="r{index}" from="n{index}" to="n{index + 1}" numLanes="1"'
            f' speed="{stretch.speed_limit_mps}" spreadType="center" shape="{shape}"/>',
        )
    return (
        "<nodes>\n" + "\n".join(nodes) + "\n</nodes>\n",
        "<edges>\n" + "\n".join(edges) + "\n</edges>\n",
    )


ROADS = {
    "highway": straight_road('numLanes="1"'),
    "rural": winding_road(RURAL),
    "two-lanes": straight_road(f'numLanes="2" width="{LANE_WIDTH_M}"'),
}


def generate(name: str, directory: Path) -> Path:
    """Write a scenario's network into a directory and return its path."""
    net_file = directory / f"{name}.net.xml"
    with tempfile.TemporaryDirectory() as work:
        for ending, text in zip(("nod", "edg"), ROADS[name], strict=True):
            Path(work, f"road.{ending}.xml").write_text(text, encoding="utf-8")
        sources = ("-n", "road.nod.xml", "-e", "road.edg.xml", "-o", "road.net.xml")
        subprocess.run(  # noqa: S603 - our own program with our own arguments
            [str(sumo_program("netconvert")), *sources, *OPTIONS],
            cwd=work,
            env=sumo_environment(),
            check=True,
            capture_output=True,
        )
        text = Path(work, "road.net.xml").read_text(encoding="utf-8")
    net_file.write_text(HEADER.sub("", text, count=1), encoding="utf-8")
    return net_file


if __name__ == "__main__":
    for each in sys.argv[1:] or ROADS:
        print(f"wrote {generate(each, HERE / each)}")
