"""Roads that strangers bring: driven as they are, or refused with a command that mends them."""

import gzip
import os
import re
import subprocess
from xml.etree import ElementTree as ET

import libsumo
import numpy as np
import pytest
from support import roads
from support.roads import ROADS

from ml.envs.config import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.errors import ScenarioError, SimulatorError
from ml.sumo.factory import create_simulator
from ml.sumo.names import tile_lane
from ml.sumo.protocol import SumoAccess
from ml.sumo.scenarios import examine_scenario, load_scenario
from ml.sumo.sumo_process import sumo_environment, sumo_home
from ml.sumo.tiling import NET_FILE, ROUTE_FILE, tile_scenario

pytestmark = pytest.mark.sumo

GRID = ("--grid", "--grid.number", "6", "--grid.length", "250")


@pytest.mark.parametrize("kind", ROADS)
def test_every_copy_has_the_lengths_of_the_network(tmp_path, kind):
    """SUMO sees all lanes of the road, in each copy, as long as they are in the user's network."""
    cfg = ROADS[kind](tmp_path)
    scenario = load_scenario(cfg, cache_dir=tmp_path / "cache")
    road = scenario.road
    own = {
        lane.get("id"): (float(lane.get("length")), float(lane.get("speed")))
        for lane in ET.parse(tmp_path / "road.net.xml").getroot().iter("lane")  # noqa: S314
    }
    for lane, length_m, limit_mps in zip(
        road.lane_ids, road.lane_length_m, road.lane_limit_mps, strict=True
    ):
        if kind != "bus_lane" or not lane.startswith(":"):  # there the number changes
            assert own[lane] == (length_m, limit_mps)
    tiles = tile_scenario(scenario, 4, cache_dir=tmp_path / "cache")
    files = ["--net-file", str(tiles / NET_FILE), "--additional-files", str(tiles / ROUTE_FILE)]
    libsumo.start(["sumo", *files])
    try:
        for env in range(4):
            for lane, length_m in zip(road.lane_ids, road.lane_length_m, strict=True):
                assert libsumo.lane.getLength(tile_lane(env, lane)) == pytest.approx(
                    length_m, abs=1e-6
                )
                assert libsumo.lane.getMaxSpeed(tile_lane(env, lane)) == road.fastest_mps
        here = {tile_lane(env, lane) for env in range(4) for lane in road.lane_ids}
        assert here <= set(libsumo.lane.getIDList())
    finally:
        libsumo.close()


@pytest.mark.parametrize("kind", ROADS)
def test_convoys_drive_on_it(tmp_path, kind, monkeypatch):
    """Cars pass all junctions without a jump, and nobody stops for what is not there."""
    monkeypatch.setenv("ROADSENSE_CACHE_DIR", str(tmp_path / "cache"))
    config = EnvConfig(scenario=str(ROADS[kind](tmp_path)), num_peers=(2, 2), ego_control="sumo")
    env = ConvoyVecEnv(8, config, seed=3, forced_kind="free")
    slowest = np.full(8, np.inf)
    try:
        env.reset()
        for _ in range(400):
            env.step(np.zeros((8, 1), np.float32))
            slowest = np.minimum(slowest, env.batch.truth.speed_mps[:, 1])
    finally:
        env.close()
    assert (slowest > 1.0).all()


def _run(command):
    """Run a command that was printed, in a shell that finds SUMO's programs."""
    path = f"{sumo_home() / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**sumo_environment(), "PATH": path}
    line = ["/bin/sh", "-c", command]
    subprocess.run(line, env=environment, check=True, capture_output=True)


def _mend(error, cfg):
    """Run the command of a message, and name its result in the sumocfg."""
    line = re.search(r"name (\S+) in the sumocfg: (.*)", str(error.value))
    _run(line[2])
    text = cfg.read_text(encoding="utf-8")
    cfg.write_text(re.sub(r'(<net-file value=")[^"]*', rf"\g<1>{line[1]}", text), encoding="utf-8")


def _lights(folder, *options):
    lights = ("--default-junction-type", "traffic_light", *options)
    return roads.generated_road(folder, "A1B1 B1C1 C1D1 D1E1", *GRID, *lights)


