"""Our road against SUMO's own: where cars are, which lane they are on, how drivers drive."""

import libsumo
import numpy as np
import pytest
from support.traffic import placeable

from ml.sumo.factory import create_simulator
from ml.sumo.protocol import DriverParameters, Placement, TickCommands
from ml.sumo.scenarios import load_scenario
from ml.vehicle import CAR_LENGTH_M

pytestmark = pytest.mark.sumo

OPTIONS = ["--step-length", "0.1", "--step-method.ballistic", "true", "--no-step-log", "true"]


@pytest.fixture
def bare_sumo():
    """Start libsumo without our backend, ended at the end."""

    def start(net_file, *options):
        libsumo.start(["sumo", "--net-file", str(net_file), *OPTIONS, *options])

    yield start
    libsumo.close()


@pytest.mark.parametrize("name", ["highway", "rural", "two-lanes"])
def test_poses_are_sumos_own(bare_sumo, name):
    """Points within a centimetre and the angle within a hundredth of a degree, all the way."""
    scenario = load_scenario(name)
    road = scenario.road
    bare_sumo(scenario.net_file)
    libsumo.route.add("convoy", scenario.route_edges)
    libsumo.vehicletype.setLength("DEFAULT_VEHTYPE", CAR_LENGTH_M)
    libsumo.vehicle.add("car", "convoy", departSpeed="13")
    libsumo.vehicle.moveTo("car", road.lane_ids[0], 6.0)
    libsumo.vehicle.setSpeedMode("car", 0)
    libsumo.vehicle.setSpeed("car", 13.0)
    seen = []
    while "car" in libsumo.vehicle.getIDList():
        lane = road.lane_ids.index(libsumo.vehicle.getLaneID("car"))
        route_pos_m = road.lane_start_m[lane] + libsumo.vehicle.getLanePosition("car")
        angle_deg = libsumo.vehicle.getAngle("car")
        seen.append((lane, route_pos_m, *libsumo.vehicle.getPosition("car"), angle_deg))
        libsumo.simulationStep()
    lane, route_pos_m, x_m, y_m, angle_deg = np.array(seen).T
    assert route_pos_m[-1] > road.length_m - 2.0
    if name == "rural":
        assert np.unique(lane).size > 12
    np.testing.assert_array_equal(road.locate(route_pos_m)[0], lane)
    ours_x_m, ours_y_m, heading_deg = road.pose(route_pos_m)
    assert np.hypot(ours_x_m - x_m, ours_y_m - y_m).max() < 0.01
    turned_deg = np.mod(heading_deg - angle_deg + 180.0, 360.0) - 180.0
    assert np.abs(turned_deg).max() < 0.01


@pytest.mark.parametrize("name", ["highway", "rural"])
def test_route_positions_name_sumos_lane(tmp_path, name):
    """The lane found by continuity is the one that SUMO itself reports, in every tick."""
    count = 8
    simulator = create_simulator(
        "libsumo", load_scenario(name), num_envs=count, num_vehicles=2, cache_dir=tmp_path
    )
    simulator.start()
    try:
        road, shape = simulator.road, (count, 2)
        position_m = np.linspace(3.0, 3800.0, count)[:, None] + [0.0, 60.0]
        position_m = np.where(placeable(road, position_m), position_m, position_m + 21.0)
        simulator.place(
            Placement(
                env_indices=np.arange(count),
                present=np.ones(shape, bool),
                route_pos_m=position_m,
                speed_mps=np.full(shape, 9.0),
                controlled=np.zeros(shape, bool),
                drivers=_drivers(shape, speed_factor=np.linspace(0.5, 1.3, count)[:, None]),
            ),
        )
        stopping = np.full(shape, np.nan)
        stopping[:, 1] = 0.0
        changes = 0
        before = road.locate(position_m)[0]
        for tick in range(700):
            hold = np.zeros(shape, bool)
            hold[:, 1] = tick % 300 > 280  # leaders stop dead: cars behind stop within a tick
            state = simulator.step(TickCommands(hold, stopping, np.full(shape, np.nan)))
            lane, lane_pos_m = road.locate(state.route_pos_m)
            for env, slot in zip(*state.present.nonzero(), strict=True):
                vehicle = f"c{env:04d}.v{slot:02d}"
                sumos = libsumo.vehicle.getLaneID(vehicle).replace(f"c{env:04d}.", "")
                assert road.lane_ids[lane[env, slot]] == sumos
                assert lane_pos_m[env, slot] == pytest.approx(
                    libsumo.vehicle.getLanePosition(vehicle), abs=1e-9
                )
            changes += int((lane != before)[state.present].sum())
            before = lane
        if name == "rural":
            assert changes > 30
    finally:
        simulator.close()


