"""What goes wrong with a simulator is told as an error of ours, and nothing is left behind."""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import libsumo
import pytest
from support.traffic import BACKENDS, commands, convoy, rollout

from ml.errors import SimulatorError, SimulatorInUseError, SimulatorTimeoutError

pytestmark = pytest.mark.sumo


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_simulator_that_does_not_run_says_so(make_simulator, backend):
    """Stepping before start or after close is an error; closing twice is not."""
    simulator = make_simulator(backend, num_vehicles=2, start=False)
    with pytest.raises(SimulatorError, match="call start"):
        simulator.place(convoy([100.0, 150.0], 10.0))
    simulator.start()
    simulator.start()
    simulator.place(convoy([100.0, 150.0], 10.0))
    simulator.close()
    simulator.close()
    with pytest.raises(SimulatorError, match="call start"):
        simulator.step(commands((1, 2)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_closed_simulator_can_start_again(make_simulator, backend):
    """It starts empty, and tells the same story again."""
    simulator = make_simulator(backend, "rural", num_envs=2, num_vehicles=4)
    first = rollout(simulator, [7, 8], 40, episode_ticks=30)
    simulator.close()
    simulator.start()
    assert rollout(simulator, [7, 8], 40, episode_ticks=30) == first


def test_a_second_embedded_simulation_is_refused(make_simulator):
    """The first one lives on; once it is closed or dropped another may start."""
    first = make_simulator("libsumo", num_vehicles=2)
    first.place(convoy([100.0, 150.0], 10.0))
    second = make_simulator("libsumo", num_vehicles=2, start=False)
    with pytest.raises(SimulatorInUseError, match="num_envs"):
        second.start()
    second.close()
    assert first.step(commands((1, 2))).present.all()
    over_tcp = make_simulator("traci", num_vehicles=2)
    over_tcp.place(convoy([100.0, 150.0], 10.0))
    assert first.step(commands((1, 2))).present.all()
    first.close()
    second.start()
    second.place(convoy([100.0, 150.0], 10.0))
    assert second.step(commands((1, 2))).present.all()


def test_an_embedded_simulation_that_was_dropped_does_not_block(tile_cache):
    """A simulator that nobody holds any more gives way to the next."""
    from ml.sumo.factory import create_simulator  # noqa: PLC0415 - not through the fixture's list
    from ml.sumo.scenarios import load_scenario  # noqa: PLC0415

    def make():
        scenario = load_scenario()
        return create_simulator(
            "libsumo", scenario, num_envs=1, num_vehicles=2, cache_dir=tile_cache
        )

    dropped = make()
    dropped.start()
    del dropped
    gc.collect()
    simulator = make()
    simulator.start()
    simulator.close()


def test_a_frozen_sumo_is_an_error_at_the_deadline(make_simulator):
    """A stopped process raises a timeout that says where and what to do, and is ended by close."""
    simulator = make_simulator("traci", num_vehicles=2, deadline_s=1.0)
    simulator.place(convoy([100.0, 150.0], 10.0))
    simulator.step(commands((1, 2)))
    pid = simulator._process.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(SimulatorTimeoutError, match=r"127\.0\.0\.1:\d+ did not answer within 1\.0"):
        simulator.step(commands((1, 2)))
    with pytest.raises(SimulatorError, match="interrupted in the middle"):
        simulator.step(commands((1, 2)))
    simulator.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_sumo_is_an_error(make_simulator):
    """A SUMO that dies is reported as a broken connection, not as a timeout."""
    simulator = make_simulator("traci", num_vehicles=2, deadline_s=20.0)
    simulator.place(convoy([100.0, 150.0], 10.0))
    os.kill(simulator._process.pid, signal.SIGKILL)
    simulator._process._process.wait()
    with pytest.raises(SimulatorError, match=r"connection to SUMO at .* broke") as caught:
        simulator.step(commands((1, 2)))
    assert not isinstance(caught.value, SimulatorTimeoutError)
    simulator.close()


def test_fatal_errors_of_an_embedded_sumo_are_ours(make_simulator):
    """Its simulation is taken from under it: calls are errors of our tree, and close works."""
    simulator = make_simulator("libsumo", num_vehicles=2)
    simulator.place(convoy([100.0, 150.0], 10.0))
    with pytest.raises(libsumo.TraCIException):
        libsumo.load(["--net-file", "/nowhere.net.xml"])
    with pytest.raises(SimulatorError, match="A network was not yet constructed"):
        simulator.step(commands((1, 2)))
    with pytest.raises(SimulatorError, match="A network was not yet constructed"):
        simulator.place(convoy([100.0, 150.0], 10.0))
    simulator.close()
    simulator.start()
    simulator.place(convoy([100.0, 150.0], 10.0))


def test_nothing_listening_is_an_error_at_the_deadline(make_simulator):
    """The message names host, port, the last cause and what to run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    simulator = make_simulator(
        "traci", num_vehicles=2, start=False, host="127.0.0.1", port=port, deadline_s=0.5
    )
    with pytest.raises(SimulatorTimeoutError, match=rf"127\.0\.0\.1:{port} within 0\.5 s.*REFUSED"):
        simulator.start()
    simulator.close()


def test_a_network_that_sumo_cannot_read_is_an_error(make_simulator, tile_cache):
    """A damaged file in the cache is named, over TCP with SUMO's own words."""
    simulator = make_simulator("traci", num_envs=13, num_vehicles=2)
    simulator.close()
    damaged = max(tile_cache.glob("tiles/*/tiled.net.xml"), key=lambda file: file.stat().st_mtime)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2] + b"\n</net>\n")  # one cut short is not tried
    try:
        with pytest.raises(SimulatorError, match="ended with exit status"):
            simulator.start()
        embedded = make_simulator("libsumo", num_envs=13, num_vehicles=2, start=False)
        with pytest.raises(SimulatorError, match=f"could not load {damaged}"):
            embedded.start()
    finally:
        damaged.write_bytes(whole)


