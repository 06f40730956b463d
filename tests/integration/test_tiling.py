"""One road laid out many times, and the cache that keeps it."""

import re
import shutil
import subprocess
import sys
from itertools import pairwise

import libsumo
import numpy as np
import pytest

from ml.errors import SimulatorError
from ml.sumo.names import tile_lane
from ml.sumo.scenarios import load_scenario
from ml.sumo.tiling import NET_FILE, load_options, tile_scenario

pytestmark = pytest.mark.sumo


@pytest.mark.parametrize("name", ["highway", "rural"])
def test_every_copy_is_the_road(tmp_path, name):
    """SUMO sees each lane of each copy with the road's length, all with its highest limit."""
    scenario = load_scenario(name)
    tiles = tile_scenario(scenario, 5, cache_dir=tmp_path)
    libsumo.start(["sumo", *load_options(tiles)])
    try:
        lanes = set(libsumo.lane.getIDList())
        assert len(lanes) == 8 * len(scenario.road.lane_ids)
        bounds = []
        for env in range(8):
            ys = []
            for lane_id, length_m in zip(
                scenario.road.lane_ids, scenario.road.lane_length_m, strict=True
            ):
                lane = tile_lane(env, lane_id)
                assert libsumo.lane.getLength(lane) == length_m
                assert libsumo.lane.getMaxSpeed(lane) == scenario.road.fastest_mps
                ys += [y for _, y in libsumo.lane.getShape(lane)]
            bounds.append((min(ys), max(ys)))
            edges = libsumo.route.getEdges(f"c{env:04d}.convoy")
            assert edges == tuple(f"c{env:04d}.{edge}" for edge in scenario.route_edges)
        gaps_m = [after[0] - before[1] for before, after in pairwise(bounds)]
        assert min(gaps_m) > 100.0
        for kind in ("peer", "ego"):
            assert libsumo.vehicletype.getImperfection(kind) <= 0.0  # -1: the model has none
            assert libsumo.vehicletype.getSpeedDeviation(kind) == 0.0
            assert libsumo.vehicletype.getLength(kind) == 4.5
    finally:
        libsumo.close()


def test_a_layout_is_built_once(tmp_path):
    """The next call finds it; another number of convoys or another road is another entry."""
    highway = load_scenario("highway")
    first = tile_scenario(highway, 3, cache_dir=tmp_path)
    before = (first / NET_FILE).stat().st_mtime_ns
    assert tile_scenario(highway, 4, cache_dir=tmp_path) == first
    assert (first / NET_FILE).stat().st_mtime_ns == before
    assert tile_scenario(highway, 5, cache_dir=tmp_path) != first
    assert tile_scenario(load_scenario("rural"), 3, cache_dir=tmp_path) != first


BUILD = """
import pathlib, sys
from ml.sumo.scenarios import load_scenario
from ml.sumo.tiling import NET_FILE, tile_scenario
scenario = load_scenario("rural")
sys.stdin.readline()
tiles = tile_scenario(scenario, 16, cache_dir=pathlib.Path(sys.argv[1]))
print(tiles, (tiles / NET_FILE).read_text().count("<edge "))
"""


def test_processes_may_build_the_same_layout_at_once(tmp_path):
    """All get the same whole entry, and nothing is left lying about."""
    command = [sys.executable, "-c", BUILD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    built = {process.communicate(timeout=60)[0] for process in processes}
    assert all(process.returncode == 0 for process in processes)
    assert len(built) == 1
    assert built.pop().split()[1] == str(16 * 15)
    assert len(list((tmp_path / "tiles").iterdir())) == 1


def test_a_build_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """A failure half-way is not taken for an entry the next time."""
    highway = load_scenario("highway")
    with monkeypatch.context() as broken:
        broken.setattr("ml.sumo.tiling._additional", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tile_scenario(highway, 2, cache_dir=tmp_path)
    assert list((tmp_path / "tiles").iterdir()) == []
    assert tile_scenario(highway, 2, cache_dir=tmp_path).is_dir()


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path):
    """The message names the directory and the variable that moves it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulatorError, match=r"file/tiles cannot be written.*ROADSENSE_CACHE_DIR"):
        tile_scenario(load_scenario(), 1, cache_dir=tmp_path / "file")


@pytest.mark.parametrize("num_envs", [0, 8193])
def test_too_few_or_too_many_convoys_are_an_error(tmp_path, num_envs):
    """The number of convoys that one SUMO carries has bounds."""
    with pytest.raises(SimulatorError, match=f"num_envs is {num_envs}"):
        tile_scenario(load_scenario(), num_envs, cache_dir=tmp_path)


def test_the_cache_directory_follows_the_environment(tmp_path, monkeypatch):
    """ROADSENSE_CACHE_DIR moves it; without it, it lies in the home directory."""
    from ml.folders import default_cache_dir  # noqa: PLC0415

    monkeypatch.setenv("ROADSENSE_CACHE_DIR", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("ROADSENSE_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "roadsense"


def test_copies_do_not_overlap_numerically(tmp_path):
    """Coordinates stay plain numbers with two digits, also far north."""
    tiles = tile_scenario(load_scenario("rural"), 64, cache_dir=tmp_path)
    text = (tiles / NET_FILE).read_text(encoding="utf-8")
    ys = np.array([float(y) for y in re.findall(r' y="([^"]*)"', text)])
    assert np.isfinite(ys).all()
    assert ys.max() > 63 * 1200.0
    assert "e+" not in text


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("name", ["tiled.net.xml", "convoys.add.xml"])
def test_a_cached_network_that_is_cut_short_is_told_of(tmp_path, name, share):
    """SUMO would crash on it, or leave lanes out; the remedy makes it anew."""
    tiles = tile_scenario(load_scenario("highway"), 2, cache_dir=tmp_path)
    damaged = tiles / name
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SimulatorError, match=f"{name} is cut short.*rm -r {tiles}"):
        tile_scenario(load_scenario("highway"), 2, cache_dir=tmp_path)
    shutil.rmtree(tiles)
    assert tile_scenario(load_scenario("highway"), 2, cache_dir=tmp_path) == tiles
    assert damaged.read_bytes() == content
