"""Write the highway's network: one straight lane.

Run it from anywhere: ``python sumo-configs/highway/generate.py``. The same SUMO version writes the
same bytes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ml.sumo.netconvert import run_netconvert, strip_header

HERE = Path(__file__).resolve().parent
LENGTH_M = 6000.0
SPEED_LIMIT_MPS = 36.11  # 130 km/h

NODES = f"""<nodes>
    <node id="west" x="0" y="0" type="priority"/>
    <node id="east" x="{LENGTH_M}" y="0" type="priority"/>
</nodes>
"""
EDGES = f"""<edges>
    <edge id="straight" from="west" to="east" numLanes="1" speed="{SPEED_LIMIT_MPS}"
          spreadType="center"/>
</edges>
"""


def generate(directory: Path) -> Path:
    """Write ``highway.net.xml`` into a directory and return its path."""
    net_file = directory / "highway.net.xml"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "nodes.nod.xml").write_text(NODES, encoding="utf-8")
        (work / "edges.edg.xml").write_text(EDGES, encoding="utf-8")
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
    print(f"wrote {net_file.name}: {LENGTH_M:.0f} m, limit {SPEED_LIMIT_MPS} m/s")


if __name__ == "__main__":
    main()