def _lights_with_crossings(folder):
    return _lights(folder, "--sidewalks.guess", "--crossings.guess")


def _joined_lights(folder):
    """One light for two junctions."""
    corners = [("n", 800), ("m", 815)]
    nodes = roads.nodes_at(
        [("a", 0, 0), ("b", 1600, 0)]
        + [(f"{name}{y}", x, y, kind) for name, x in corners for y, kind in _CORNER.items()]
    )
    edges = roads.edges_between([("a", "n0"), ("n0", "m0"), ("m0", "b")], 13.89)
    sides = [(f"{name}300", f"{name}0") for name, _ in corners]
    edges += roads.edges_between(sides + [(b, a) for a, b in sides], 13.89)
    return roads.plain_road(folder, nodes, edges, "an0 n0m0 m0b", "--tls.join")


_CORNER = {0: 'type="traffic_light"', 300: ""}


def _light_for_walkers(folder):
    walk = '<crossing node="n1" edges="e1"/>'
    side = 'sidewalkWidth="2"'
    return roads.line_road(folder, more=side, middle='type="traffic_light"', connections=walk)


def _rails(folder, middle=""):
    nodes = roads.nodes_at(
        [
            ("a", 0, 0),
            ("j", 800, 0, 'type="rail_crossing"'),
            ("l", 1600, 0, middle),
            ("b", 2400, 0),
            ("n", 800, 300),
            ("s", 800, -300),
            ("u", 1600, 300),
            ("d", 1600, -300),
        ]
    )
    edges = roads.edges_between(["aj", "jl", "lb", "ul", "ld"], 25)
    edges += roads.edges_between(["nj", "js"], 30, 'allow="rail"')
    return roads.plain_road(folder, nodes, edges, "aj jl lb")


def _railway_signal(folder):
    return roads.crossroads(folder, 'type="rail_signal"')


def _rails_and_light(folder):
    return _rails(folder, 'type="traffic_light"')


def _town_with_lights(folder):
    roads.osm_file(folder, signals=True)
    options = roads.OSM_OPTIONS
    names = ["--osm-files", "town.osm", "-o", "road.net.xml"]
    roads.run("netconvert", *names, *options, folder=folder)
    return roads.sumocfg(folder, "road.net.xml", "101 102#0 103 104")


def _own_lengths(folder):
    return roads.line_road(folder, length_m=300.0, more='length="2000"')


def _short_lengths(folder):
    return roads.line_road(folder, length_m=900.0, more='length="800"')


def _connection_with_a_length(folder):
    across = '<connection from="e0" to="e1" fromLane="0" toLane="0" length="400"/>'
    return roads.line_road(folder, connections=across)


SIGNALS = {
    _lights: "Traffic lights 'B1', 'C1', 'D1' control",
    _lights_with_crossings: "Traffic lights 'B1', 'C1', 'D1' control",
    _joined_lights: "Traffic light 'joinedS_m0_n0' controls",
    _light_for_walkers: "Traffic light 'n1' controls",
    _rails: "Level crossing 'j' controls",
    _rails_and_light: "Traffic light 'l' and level crossing 'j' control",
    _railway_signal: "Railway signal 'j' controls",
    _town_with_lights: "Traffic lights '3', '6' control",
    _own_lengths: "Edge 'e0' .* has length=\"2000\", but its shape is 300",
    _short_lengths: "Edge 'e0' .* has length=",
    _connection_with_a_length: "Edge ':n1_0' .* has length=\"400\"",
}


