"""Write the rural road's network: one winding lane of straights and circular arcs.

Run it from anywhere: ``python sumo-configs/rural/generate.py``. The same SUMO version writes the
same bytes.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import NamedTuple

from ml.sumo.netconvert import run_netconvert, strip_header

HERE = Path(__file__).resolve().parent
POINT_SPACING_M = 5.0


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
STRETCHES = (
    Stretch(22.22, 1.5, (Arc(420), Arc(300, 50), Arc(120))),
    Stretch(22.22, 4.0, (Arc(260, -60), Arc(180), Arc(210, 35))),
    Stretch(13.89, 6.0, (Arc(80), Arc(140, 95), Arc(40), Arc(150, -100), Arc(60))),
    Stretch(19.44, 1.5, (Arc(200, -40), Arc(240, 60), Arc(90))),
    Stretch(22.22, 9.0, (Arc(520), Arc(400, -55))),
    Stretch(16.67, 1.5, (Arc(120, 45), Arc(130, -50), Arc(110, 40), Arc(45))),
    Stretch(22.22, 3.0, (Arc(300, -70), Arc(350))),
    Stretch(22.22, 1.5, (Arc(380, 60), Arc(500))),
)


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


def plain_xml() -> tuple[str, str]:
    """Return the nodes and the edges in SUMO's plain XML."""
    x = y = heading = 0.0
    nodes = ['    <node id="n0" x="0" y="0" type="priority"/>']
    edges = []
    for index, stretch in enumerate(STRETCHES):
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


def generate(directory: Path) -> Path:
    """Write ``rural.net.xml`` into a directory and return its path."""
    net_file = directory / "rural.net.xml"
    nodes, edges = plain_xml()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "nodes.nod.xml").write_text(nodes, encoding="utf-8")
        (work / "edges.edg.xml").write_text(edges, encoding="utf-8")
        options = [
            "--no-turnarounds",
            "--offset.disable-normalization",
            "--xml-validation",
            "never",
        ]
        sources = ["-n", "nodes.nod.xml", "-e", "edges.edg.xml"]
        written = work / "road.net.xml"
        run_netconvert([*sources, "-o", written.name, *options], cwd=work)
        strip_header(written)
        net_file.write_bytes(written.read_bytes())
    return net_file


def main() -> None:
    """Generate the network beside this script."""
    net_file = generate(HERE)
    length_m = sum(arc.length_m for stretch in STRETCHES for arc in stretch.arcs)
    print(f"wrote {net_file.name}: {length_m:.0f} m in {len(STRETCHES)} edges")


if __name__ == "__main__":
    main()
