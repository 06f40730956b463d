"""Our scenarios, and what becomes of a user's own sumocfg."""

import gzip
import importlib.util
import re

import numpy as np
import pytest
from support.roads import run

from ml.errors import ScenarioError
from ml.sumo.factory import create_simulator
from ml.sumo.protocol import DriverParameters, Placement, TickCommands
from ml.sumo.scenarios import SCENARIO_DIR, load_scenario

pytestmark = pytest.mark.sumo


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Write a town of streets with so many lanes, once for each kind; return the network."""
    made = {}

    def make(lanes=1, *options):
        if (lanes, options) not in made:
            file = tmp_path_factory.mktemp("grid") / "town.net.xml"
            size = ("--grid.number", "6", "--grid.length", "200", "-L", str(lanes))
            run("netgenerate", "--grid", *size, "-o", file, *options, folder=file.parent)
            made[lanes, options] = file
        return made[lanes, options]

    return make


@pytest.fixture
def write(tmp_path):
    """Write a sumocfg with its route file; return the sumocfg."""

    def make(net, routes, *, name="mine.sumocfg"):
        (tmp_path / "mine.rou.xml").write_text(f"<routes>{routes}</routes>", encoding="utf-8")
        cfg = tmp_path / name
        cfg.write_text(
            f'<configuration><input><net-file value="{net}"/>'
            '<route-files value="mine.rou.xml"/></input></configuration>',
            encoding="utf-8",
        )
        return cfg

    return make


STRAIGHT = "A0B0 B0C0 C0D0 D0E0 E0F0"
TURNING = "A0B0 B0C0 C0C1 C1C2 C2D2 D2E2"


@pytest.mark.parametrize("name", ["highway", "rural", "two-lanes"])
def test_generators_write_the_committed_networks(tmp_path, name):
    """Running the generator again gives the bytes that are in the repository."""
    script = SCENARIO_DIR / "generate.py"
    spec = importlib.util.spec_from_file_location("generate_scenarios", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fresh = module.generate(name, tmp_path)
    assert fresh.read_bytes() == (SCENARIO_DIR / name / fresh.name).read_bytes()
    assert b"generated on" not in fresh.read_bytes()


def test_our_scenarios_are_what_their_readmes_say():
    """The highway is straight and fast, the rural road winds and passes junctions."""
    highway, rural = load_scenario("highway"), load_scenario("rural")
    assert load_scenario(None).name == "highway"
    assert highway.road.length_m >= 5000.0
    assert highway.road.slowest_mps == pytest.approx(36.11)
    assert rural.road.length_m >= 4000.0
    assert rural.road.lane_internal.sum() == 7
    heading_deg = rural.road.pose(np.arange(0.0, rural.road.length_m, 10.0))[2]
    assert np.ptp(np.mod(heading_deg + 180.0, 360.0)) > 90.0
    lanes = load_scenario("two-lanes")
    assert lanes.road.left_lane_ids == ("straight_1",)
    assert lanes.road.left_m == 3.5
    assert not highway.road.left_lane_ids
    assert not rural.road.left_lane_ids
    for scenario in (highway, rural, lanes):
        assert scenario.net_file.is_relative_to(SCENARIO_DIR)


@pytest.mark.parametrize(("lanes", "edges"), [(1, TURNING), (2, STRAIGHT), (1, STRAIGHT)])
def test_a_town_is_cut_down_to_the_route(grid, write, tmp_path, lanes, edges):
    """Of a user's network the route's lanes are left; convoys drive it to the end."""
    cfg = write(grid(lanes), f'<route id="convoy" edges="{edges}"/>')
    scenario = load_scenario(cfg, cache_dir=tmp_path / "cache")
    assert scenario.route_edges == tuple(edges.split())
    outer = [lane for lane in scenario.road.lane_ids if not lane.startswith(":")]
    assert [lane.rsplit("_", 1)[0] for lane in outer] == edges.split()
    again = load_scenario(cfg, cache_dir=tmp_path / "cache")
    assert again.net_file == scenario.net_file

    simulator = create_simulator(
        "traci", scenario, num_envs=2, num_vehicles=2, cache_dir=tmp_path / "cache"
    )
    shape = (2, 2)
    try:
        simulator.start()
        simulator.place(_uncontrolled([[20.0, 60.0], [30.0, 90.0]], 10.0))
        furthest = np.zeros(shape)
        for _ in range(2500):
            state = simulator.step(_no_commands(shape))
            furthest = np.maximum(furthest, state.route_pos_m)
            if not state.present.any():
                break
        assert not state.present.any()
        assert (furthest > scenario.road.length_m - 5.0).all()
        assert simulator.teleport_count() == 0
    finally:
        simulator.close()


def test_the_only_route_will_do_and_vehicles_are_ignored(grid, write, tmp_path):
    """A single named route counts whatever its name; flows and vehicles do not matter."""
    cfg = write(
        grid(),
        f'<route id="mine" edges="{TURNING}"/><vehicle id="v" depart="0" route="mine"/>'
        '<vehicle id="w" depart="0"><route edges="A0B0 B0C0"/></vehicle>'
        '<flow id="f" begin="0" end="9" number="3" from="A0B0" to="B0C0"/>',
    )
    assert load_scenario(cfg, cache_dir=tmp_path).route_edges == tuple(TURNING.split())


def test_the_convoy_is_chosen_among_many(grid, write, tmp_path):
    """The route called convoy wins over the others."""
    cfg = write(grid(), f'<route id="a" edges="A0B0"/><route id="convoy" edges="{STRAIGHT}"/>')
    assert load_scenario(cfg, cache_dir=tmp_path).route_edges == tuple(STRAIGHT.split())


def test_gzipped_files_are_read(grid, write, tmp_path):
    """Networks and routes may be compressed."""
    packed = tmp_path / "town.net.xml.gz"
    packed.write_bytes(gzip.compress(grid().read_bytes()))
    cfg = write(packed, f'<route id="convoy" edges="{STRAIGHT}"/>')
    routes = tmp_path / "mine.rou.xml"
    (tmp_path / "mine.rou.xml.gz").write_bytes(gzip.compress(routes.read_bytes()))
    cfg.write_text(cfg.read_text().replace("mine.rou.xml", "mine.rou.xml.gz"))
    assert load_scenario(cfg, cache_dir=tmp_path).road.length_m > 900.0


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ("", "leads to no named route.*<route id="),
        ('<vehicle id="w" depart="0"><route edges="A0B0"/></vehicle>', "no named route"),
        ('<route id="a" edges="A0B0"/><route id="b" edges="B0C0"/>', "2 routes.*none is called"),
        ('<route id="convoy" edges=""/>', "has no edges"),
        ('<route id="convoy" edges="A0B0 nowhere"/>', "'nowhere' of the route of 2 edges"),
        ('<route id="convoy" edges="A0B0 C0D0 D0E0 E0F0"/>', "'A0B0' and 'C0D0' .* not joined"),
        ('<route id="convoy" edges="A0B0 B0C0"/>', "needs at least 500 m"),
        ('<route id="convoy" edges="A0B0 B0A0 A0B0"/>', "'A0B0' comes twice"),
    ],
)
def test_routes_that_cannot_carry_a_convoy_are_errors(grid, write, tmp_path, routes, words):
    """Each mistake is named with its place and what to do."""
    with pytest.raises(ScenarioError, match=words):
        load_scenario(write(grid(), routes), cache_dir=tmp_path)


@pytest.mark.parametrize("end", ["from", "to"])
def test_an_edge_that_ends_nowhere_is_an_error(write, tmp_path, end):
    """A network whose edge names no junction at one end is refused, and the edge is named."""
    text = (SCENARIO_DIR / "rural" / "rural.net.xml").read_text(encoding="utf-8")
    assert ' from="n2" to="n3"' in text
    net = tmp_path / "loose.net.xml"
    net.write_text(re.sub(rf'(id="r2".*?) {end}="\w+"', r"\1", text, count=1), encoding="utf-8")
    cfg = write(net, f'<route id="convoy" edges="{" ".join(f"r{k}" for k in range(8))}"/>')
    with pytest.raises(ScenarioError, match="begin or end at no junction: 'r2'"):
        load_scenario(cfg, cache_dir=tmp_path)


def test_a_route_that_needs_lane_changes_is_an_error(grid, write, tmp_path):
    """Convoys keep their lane, and no lane turns both right and left."""
    cfg = write(grid(2), f'<route id="convoy" edges="{TURNING}"/>')
    with pytest.raises(ScenarioError, match="convoys keep their lane"):
        load_scenario(cfg, cache_dir=tmp_path)


def test_nobody_overtakes_on_a_second_lane(write, tmp_path):
    """A fast driver stays behind a slow one, although the road has room."""
    (tmp_path / "n.nod.xml").write_text(
        '<nodes><node id="a" x="0" y="0"/><node id="b" x="3000" y="0"/></nodes>', encoding="utf-8"
    )
    (tmp_path / "e.edg.xml").write_text(
        '<edges><edge id="wide" from="a" to="b" numLanes="2" speed="25"/></edges>',
        encoding="utf-8",
    )
    files = ("-n", "n.nod.xml", "-e", "e.edg.xml", "-o", "wide.net.xml")
    run("netconvert", *files, folder=tmp_path)
    cfg = write("wide.net.xml", '<route id="convoy" edges="wide"/>')
    scenario = load_scenario(cfg, cache_dir=tmp_path)
    simulator = create_simulator(
        "libsumo", scenario, num_envs=1, num_vehicles=2, cache_dir=tmp_path
    )
    try:
        simulator.start()
        simulator.place(_uncontrolled([[100.0, 160.0]], 12.0, speed_factor=[[1.2, 0.5]]))
        for _ in range(900):
            state = simulator.step(_no_commands((1, 2)))
            assert state.route_pos_m[0, 0] < state.route_pos_m[0, 1] - 4.5
        assert state.present.all()
    finally:
        simulator.close()


def test_roads_without_passenger_cars_are_errors(grid, write, tmp_path):
    """A lane for buses alone is not for a convoy."""
    buses = tmp_path / "buses.net.xml"
    text = grid().read_text(encoding="utf-8")
    buses.write_text(text.replace('<lane id="B0C0_0"', '<lane allow="bus" id="B0C0_0"'))
    cfg = write(buses, f'<route id="convoy" edges="{STRAIGHT}"/>')
    with pytest.raises(ScenarioError, match=r"No lane of edge 'B0C0' .* passenger"):
        load_scenario(cfg, cache_dir=tmp_path)


def test_missing_and_malformed_files_are_errors(grid, write, tmp_path):
    """The file is named, and for XML the place in it."""
    with pytest.raises(ScenarioError, match=r"There is no scenario 'motorway'.*highway, rural"):
        load_scenario("motorway")
    routes = f'<route id="convoy" edges="{STRAIGHT}"/>'
    with pytest.raises(ScenarioError, match=r"gone\.net\.xml does not exist"):
        load_scenario(write("gone.net.xml", routes), cache_dir=tmp_path)
    half = tmp_path / "half.net.xml"
    half.write_text(grid().read_text(encoding="utf-8")[:5000], encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"half\.net\.xml is not a SUMO network"):
        load_scenario(write(half, routes), cache_dir=tmp_path)
    other = tmp_path / "other.net.xml"
    other.write_text("<routes/>", encoding="utf-8")
    with pytest.raises(ScenarioError, match="'A0B0' of the route of 5 edges"):
        load_scenario(write(other, routes), cache_dir=tmp_path)
    cfg = write(grid(), "<route")
    with pytest.raises(ScenarioError, match=r"mine\.rou\.xml is not well-formed XML: .*line 1"):
        load_scenario(cfg, cache_dir=tmp_path)
    (tmp_path / "mine.rou.xml").unlink()
    with pytest.raises(ScenarioError, match=r"mine\.rou\.xml, which does not exist"):
        load_scenario(cfg, cache_dir=tmp_path)
    cfg.write_text("<configuration/>", encoding="utf-8")
    with pytest.raises(ScenarioError, match="names 0 network files"):
        load_scenario(cfg, cache_dir=tmp_path)


def _uncontrolled(positions_m, speed_mps, speed_factor=1.0):
    """Convoys that SUMO's car-following drives."""
    shape = np.shape(positions_m)
    full = {"tau_s": 1.0, "accel_mps2": 2.6, "decel_mps2": 4.5, "min_gap_m": 2.0}
    return Placement(
        env_indices=np.arange(shape[0]),
        present=np.ones(shape, bool),
        route_pos_m=np.array(positions_m),
        speed_mps=np.full(shape, speed_mps),
        controlled=np.zeros(shape, bool),
        drivers=DriverParameters(
            **{name: np.full(shape, value) for name, value in full.items()},
            speed_factor=np.broadcast_to(speed_factor, shape).astype(float),
        ),
    )


def _no_commands(shape):
    return TickCommands(np.zeros(shape, bool), np.full(shape, np.nan), np.full(shape, np.nan))