@pytest.mark.parametrize("make", SIGNALS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("place", ["plain", "Thesis, 2nd 'draft' & ${x}"])
def test_the_printed_command_mends_the_road(tmp_path, make, place):
    """What the message says to run is run; then the road loads, and all lanes are as drawn."""
    cfg = make(tmp_path / place)
    with pytest.raises(ScenarioError, match=SIGNALS[make]) as error:
        load_scenario(cfg, cache_dir=tmp_path / "cache")
    _mend(error, cfg)
    assert load_scenario(cfg, cache_dir=tmp_path / "cache").road.length_m > 590.0


def test_commands_for_several_faults_add_up(tmp_path):
    """A light and a length: both commands are run as they stand, and nothing is wrong any more."""
    cfg = roads.line_road(tmp_path, more='length="700"', middle='type="traffic_light"')
    problems = examine_scenario(cfg).problems
    assert len(problems) == 2
    for problem in problems:
        _run(problem.command)
    text = cfg.read_text(encoding="utf-8")
    cfg.write_text(text.replace("road.net.xml", "road-mended.net.xml"), encoding="utf-8")
    assert not examine_scenario(cfg).problems


def test_the_command_overwrites_nothing_of_the_users(tmp_path):
    """Sources that lie beside the network, by the name that everybody gives them, stay."""
    cfg = _short_lengths(tmp_path)
    own = tmp_path / "plain.edg.xml"
    own.write_text("<edges/>", encoding="utf-8")
    (problem,) = examine_scenario(cfg).problems
    _run(problem.command)
    assert own.read_text(encoding="utf-8") == "<edges/>"


def test_what_is_gzipped_is_told_by_its_content(tmp_path):
    """As SUMO does, whatever the file is called."""
    cfg = roads.crossroads(tmp_path, "")
    for name in ("road.net.xml", "road.rou.xml"):
        file = tmp_path / name
        file.write_bytes(gzip.compress(file.read_bytes()))
    assert load_scenario(cfg, cache_dir=tmp_path / "cache").road.length_m > 1700.0


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        (
            name,
            value,
            f"Lane 'e0_0' in .*road.net.xml has {name}=\"{float(value)}\"; a number above 0",
        )
        for name in ("speed", "length", "width")
        for value in ("nan", "inf", "-inf", "0", "-13.89")
    ]
    + [
        (
            "shape",
            "0.00,0.00 nan,0.00",
            r"Lane 'e0_0' in .* has something in its shape=.* that is no number",
        ),
        (
            "shape",
            "0.00,0.00 inf,0.00",
            r"Lane 'e0_0' in .* has something in its shape=.* that is no number",
        ),
        ("shape", "0.00,0.00", "Lane 'e0_0' in .* has a shape of 1 point; at least 2"),
    ],
)
def test_numbers_that_no_lane_can_have_are_errors(tmp_path, attribute, value, words):
    """Lane and attribute are named; SUMO itself would end with a segmentation fault on some."""
    cfg = roads.flat(tmp_path)
    net = tmp_path / "road.net.xml"
    text = net.read_text(encoding="utf-8").replace(
        'id="e0_0" index="0"', 'id="e0_0" index="0" width="3.20"'
    )
    net.write_text(
        re.sub(rf'(<lane id="e0_0".* {attribute}=")[^"]*', rf"\g<1>{value}", text), encoding="utf-8"
    )
    with pytest.raises(ScenarioError, match=words):
        load_scenario(cfg, cache_dir=tmp_path / "cache")


def test_an_edge_without_a_junction_at_its_end_is_told(tmp_path):
    """As one inside a junction is whose `function` is misspelt: sumolib takes it for a street."""
    cfg = roads.crossing(tmp_path)
    net = tmp_path / "road.net.xml"
    text = net.read_text(encoding="utf-8")
    net.write_text(text.replace('function="internal"', 'unction="internal"'), encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"Edge ':n1_\d' in .*road.net.xml has no from="):
        load_scenario(cfg, cache_dir=tmp_path / "cache")


