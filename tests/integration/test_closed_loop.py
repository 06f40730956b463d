"""A recorded drive in closed loop on real SUMO."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.logged_run import LoggedRun, name_of

from ml.calibration.logs.clocks import ClockLine
from ml.envs.episodes.scripted import START_M, ManoeuvreCase
from ml.evaluation.drive.closed_loop import closed_loop
from ml.evaluation.drive.read import read_recorded_drive
from ml.evaluation.drivers import PolicyDriver, make_driver
from ml.evaluation.episodes import CaseRunner
from ml.evaluation.seeds import TEST_SEED
from ml.evaluation.suites.suite import scripted_suite
from ml.parameters import load_parameters
from ml.training.checkpoints import load_model
from ml.training.defaults import __file__ as _here

pytestmark = pytest.mark.sumo

MODEL = Path(_here).parents[1] / "models" / "convoy.zip"
TICKS = 700
CRUISE_MPS = 20.0


@pytest.fixture(scope="module")
def radio(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a lossy radio whose nodes send at the beginning of a tick, and perfect sensors."""
    values = load_parameters("bursty").model_dump(mode="json")
    values["radio"]["beacon"] = {"phase_ms": 0.0, "jitter_ms": 0.0}
    values["radio"]["clock"]["drift_sd_ppm"] = 0.0
    values["sensors"] = load_parameters("ideal").model_dump(mode="json")["sensors"]
    file = tmp_path_factory.mktemp("radio") / "steady.json"
    file.write_text(json.dumps(values))
    return str(file)


def _live_suite():
    """The first car brakes from 20 to 11 m/s after 25 s and recovers; two follow as SUMO's do."""
    since_s = np.arange(1, TICKS + 1) * 0.1 - 25.0
    script = CRUISE_MPS - np.clip(5.0 * since_s, 0.0, 9.0) + np.clip(since_s - 6.0, 0.0, 8.0)
    case = ManoeuvreCase(
        kind="hazard",
        gaps_m=(28.0, 31.5, 30.25),
        speed_mps=(CRUISE_MPS,) * 4,
        script_mps={3: script},
        brake_rank=3,
        onset_tick=250,
        release_tick=268,
    )
    return scripted_suite("live", [case], ticks=TICKS, reference_gap="own")


class Film:
    """What happened to an ego, tick by tick."""

    def __init__(self):
        self.truth, self.told, self.stamps = [], [], []

    def watch(self, batch):
        truth, table = batch.truth, batch.peer_table
        self.truth.append(np.array([truth.route_pos_m[0], truth.speed_mps[0], truth.accel_mps2[0]]))
        heard = np.concatenate([table.payload[0, 0].ravel(), batch.age_est_ms[0, 0]])
        self.told.append(heard)
        self.stamps.append(table.timestamp_ms[0, 0].copy())


def _drivers(who):
    return PolicyDriver(load_model(MODEL)) if who == "policy" else make_driver(who)


def _live(radio, driver, folder):
    """Drive a live run and write its logs; return the row, the film and the files."""
    suite = _live_suite()
    config = suite.config.model_copy(update={"radio": radio, "radio_position": "own"})
    run, film = LoggedRun(radio, (START_M, CRUISE_MPS)), Film()

    def watch(batch):
        run.watch(batch)
        film.watch(batch)

    runner = CaseRunner(driver, suite, config, seed=TEST_SEED, num_envs=1)
    (row,) = runner.run([0], on_tick=watch)
    offsets = runner.batch.stack.channel.node_clocks.offset_ms[0]
    runner.close()
    return row, film, run.write(folder), offsets


@pytest.mark.parametrize("who", ["predictive:0.5", "policy"])
def test_a_drive_that_came_from_a_run_is_that_run(tmp_path, radio, who):
    """Same places, speeds, messages and ages in every tick, to the bit; so the same figures."""
    live, film, files, offsets = _live(radio, _drivers(who), tmp_path)
    drive = read_recorded_drive(files, name_of(0))
    assert drive.ticks > TICKS - 5
    # Logs tell of two clocks but for the fastest message's latency.
    for node in (1, 2, 3):
        exact = ClockLine(0.0, float(offsets[0] - offsets[node]), 0.0)
        read = drive.clocks[name_of(node)]
        assert 0.0 < read.offset_ms - exact.offset_ms < 5.0
        drive.clocks[name_of(node)] = exact
    again, last = Film(), drive.ticks - 1
    (row,), refused = closed_loop(
        drive, [_drivers(who)], radio=radio, ticks=(0, last), scenario="highway",
        on_tick=again.watch,
    )  # fmt: skip
    assert not refused
    assert row.num_peers == 3
    assert len(again.truth) == last
    np.testing.assert_array_equal(again.stamps, film.stamps[:last])
    np.testing.assert_array_equal(again.told, film.told[:last])
    np.testing.assert_array_equal(again.truth, film.truth[:last])
    assert row.min_gap_m == live.min_gap_m
    lost = 1.0 - live.delivery_ratio
    assert lost > 0.05, "a radio without losses would show nothing"