@pytest.mark.parametrize("slot", [0, 1])
def test_drivers_drive_as_a_type_of_their_own_would(tmp_path, bare_sumo, slot):
    """Parameters given at insertion act as if they stood in the vehicle type, constants and all.

    IDM works out a constant from acceleration and deceleration when it is made, and Krauss uses
    the deceleration that the leader shows; SUMO's setters for a vehicle leave both stale.
    """
    own = [
        {"tau": 1.7, "accel": 1.1, "decel": 2.1, "minGap": 3.3},
        {"tau": 0.9, "accel": 2.3, "decel": 4.1, "minGap": 1.3},
        {"tau": 1.2, "accel": 1.6, "decel": 2.9, "minGap": 2.2},
    ]
    shape = (1, 3)
    # The convoy's ego is a Krauss driver, so it is put first (slot 0) or left out (slot 1).
    starts_m, speed_mps = np.array([[300.0, 330.0, 365.0]]), 20.0
    scenario = load_scenario("highway")
    simulator = create_simulator(
        "libsumo", scenario, num_envs=1, num_vehicles=3 + slot, cache_dir=tmp_path
    )

    def padded(values, dtype=float):
        row = np.array([values], dtype=dtype)
        return np.concatenate((np.zeros((1, slot), dtype), row), axis=1)

    simulator.start()
    names = ("tau", "accel", "decel", "minGap")
    simulator.place(
        Placement(
            env_indices=np.array([0]),
            present=padded([True] * 3, bool),
            route_pos_m=padded(starts_m[0]),
            speed_mps=padded([speed_mps] * 3),
            controlled=padded([False] * 3, bool),
            drivers=DriverParameters(
                *(padded([driver[name] for driver in own]) for name in names),
                speed_factor=padded([1.0] * 3),
            ),
        ),
    )
    ours = []
    for tick in range(300):
        braking, stop_mps = _leader(tick)
        controlled = padded([False, False, braking], bool)
        command = np.full(controlled.shape, np.nan)
        command[0, -1] = stop_mps
        state = simulator.step(TickCommands(controlled, command, np.full_like(command, np.nan)))
        ours.append((state.route_pos_m[0, slot:], state.speed_mps[0, slot:]))
    simulator.close()

    types = tmp_path / "types.add.xml"
    text = ""
    for k, driver in enumerate(own):
        attributes = " ".join(f'{key}="{value}"' for key, value in driver.items())
        model = "Krauss" if k + slot == 0 else "IDM"
        text += f'<vType id="t{k}" carFollowModel="{model}" sigma="0" speedDev="0" length="4.5"'
        text += f' maxSpeed="70" emergencyDecel="9" {attributes}/>'
    types.write_text(f"<additional>{text}</additional>", encoding="utf-8")
    bare_sumo(scenario.net_file, "--additional-files", str(types))
    libsumo.route.add("convoy", scenario.route_edges)
    for k in range(shape[1]):
        libsumo.vehicle.add(f"v{k}", "convoy", f"t{k}", departSpeed=str(speed_mps))
        libsumo.vehicle.setLaneChangeMode(f"v{k}", 0)
        libsumo.vehicle.moveTo(f"v{k}", "straight_0", starts_m[0, k])
    for tick, (position_m, speeds_mps) in enumerate(ours):
        braking, stop_mps = _leader(tick)
        libsumo.vehicle.setSpeedMode("v2", 0 if braking else 31)
        libsumo.vehicle.setSpeed("v2", stop_mps if braking else -1.0)
        libsumo.simulationStep()
        cars = range(shape[1])
        assert [libsumo.vehicle.getLanePosition(f"v{k}") for k in cars] == position_m.tolist()
        assert [libsumo.vehicle.getSpeed(f"v{k}") for k in cars] == speeds_mps.tolist()


def _leader(tick):
    """The first car brakes to a walk, then drives off by itself."""
    return 30 <= tick < 130, max(20.0 - 0.3 * (tick - 30), 2.0)


def _drivers(shape, speed_factor):
    full = {"tau_s": 1.0, "accel_mps2": 2.6, "decel_mps2": 4.5, "min_gap_m": 1.0}
    return DriverParameters(
        **{name: np.full(shape, value) for name, value in full.items()},
        speed_factor=np.broadcast_to(speed_factor, shape).copy(),
    )
