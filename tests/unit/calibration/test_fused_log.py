"""A recorded board through the one fusion, held to drives whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration.fused_log import accuracy_of, fused_states
from ml.calibration.logs.board_log import board_log
from ml.calibration.logs.boards import gather
from ml.calibration.logs.reader import read_log
from ml.calibration.logs.trajectories import trajectory
from ml.calibration.self_test import self_test
from ml.calibration.synthetic.drive import Motion, make_drive
from ml.calibration.synthetic.logs import write_logs
from ml.calibration.synthetic.recording import record
from ml.errors import LogError
from ml.espnow_emulator import GeoReference
from ml.keyed_random import fold
from ml.parameters import load_parameters
from ml.sensors import SensorBank, SensorParameters, Truth
from ml.vehicle import TICK_US
from tests.support.planted_board import PlantedBoard

SEED, DURATION_S = 5, 400.0
SETTLED = 200


def along(truth: Motion, x_m, y_m):
    """Error along the road."""
    heading = np.radians(truth.heading_deg)
    return (x_m - truth.x_m) * np.sin(heading) + (y_m - truth.y_m) * np.cos(heading)


def rms(values):
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Two cars past the simulator's sensors: truth in the slots, log, raw rows, simulated fusion.

    What the boards logged has all logging artefacts; the second board is mounted backwards.
    """
    parameters, folder = load_parameters("clean"), tmp_path_factory.mktemp("logs")
    (recording,) = record(parameters, num_cars=2, duration_s=DURATION_S, seeds=[SEED])
    files = write_logs(recording, parameters, folder, seed=SEED)
    reference = GeoReference.of(parameters.radio.wire)
    boards, _ = gather([read_log(file) for file in files if "tx" in file.name])
    logs = []
    for board in boards:
        columns = [board.of_its_own(name) for name in ("lat", "lon", "speed")]
        logs.append(board_log(board, trajectory(reference, board.time_ms, *columns)))
    motion, ticks = make_drive(2, DURATION_S, SEED), len(recording.slot_us)
    share = recording.slot_us / TICK_US - np.arange(ticks)[:, None]
    truth = Motion(*((1.0 - share) * v[:-1] + share * v[1:] for v in motion))
    bank = SensorBank(parameters.sensors, num_envs=1, num_vehicles=2)
    row = np.zeros(1, dtype=np.int64)
    bank.reset(row, fold(SEED, 0, 0))
    bank.measure_start(row, Truth(*(v[:1] for v in motion)))
    simulated = np.zeros((ticks, 2, 5))
    for k in range(ticks):
        of_slot = Truth(*(v[k : k + 1] for v in truth))
        found = bank.measure(row + k + 1, of_slot, sampled_us=recording.slot_us[k : k + 1])
        for f, name in enumerate(Motion._fields):
            simulated[k, :, f] = getattr(found, name)[0]
    return [
        (
            Motion(*(v[:, n] for v in truth)),
            logs[n],
            recording.measured[:, n],
            simulated[:, n],
            recording.local_ms(n, recording.slot_us[:, n]) / 1000.0,
        )
        for n in range(2)
    ]