def test_numbers_of_junctions_and_of_lanes_beside_are_looked_at_too(tmp_path):
    """A sidewalk of the route's edges goes into SUMO as well; foreign edges do not."""
    cfg = roads.crossing(tmp_path)
    net = tmp_path / "road.net.xml"
    text = net.read_text(encoding="utf-8")
    net.write_text(
        re.sub(r'(<lane id="e1_0".* speed=")[^"]*', r"\g<1>nan", text)
        .replace('id="n1" type="priority" x="900.00"', 'id="n1" type="priority" x="nan"')
        .replace('length="2.82"', 'length="nan"'),
        encoding="utf-8",
    )
    with pytest.raises(ScenarioError) as error:
        load_scenario(cfg, cache_dir=tmp_path / "cache")
    assert "2 things are wrong" in str(error.value)
    assert re.search(r"Lane 'e1_0' in .* has speed=\"nan\"", str(error.value))
    assert re.search(r"Junction 'n1' in .* x, y, z or shape that is no number", str(error.value))


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    """Lights, lengths, a repeated route and a file that is not there: one message, four points."""
    cfg = _rails(tmp_path, 'type="traffic_light"')
    routes = tmp_path / "road.rou.xml"
    text = routes.read_text(encoding="utf-8")
    routes.write_text(text.replace("<route ", '<route repeat="3" '), encoding="utf-8")
    net = tmp_path / "road.net.xml"
    net.write_text(
        re.sub(r'(<lane id="jl_0".* length=")[^"]*', r"\g<1>90", net.read_text(encoding="utf-8")),
        encoding="utf-8",
    )
    text = cfg.read_text(encoding="utf-8")
    cfg.write_text(text.replace('"road.rou.xml"', '"road.rou.xml,gone.rou.xml"'), encoding="utf-8")
    with pytest.raises(ScenarioError) as error:
        load_scenario(cfg, cache_dir=tmp_path / "cache")
    first, *told = str(error.value).splitlines()
    assert first == "4 things are wrong with this scenario."
    for line, words in zip(
        told, ("gone.rou.xml", 'repeat="3"', "level crossing 'j'", "Edge 'jl'"), strict=True
    ):
        assert words in line


def test_a_road_with_numbers_beside_its_lanes_is_written_for_sumolib(tmp_path):
    """The lane that is left alone in a junction gets the number that its place says."""
    road = load_scenario(roads.bus_lane(tmp_path), cache_dir=tmp_path / "cache").road
    assert road.lane_ids == ("aj_1", ":j_0_0", "jb_1")


@pytest.mark.parametrize("backend", ["libsumo", "traci"])
@pytest.mark.parametrize("name", ["a, b", "%2C c%20d", "${HOME}", "~", "'q\"&ü;$x #?"])
def test_folders_may_have_any_name(tmp_path, name, backend):
    """SUMO splits names at commas and replaces variables; road and cache may lie there."""
    folder = tmp_path / name
    scenario = load_scenario(roads.turns(folder), cache_dir=folder / "cache")
    simulator = create_simulator(
        backend, scenario, num_envs=2, num_vehicles=2, cache_dir=folder / "cache"
    )
    try:
        simulator.start()
    finally:
        simulator.close()


def test_a_sumo_elsewhere_cannot_be_given_such_a_name(tmp_path):
    """No link can be made where it runs; the message says which folder, and what to set."""
    cache = tmp_path / "a, b"
    scenario = load_scenario(cache_dir=cache)
    simulator = create_simulator(
        "traci",
        scenario,
        num_envs=1,
        num_vehicles=2,
        cache_dir=cache,
        sumo=SumoAccess("127.0.0.1", 1),
    )
    with pytest.raises(SimulatorError, match=r"a, b.*splits names at commas.*ROADSENSE_CACHE_DIR"):
        simulator.start()


NAMES = {
    "my%20net.xml": "my net.xml",
    "my net.xml": "my net.xml",
    "pc%2520.xml": "pc%20.xml",
    "pc%zz.xml": "pc%zz.xml",
    "%C3%BC.xml": "ü.xml",
    "plus+.xml": "plus+.xml",
    "${ROADSENSE_TEST}%20net.xml": "my net.xml",
    "${ROADSENSE_NOT_SET}my net.xml": "my net.xml",
    "~/my net.xml": "my net.xml",
    "${HOME}/my net.xml": "my net.xml",
    " my net.xml ": "my net.xml",
    "sub/../my net.xml": "my net.xml",
}


