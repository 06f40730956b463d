"""Scenarios: the road that convoys drive on, ours or a user's own.

Of a user's sumocfg we take the network and one route; its vehicles are ignored. If the network
holds more than that route's lanes, the rest is cut away once and the result is cached, so that a
whole city costs no more than the road itself.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from ml.errors import ScenarioError
from ml.folders import default_cache_dir
from ml.sumo.cache import content_key, publish
from ml.sumo.netconvert import run_netconvert, strip_header
from ml.sumo.network import RouteNetwork, read_route

if TYPE_CHECKING:
    from ml.sumo.road import Road

SCENARIO_DIR = Path(__file__).resolve().parents[2] / "sumo-configs"
BUILTIN_SCENARIOS = ("highway", "rural", "two-lanes")
DEFAULT_SCENARIO = "highway"
CONVOY_ROUTE = "convoy"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A road for convoys.

    Attributes:
        name: "highway", "rural", "two-lanes", or the stem of the sumocfg.
        net_file: A network that holds the route's edges and nothing else.
        route_edges: The route's edges in driving order.
        road: The lanes of the route.
    """

    name: str
    net_file: Path
    route_edges: tuple[str, ...]
    road: Road


def load_scenario(
    sumo_cfg: Path | str | None = None,
    *,
    cache_dir: Path | None = None,
) -> Scenario:
    """Load a scenario.

    Args:
        sumo_cfg: None for the default scenario, the name of one of ours, or a path to a sumocfg.
        cache_dir: Where networks that are cut down are kept; None for the default.

    Raises:
        ScenarioError: The sumocfg, its network or its route is missing, malformed or cannot carry
            a convoy.
    """
    name = DEFAULT_SCENARIO if sumo_cfg is None else str(sumo_cfg)
    if name in BUILTIN_SCENARIOS:
        cfg_file = SCENARIO_DIR / name / f"{name}.sumocfg"
    else:
        cfg_file = Path(name).expanduser().resolve()
    if not cfg_file.is_file():
        raise ScenarioError(
            f"There is no scenario {name!r}: {cfg_file} is not a file. Name one of "
            f"{', '.join(BUILTIN_SCENARIOS)}, or give the path of a .sumocfg file.",
        )
    root = _parse(cfg_file)
    net_file = _files(root, "net-file", cfg_file)
    if len(net_file) != 1:
        raise ScenarioError(
            f'{cfg_file} names {len(net_file)} network files; it needs one <net-file value="…"/>.',
        )
    sources = [*_files(root, "route-files", cfg_file), *_files(root, "additional-files", cfg_file)]
    route_edges = _choose_route(sources, cfg_file)
    network = read_route(net_file[0], route_edges)
    if network.holds_nothing_else:
        return Scenario(cfg_file.stem, net_file[0], route_edges, network.road)
    cache = default_cache_dir() if cache_dir is None else cache_dir
    reduced = _reduced_network(net_file[0], route_edges, network, cache)
    network = read_route(reduced, route_edges)
    if not network.holds_nothing_else:
        raise ScenarioError(
            f"netconvert could not cut {net_file[0]} down to the route of {cfg_file}: "
            f"{network.foreign_edges} other edges and {len(network.unused)} other connections "
            "stayed. Cut the network down by hand (netedit) and name the result in the sumocfg.",
        )
    return Scenario(cfg_file.stem, reduced, route_edges, network.road)


def _parse(file: Path) -> ET.Element:
    try:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        # The user's own file, and expat bounds what entities may grow to.
        return ET.fromstring(data)  # noqa: S314 # nosec B314
    except OSError as error:
        raise ScenarioError(f"{file} cannot be read: {error}. Correct the path.") from error
    except (ET.ParseError, LookupError, ValueError) as error:  # the latter two: its encoding
        raise ScenarioError(
            f"{file} is not well-formed XML: {error}. Correct the file at that place.",
        ) from error


def _files(root: ET.Element, option: str, cfg_file: Path) -> list[Path]:
    """Return the files that an option of a sumocfg names; relative ones start at its folder."""
    names: list[str] = []
    for element in root.iter(option):
        value = element.get("value", element.get("v", ""))
        names += [name.strip() for name in value.split(",") if name.strip()]
    return [(cfg_file.parent / name).resolve() for name in names]


def _choose_route(sources: list[Path], cfg_file: Path) -> tuple[str, ...]:
    """Return the edges of the route called `convoy`, or of the only one."""
    routes: dict[str, tuple[str, ...]] = {}
    for source in sources:
        if not source.is_file():
            raise ScenarioError(
                f"{cfg_file} names {source}, which does not exist. "
                "Correct the name; paths start at the sumocfg's folder.",
            )
        for element in _parse(source).iter("route"):
            name = element.get("id")
            if name is not None:
                routes[name] = tuple((element.get("edges") or "").split())
    advice = (
        f'Add <route id="{CONVOY_ROUTE}" edges="first next … last"/> to a file in <route-files>.'
    )
    if not routes:
        raise ScenarioError(f"{cfg_file} leads to no named route. {advice}")
    if CONVOY_ROUTE not in routes and len(routes) > 1:
        raise ScenarioError(
            f"{cfg_file} leads to {len(routes)} routes ({', '.join(sorted(routes)[:5])}, …) and "
            f"none is called {CONVOY_ROUTE!r}. {advice}",
        )
    name = CONVOY_ROUTE if CONVOY_ROUTE in routes else next(iter(routes))
    if not routes[name]:
        raise ScenarioError(f"Route {name!r} of {cfg_file} has no edges. {advice}")
    return routes[name]


def _reduced_network(
    net_file: Path,
    route_edges: tuple[str, ...],
    network: RouteNetwork,
    cache_dir: Path,
) -> Path:
    """Cut a network down to the lanes of a route; return the cached result."""
    key = content_key("reduced", net_file.read_bytes(), " ".join(route_edges))
    connections = "\n".join(
        f"    <delete from={quoteattr(link.from_edge)} to={quoteattr(link.to_edge)}"
        f' fromLane="{link.from_lane}" toLane="{link.to_lane}"/>'
        for link in network.unused
    )

    def build(directory: Path) -> None:
        (directory / "unused.con.xml").write_text(
            f"<connections>\n{connections}\n</connections>\n",
            encoding="utf-8",
        )
        arguments = ["-s", str(net_file), "--keep-edges.explicit", ",".join(route_edges)]
        arguments += [
            "--offset.disable-normalization",
            "-x",
            "unused.con.xml",
            "-o",
            "reduced.net.xml",
            "--xml-validation",
            "never",
        ]
        run_netconvert(arguments, cwd=directory)
        strip_header(directory / "reduced.net.xml")

    return publish(cache_dir / "networks" / key, build) / "reduced.net.xml"