@pytest.mark.parametrize("board", [0, 1])
def test_a_log_is_fused_as_the_simulated_nodes_are(drive, board):
    """Position, speed and acceleration err as those that training has; raw rows far more.

    Logged positions come in steps of 0.4 m, and a log has no gyroscope.
    """
    truth, log, raw, simulated, tick_s = drive[board]
    fused = fused_states(log, tick_s)
    used = fused.valid & (np.arange(tick_s.size) >= SETTLED)
    assert used.mean() > 0.9
    simulated_m = along(truth, simulated[:, 0], simulated[:, 1])[used]
    fused_m = along(truth, fused.x_m, fused.y_m)[used]
    raw_m = along(truth, raw[:, 0], raw[:, 1])[used]
    # All three had the same GPS errors; a delay that is found to ±0.08 s makes a metre at 12 m/s.
    assert 0.75 < rms(fused_m) / rms(simulated_m) < 1.3
    assert rms(fused_m - simulated_m) < 1.1
    assert rms(raw_m - simulated_m) > 6.0 * rms(fused_m - simulated_m)
    fused_mps, raw_mps = fused.speed_mps - truth.speed_mps, raw[:, 2] - truth.speed_mps
    assert rms(fused_mps[used]) < 1.2 * rms((simulated[:, 2] - truth.speed_mps)[used])
    assert rms(raw_mps[used]) > 1.5 * rms(fused_mps[used])
    simulated_mps2, fused_mps2 = (
        (values - truth.accel_mps2)[used] for values in (simulated[:, 4], fused.accel_mps2)
    )
    assert rms(fused_mps2) < 1.1 * simulated_mps2.std()
    assert abs(fused_mps2.mean()) < 0.05
    logged = (-1.0 if board else 1.0) * raw[:, 4]
    assert rms((logged - truth.accel_mps2)[used]) > 1.3 * rms(fused_mps2)


def exact(**changes) -> PlantedBoard:
    """A board without noise but its bias and mounting."""
    nothing = dict.fromkeys(("noise_mps2", "speed_sd_mps", "position_sd_m"), 0.0)
    return PlantedBoard(**nothing | {"axis": 1, "sign": -1, "bias_mps2": 0.4} | changes)


@pytest.mark.parametrize(("rows_per_fix", "delay_ms"), [(10, 300), (10, 700), (1, 300), (1, 600)])
def test_a_board_mounted_askew_and_late_comes_out_true(rows_per_fix, delay_ms):
    """Axis −y, a bias of 0.4 m/s², late fixes, one a second or ten: decimetres, not metres."""
    board = exact(rows_per_fix=rows_per_fix, delay_ms=delay_ms)
    tick_s = board.time_ms / 1000.0
    fused = fused_states(board.log(), tick_s)
    used = fused.valid & (np.arange(tick_s.size) >= SETTLED)
    assert used.sum() == tick_s.size - SETTLED
    away_m = along(board.truth, fused.x_m, fused.y_m)[used]
    raw_m = along(board.truth, board.x_m, board.y_m)[used]
    assert rms(away_m) < 0.15
    assert rms(raw_m) > 15.0 * rms(away_m)
    faster_mps = (fused.speed_mps - board.truth.speed_mps)[used]
    more_mps2 = (fused.accel_mps2 - board.truth.accel_mps2)[used]
    assert rms(faster_mps) < 0.05
    assert rms((board.speed - board.truth.speed_mps)[used]) > 5.0 * rms(faster_mps)
    assert np.abs(more_mps2).max() < 0.02


def test_what_was_logged_later_changes_nothing_before():
    """With the same self-test a log cut off at a moment gives the same states until then."""
    board = PlantedBoard()
    log = board.log()
    test, tick_s = self_test(log), 5.05 + 0.1 * np.arange(5000)
    cut = int(np.searchsorted(log.time_s, 300.0))
    fixes = log.fixes.row < cut
    shorter = log._replace(
        time_s=log.time_s[:cut],
        accel_mps2=log.accel_mps2[:cut],
        speed_mps=log.speed_mps[:cut],
        fixes=type(log.fixes)(*(values[fixes] for values in log.fixes)),
    )
    whole, part = fused_states(log, tick_s, test), fused_states(shorter, tick_s, test)
    before = tick_s < 300.0
    for one, other in zip(whole, part, strict=True):
        assert np.array_equal(one[before], other[before])
    assert not np.array_equal(whole.x_m, part.x_m)
    assert not part.valid[tick_s > 301.0].any()


def test_a_standing_car_with_a_fix_that_stays_is_known_to_stand():
    """Its position repeats to the last digit for a minute: valid, in its place, at no speed."""
    board = PlantedBoard(bias_mps2=0.4)
    stands = board.truth.speed_mps == 0.0
    assert stands.sum() > 300
    tick_s = board.time_ms / 1000.0
    fused = fused_states(board.log(), tick_s)
    late = np.convolve(stands, np.ones(30), "full")[: stands.size] >= 30.0
    late[:SETTLED] = False
    assert late.sum() > 100
    assert fused.valid[late].all()
    assert fused.speed_mps[late].max() < 0.5


