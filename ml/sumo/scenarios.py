"""Scenarios: the road that convoys drive on, ours or a user's own.

Of a user's sumocfg we take the network and one route; its vehicles are ignored. If the network
holds more than that route, the road is cut out once and the result is cached, so that a whole city
costs no more than the road itself.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from ml.errors import ScenarioError
from ml.folders import default_cache_dir, expand_home
from ml.installation import repository_folder
from ml.sumo.cache import content_key, publish, require_whole
from ml.sumo.cutting import cut_road, network_text, written
from ml.sumo.network import RouteNetwork, examine_route, read_route
from ml.sumo.problem import Problem, tell
from ml.sumo.road import Road
from ml.sumo.sumocfg import choose_route, files_named, parse_xml

SCENARIO_DIR = repository_folder("sumo-configs")
BUILTIN_SCENARIOS = ("highway", "rural", "two-lanes")
DEFAULT_SCENARIO = "highway"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A road for convoys.

    Attributes:
        name: "highway", "rural", "two-lanes", or the stem of the sumocfg.
        net_file: A network that holds the route's edges and no others.
        route_edges: The route's edges in driving order.
        road: The lanes of the route.
    """

    name: str
    net_file: Path
    route_edges: tuple[str, ...]
    road: Road


@dataclass(frozen=True, slots=True)
class Examined:
    """What a sumocfg leads to, and all that is wrong with it.

    Attributes:
        cfg_file: The sumocfg.
        net_file: Its network; None without a single one.
        route_edges: Edges of the convoy's route; None without one.
        problems: What is wrong.
        network: What the network holds of the route; None where problems left no road, or where
            it has not been read.
    """

    cfg_file: Path
    net_file: Path | None
    route_edges: tuple[str, ...] | None
    problems: tuple[Problem, ...]
    network: RouteNetwork | None = None


def load_scenario(sumo_cfg: Path | str | None = None, *, cache_dir: Path | None = None) -> Scenario:
    """Load a scenario.

    Args:
        sumo_cfg: None for the default scenario, the name of one of ours, or a path to a sumocfg.
        cache_dir: Where roads that are cut out are kept; None for the default.

    Raises:
        ScenarioError: The sumocfg, its network or its route is missing, malformed or cannot carry
            a convoy. All that is wrong is told at once.
    """
    sources = _find_sources(sumo_cfg)
    net_file, route_edges = sources.net_file, sources.route_edges
    if net_file is None or route_edges is None or not net_file.is_file():
        raise ScenarioError(tell(_read_network(sources).problems))
    name = sources.cfg_file.stem
    cache = default_cache_dir() if cache_dir is None else cache_dir
    key = content_key("road", net_file.read_bytes(), " ".join(route_edges))
    entry = cache / "networks" / key
    if not entry.is_dir():
        examined = _read_network(sources)
        network = examined.network
        if network is None or examined.problems:
            raise ScenarioError(tell(examined.problems))
        if network.holds_nothing_else:
            return Scenario(name, net_file, route_edges, network.road)
        _publish_road(entry, net_file, network.road)
    elif sources.problems:
        raise ScenarioError(tell(sources.problems))
    cut = expand_home(entry).absolute() / "road.net.xml"
    require_whole(cut, "</net>")
    return Scenario(name, cut, route_edges, read_route(cut, route_edges).road)


def examine_scenario(sumo_cfg: Path | str | None = None) -> Examined:
    """Look for all that is wrong with a scenario; see `load_scenario`.

    Raises:
        ScenarioError: There is no such sumocfg, or it is malformed.
    """
    return _read_network(_find_sources(sumo_cfg))


def scenario_files(cfg_file: Path) -> list[Path]:
    """List a sumocfg and the files that it names; those that it misses are told of on loading."""
    try:
        root = parse_xml(cfg_file)
    except ScenarioError:
        return [cfg_file]
    options = ("net-file", "route-files", "additional-files")
    places = [place for option in options for place in files_named(root, option, cfg_file)]
    return [cfg_file, *(place for place in places if place.is_file())]


def _find_sources(sumo_cfg: Path | str | None) -> Examined:
    """Find a scenario's network and route, and read neither network nor lanes."""
    name = DEFAULT_SCENARIO if sumo_cfg is None else str(sumo_cfg)
    if name in BUILTIN_SCENARIOS:
        cfg_file = SCENARIO_DIR / name / f"{name}.sumocfg"
    else:
        cfg_file = expand_home(Path(name)).absolute()
    if not cfg_file.is_file():
        raise ScenarioError(
            f"There is no scenario {name!r}: {cfg_file} is not a file. Name one of "
            f"{', '.join(BUILTIN_SCENARIOS)}, or give the path of a .sumocfg file."
        )
    root = parse_xml(cfg_file)
    problems = []
    nets = files_named(root, "net-file", cfg_file)
    if len(nets) != 1:
        what = f"{cfg_file} names {len(nets)} network files."
        problems.append(Problem(what, 'It needs one <net-file value="…"/>.'))
    options = ("route-files", "additional-files")
    files = [file for option in options for file in files_named(root, option, cfg_file)]
    route_edges, wrong = choose_route(files, cfg_file)
    net_file = nets[0] if len(nets) == 1 else None
    return Examined(cfg_file, net_file, route_edges, (*problems, *wrong))


def _read_network(sources: Examined) -> Examined:
    if sources.net_file is None:
        return sources
    network, wrong = examine_route(sources.net_file, sources.route_edges)
    return replace(sources, network=network, problems=(*sources.problems, *wrong))


def _publish_road(entry: Path, net_file: Path, road: Road) -> None:
    """Cut a road out of a network, and keep it."""

    def build(directory: Path) -> None:
        cut = cut_road(net_file, road)
        elements = map(written, (*cut.edges, *cut.junctions, *cut.connections))
        text = network_text(cut.attributes, elements)
        (directory / "road.net.xml").write_text(text, encoding="utf-8")

    publish(entry, build)