def test_a_sumo_elsewhere_loads_our_network(make_simulator, small_sumo):
    """Connecting to a running SUMO gives the same history as starting one, with any first net."""
    remote = make_simulator(
        "traci", "rural", num_envs=3, num_vehicles=4, host="127.0.0.1", port=small_sumo.port
    )
    over_tcp = rollout(remote, [1, 2, 3], 80, episode_ticks=50)
    remote.close()
    embedded = make_simulator("libsumo", "rural", num_envs=3, num_vehicles=4)
    assert rollout(embedded, [1, 2, 3], 80, episode_ticks=50) == over_tcp


def test_a_sumo_that_cannot_see_our_files_is_an_error(make_simulator, small_sumo, monkeypatch):
    """A network that SUMO cannot read at that path is an error that names the cache directory."""
    monkeypatch.setattr(
        "ml.sumo.traci_backend.load_options", lambda _tiles: ["--net-file", "/nowhere.net.xml"]
    )
    simulator = make_simulator(
        "traci", num_vehicles=2, start=False, host="127.0.0.1", port=small_sumo.port
    )
    with pytest.raises(SimulatorError, match="ROADSENSE_CACHE_DIR"):
        simulator.start()
    simulator.close()


def test_waiting_outlasts_a_slow_start(make_simulator, tile_cache):
    """A client that comes before its SUMO waits for it."""
    from ml.sumo.sumo_process import SumoProcess  # noqa: PLC0415

    make_simulator("libsumo", num_vehicles=2).close()  # lays out the road
    network = next(tile_cache.glob("tiles/*/tiled.net.xml"))
    late = SumoProcess(["--net-file", str(network), "--no-step-log", "true"])
    port = late.port
    os.kill(late.pid, signal.SIGSTOP)
    timer = threading.Timer(0.4, os.kill, (late.pid, signal.SIGCONT))
    timer.start()
    try:
        simulator = make_simulator("traci", num_vehicles=2, host="127.0.0.1", port=port)
        simulator.place(convoy([100.0, 150.0], 10.0))
        assert simulator.step(commands((1, 2))).present.all()
        simulator.close()
    finally:
        timer.join()
        late.end()


def test_sumo_does_not_outlive_a_killed_parent(tile_cache):
    """When the process that started SUMO is killed outright, SUMO ends as well."""
    program = (
        "import sys, time, pathlib\n"
        "from ml.sumo.factory import create_simulator\n"
        "from ml.sumo.scenarios import load_scenario\n"
        "s = create_simulator('traci', load_scenario(), num_envs=1, num_vehicles=2,"
        " cache_dir=pathlib.Path(sys.argv[1]))\n"
        "s.start()\n"
        "print(s._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tile_cache)], stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    give_up = time.monotonic() + 20.0
    while _runs(pid):
        assert time.monotonic() < give_up, "SUMO is still there"
        time.sleep(0.05)


def _runs(pid):
    """Tell whether a process is there and not just waiting to be collected."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - no such path is an answer here
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_gui_needs_a_display(make_simulator, monkeypatch):
    """Without DISPLAY the request for the GUI is an error, not an abort."""
    monkeypatch.delenv("DISPLAY", raising=False)
    simulator = make_simulator("traci", num_vehicles=2, start=False, gui=True)
    with pytest.raises(SimulatorError, match="DISPLAY"):
        simulator.start()