def test_silence_of_the_receiver_or_the_logger_is_no_state():
    """Before the first fix, 5 s after the last one, and where no row came for half a second."""
    board = PlantedBoard()
    # For 30 s the receiver repeats itself; later, for two seconds, no row is written.
    frozen = (board.time_ms >= 205_000) & (board.time_ms < 235_000)
    first = int(np.argmax(frozen))
    assert board.truth.speed_mps[frozen].min() > 1.0
    for values in (board.x_m, board.y_m, board.speed, board.heading):
        values[frozen] = values[first - 1]
    log = board.log()
    kept = (log.time_s < 305.0) | (log.time_s >= 307.0)
    number = np.cumsum(kept) - 1
    log = log._replace(
        time_s=log.time_s[kept],
        accel_mps2=log.accel_mps2[kept],
        speed_mps=log.speed_mps[kept],
        fixes=type(log.fixes)(
            *(
                values[kept[log.fixes.row]]
                for values in log.fixes._replace(row=number[log.fixes.row])
            )
        ),
    )
    tick_s = board.time_ms / 1000.0
    fused = fused_states(log, tick_s)
    silent = ~fused.valid
    # The first fix came with the row of 0.3 s.
    assert np.array_equal(np.flatnonzero(silent[:20]), [0, 1, 2])
    in_outage = silent[(tick_s >= 205.0) & (tick_s < 235.0)]
    assert 230 <= in_outage.sum() <= 260
    assert in_outage[-200:].all()
    in_stall = silent[(tick_s >= 304.95) & (tick_s < 307.0)]
    assert in_stall.sum() == 15
    assert silent.sum() == 3 + in_outage.sum() + in_stall.sum() + silent[2300:2313].sum()
    assert (fused.x_m[silent] == 0.0).all()
    assert (fused.accel_mps2[silent] == 0.0).all()


def test_a_board_that_the_self_test_refuses_is_not_fused():
    """With its file, its name, the reason and the command that shows more."""
    board = PlantedBoard(motion=make_drive(1, 600.0, 11, parked=True))
    with pytest.raises(LogError, match=r"a-tx\.csv: board a: refused: the speed hardly changed"):
        fused_states(board.log(), board.time_ms / 1000.0)
    log = PlantedBoard().log()
    none = log._replace(fixes=type(log.fixes)(*(values[:0] for values in log.fixes)))
    with pytest.raises(LogError, match="no row holds position, speed and heading"):
        fused_states(none, log.time_s, self_test(log))


def test_ages_of_hours_cost_no_memory():
    """A fix that is 11 days old by the log is left out, and the others are fused without it."""
    board = exact()
    log, tick_s = board.log(), board.time_ms / 1000.0
    test, old = self_test(log), log.fixes.age_s.copy()
    old[100] = 1e6
    fused = fused_states(log._replace(fixes=log.fixes._replace(age_s=old)), tick_s, test)
    away_m = along(board.truth, fused.x_m, fused.y_m)[SETTLED:]
    assert np.abs(away_m).max() < 1.0


def test_a_fused_position_is_as_sure_as_its_parameters_say():
    """Of the usual parameters 2.1 m, a little more the older the fix; of better ones less."""
    board = PlantedBoard()
    tick_s = board.time_ms[SETTLED:] / 1000.0
    usual = fused_states(board.log(), tick_s)
    assert 2.1 < usual.position_sd_m.min() < usual.position_sd_m.max() < 2.2
    sensors = SensorParameters.model_validate({"position": {"sd_m": 0.5, "white_sd_m": 0.0}})
    better = fused_states(board.log(), tick_s, accuracy=accuracy_of(sensors))
    assert 0.5 <= better.position_sd_m.min() < better.position_sd_m.max() < 0.65