@pytest.mark.parametrize("written", NAMES)
def test_names_in_a_sumocfg_mean_what_they_mean_to_sumo(tmp_path, written, monkeypatch):
    """SUMO finds the network under that name, and so do we."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ROADSENSE_TEST", "my")
    cfg = roads.flat(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "road.net.xml").rename(tmp_path / NAMES[written])
    cfg.write_text(cfg.read_text(encoding="utf-8").replace("road.net.xml", written), "utf-8")
    done = subprocess.run(
        [sumo_home() / "bin" / "sumo", "-c", cfg, "--end", "1"],
        env=sumo_environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert load_scenario(cfg, cache_dir=tmp_path / "cache").road.length_m > 1700.0


def test_a_comma_in_a_name_makes_two_as_it_does_for_sumo(tmp_path):
    """Also when it is written as %2C."""
    cfg = roads.flat(tmp_path)
    text = cfg.read_text(encoding="utf-8")
    for name in ("a,b.net.xml", "a%2Cb.net.xml"):
        cfg.write_text(text.replace("road.net.xml", name), encoding="utf-8")
        with pytest.raises(ScenarioError, match="names 2 network files"):
            load_scenario(cfg, cache_dir=tmp_path / "cache")


def test_a_sumocfg_that_sumo_has_saved_loads(tmp_path):
    """SUMO writes blanks as %20 and names that start at the folder of the sumocfg."""
    roads.flat(tmp_path)
    (tmp_path / "road.net.xml").rename(tmp_path / "my own road.net.xml")
    saved = ["--save-configuration", "own.sumocfg", "-r", "road.rou.xml"]
    roads.run("sumo", "-n", "my own road.net.xml", *saved, folder=tmp_path)
    assert "%20" in (tmp_path / "own.sumocfg").read_text(encoding="utf-8")
    assert load_scenario(tmp_path / "own.sumocfg", cache_dir=tmp_path).road.length_m > 1700.0


def test_files_lie_beside_a_link_to_a_sumocfg(tmp_path):
    """As for SUMO: names start at the folder of the link, not at that of the file behind it."""
    behind = roads.line_road(tmp_path / "a", (10.0, 10.0))
    roads.line_road(tmp_path / "b", (20.0, 20.0))
    link = tmp_path / "b" / "link.sumocfg"
    link.symlink_to(behind)
    assert load_scenario(link, cache_dir=tmp_path / "cache").road.fastest_mps == 20.0


def test_a_route_given_twice_is_an_error(tmp_path):
    """SUMO refuses it, too; the last one of two is not what somebody meant."""
    cfg = roads.flat(tmp_path)
    (tmp_path / "more.rou.xml").write_text('<routes><route id="convoy" edges="e0"/></routes>')
    text = cfg.read_text(encoding="utf-8")
    cfg.write_text(text.replace('"road.rou.xml"', '"road.rou.xml,more.rou.xml"'), encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"2 routes called 'convoy'.*road\.rou.*more\.rou"):
        load_scenario(cfg, cache_dir=tmp_path / "cache")


def test_a_route_that_repeats_is_an_error(tmp_path):
    """It would be driven once, silently."""
    cfg = roads.flat(tmp_path)
    routes = tmp_path / "road.rou.xml"
    routes.write_text(routes.read_text(encoding="utf-8").replace("<route ", '<route repeat="5" '))
    with pytest.raises(ScenarioError, match=r'repeat="5", but a convoy passes each edge once'):
        load_scenario(cfg, cache_dir=tmp_path / "cache")


def test_a_network_that_changes_before_it_is_tiled_is_an_error(tmp_path):
    """Positions would be those of another road; the message names lane and both lengths."""
    scenario = load_scenario(roads.flat(tmp_path), cache_dir=tmp_path / "cache")
    net = scenario.net_file
    net.write_text(net.read_text(encoding="utf-8").replace('length="900.00"', 'length="901.00"', 1))
    with pytest.raises(ScenarioError, match=r"lane 'e0_0' has length 901, the road's has 900"):
        tile_scenario(scenario, 1, cache_dir=tmp_path / "cache")


def test_a_cached_layout_with_other_lengths_is_an_error(tmp_path):
    """It is said at the start, about the network, and not as a car that jumps."""
    scenario = load_scenario(roads.flat(tmp_path), cache_dir=tmp_path / "cache")
    tiles = tile_scenario(scenario, 1, cache_dir=tmp_path / "cache")
    text = (tiles / NET_FILE).read_text(encoding="utf-8")
    (tiles / NET_FILE).write_text(text.replace('length="900.00"', 'length="900.10"', 1))
    with pytest.raises(SimulatorError, match=r"lane 'e0_0' has length 900\.1, .* 900.*rm -r"):
        tile_scenario(scenario, 1, cache_dir=tmp_path / "cache")
