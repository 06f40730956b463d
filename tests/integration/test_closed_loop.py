"""A recorded drive in closed loop on real SUMO."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.logged_run import LoggedRun, name_of

from ml.calibration.logs.clocks import ClockLine
from ml.cli import main
from ml.envs.episodes.scripted import START_M, ManoeuvreCase
from ml.errors import LogError
from ml.evaluation.drive.closed_loop import _with_arrivals, closed_loop, ways_of
from ml.evaluation.drive.read import Receptions, read_recorded_drive
from ml.evaluation.drivers import PolicyDriver, make_driver
from ml.evaluation.episodes import CaseRunner
from ml.evaluation.seeds import TEST_SEED
from ml.evaluation.suites.suite import scripted_suite
from ml.parameters import load_parameters
from ml.reports.episode.page import LOST, NEWER, fates
from ml.training.checkpoints import load_model

pytestmark = pytest.mark.sumo

MODEL = Path(__file__).parents[2] / "ml" / "models" / "convoy.zip"
TICKS = 1000
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
    """The first car brakes by 9 m/s after 25 s and recovers; the next follows as SUMO's do."""
    since_s = np.arange(1, TICKS + 1) * 0.1 - 25.0
    script = CRUISE_MPS - np.clip(5.0 * since_s, 0.0, 9.0) + np.clip(since_s - 6.0, 0.0, 8.0)
    script += np.sin(since_s / 2.0) - np.sin(-12.5)
    case = ManoeuvreCase(
        kind="hazard",
        gaps_m=(28.0, 31.5),
        speed_mps=(CRUISE_MPS,) * 3,
        script_mps={2: script},
        brake_rank=2,
        onset_tick=250,
        release_tick=268,
    )
    return scripted_suite("live", [case], ticks=TICKS, reference_gap="own")


class Film:
    """What happened to an ego, tick by tick."""

    def __init__(self):
        self.truth, self.told, self.stamps = [], [], []

    def watch(self, batch):
        """Take note of a tick."""
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
    for node in (1, 2):
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
    assert row.num_peers == 2
    assert len(again.truth) == last
    np.testing.assert_array_equal(again.stamps, film.stamps[:last])
    np.testing.assert_array_equal(again.told, film.told[:last])
    np.testing.assert_array_equal(again.truth, film.truth[:last])
    assert row.min_gap_m == live.min_gap_m
    lost = 1.0 - live.delivery_ratio
    assert lost > 0.05, "a radio without losses would show nothing"


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory):
    """Return a synthetic drive of three cars with hard brakings, its logs as boards write them."""
    folder = tmp_path_factory.mktemp("logs") / "drive"
    wanted = ["--cars", "3", "--minutes", "6", "--hard-brakings", "6", "--seed", "1"]
    assert main(["logs", "synth", "--out", str(folder), *wanted]) == 0
    return read_recorded_drive(sorted(folder.glob("*.csv")), None)


def test_a_drive_is_driven_where_its_board_was(drive):
    """Around each braking ahead: who follows by radio brakes for it and does not crash.

    The board's messages and the way that it drives are in the same coordinates: the gap that it
    believes in is the true one but for the errors of GPS.
    """
    believed = []

    def watch(batch):
        known = batch.board.estimate()
        if batch.tick[0] > 50 and known.heard[0, 0]:
            believed.append(known.gap_m[0, 0] - batch.truth.gap_m[0])

    drivers = [make_driver("predictive:0.5"), make_driver("do-nothing")]
    rows, refused = closed_loop(drive, drivers, on_tick=watch)
    assert len(rows) + 2 * sum(refused.values()) >= 6
    assert sum(refused.values()) <= 2
    careful, careless = rows[::2], rows[1::2]
    assert not any(row.crash for row in careful)
    assert max(row.max_decel_mps2 for row in careful) > 2.5
    assert max(row.max_decel_mps2 for row in careless) == 0.0
    for row in rows:
        assert row.radio == "recorded"
        assert row.duration_s == pytest.approx(45.0)
        assert row.labels["braking_mps2"] < -3.0
        assert row.labels["real_min_gap_m"] > 0.0
        assert 0.5 < row.labels["real_headway_s"] < 6.0
    assert abs(np.median(believed)) < 8.0


def test_what_a_driver_knew_is_recorded_with_each_packet_that_came(drive):
    """The message that is held is the newest that arrived, and as old as its frame says."""
    told = []
    rows, _ = closed_loop(
        drive, [make_driver("predictive:0.5")], on_drive=lambda *one: told.append(one)
    )
    assert [row for row, _ in told] == rows
    recording = told[0][1]
    newer = fates(recording) == NEWER
    assert newer.sum() > 400
    checked = 0
    for tick in range(0, recording.time_s.size, 7):
        now_s = recording.time_s[tick]
        for peer in np.flatnonzero(recording.heard[tick]).tolist():
            came = newer & (recording.frame_source == peer + 1)
            came &= recording.frame_arrival_s <= now_s
            last = np.flatnonzero(came)[np.argmax(recording.frame_number[came])]
            assert recording.frame_number[last] == recording.number[tick, peer]
            age_s = now_s - recording.frame_sent_s[last]
            assert recording.age_s[tick, peer] == pytest.approx(age_s, abs=0.03)
            checked += 1
    assert checked > 50
    assert np.abs(recording.own_error_m).max() < 15.0
    # A message that came by a relay alone: the source's own frame was lost.
    us = np.array([150_000])
    of_c = (np.array([1]), np.array([5]), us - 50_000, np.array([2]))
    relayed = _with_arrivals(recording, Receptions(us, *of_c, np.zeros((1, 6))))
    assert relayed.frame_hops.tolist() == [0, 2]
    assert relayed.frame_source.tolist() == [2, 2]
    assert relayed.frame_number.tolist() == [0, 0]
    assert fates(relayed).tolist() == [LOST, NEWER]


def test_cars_ahead_of_the_ego_alone_are_driven(drive):
    """An ego in mid-convoy drives behind one car, and hears the others all the same."""
    assert ways_of(drive).convoy.names == ("a", "b", "c")
    sent = [board.tx.path for board in drive.drive.boards]
    heard = [board.rx.path for board in drive.drive.boards]
    middle = read_recorded_drive([*sent, *heard], "b")
    ways = ways_of(middle)
    assert ways.convoy.names == ("b", "c")
    assert ways.convoy.gap_m.shape[1] == 1
    assert ways.num_sources == 2
    assert set(ways.received.source.tolist()) == {0, 1}
    with pytest.raises(LogError, match="nobody to drive behind"):
        ways_of(read_recorded_drive([*sent, heard[2]], "c"))


def test_a_piece_that_cannot_be_driven_is_refused(drive):
    """Beyond the drive's end: which ticks, and why."""
    with pytest.raises(LogError, match="ticks 3500 to 4000: ends less than"):
        closed_loop(drive, [make_driver("do-nothing")], ticks=(3500, 4000))
