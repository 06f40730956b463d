"""The self-test of a board: what was planted in its log comes back, or is refused in words."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration.logs.board_log import BoardLog, board_log
from ml.calibration.logs.reading import read_logs
from ml.calibration.self_test import self_test
from ml.calibration.synthetic.drive import Motion, make_drive
from ml.cli import main
from tests.support.planted_board import PlantedBoard


def written_and_read(board: PlantedBoard, folder) -> BoardLog:
    """Write a board's log, and read it as every command does."""
    _, (drive,) = read_logs([board.write(folder)])
    (found,) = drive.boards
    return board_log(found, drive.ways[found.name])


def findings(folder, **planted):
    """Write a board's log, and test the board."""
    return self_test(written_and_read(PlantedBoard(**planted), folder))


def driving(speed_mps: np.ndarray) -> Motion:
    """Drive straight on at these speeds, (ticks,), one car."""
    accel = np.diff(speed_mps, prepend=speed_mps[0]) / 0.1
    way = np.cumsum(speed_mps) * 0.1
    columns = (way, np.zeros(way.size), speed_mps, np.full(way.size, 90.0), accel)
    return Motion(*(values[:, None] for values in columns))


def test_a_planted_axis_bias_and_delay_come_back(tmp_path):
    """Axis −y, a bias of 0.4 m/s² and a GPS that is 0.3 s late, written, read and tested."""
    test = findings(tmp_path, axis=1, sign=-1, bias_mps2=0.4, delay_ms=300)
    assert test.axis.name == "-y"
    assert test.bias.value == pytest.approx(0.4, abs=0.02)
    # A row's acceleration is the gain until it, so the accelerometer is not late itself.
    assert test.delay.value == pytest.approx(0.3, abs=0.05)
    assert test.is_usable
    assert test.verdict == "good"
    assert test.delay_to_apply_s == test.delay.value


def test_the_intervals_hold_the_truth_as_often_as_they_say():
    """Of 30 boards each, some nine in ten of the 90 % intervals of bias and delay."""
    motion = make_drive(1, 600.0, 11)
    held = np.zeros(2)
    for seed in range(30):
        test = self_test(PlantedBoard(bias_mps2=0.4, motion=motion, seed=seed).log())
        for k, (finding, truth) in enumerate(((test.bias, 0.4), (test.delay, 0.3))):
            held[k] += finding.interval[0] < truth < finding.interval[1]
    assert (held >= 22).all(), held


@pytest.mark.parametrize("delay_ms", [0, 100, 700])
def test_a_delay_comes_back_whatever_it_is(tmp_path, delay_ms):
    """From none to most of a second, on an axis that points backwards."""
    test = findings(tmp_path, sign=-1, delay_ms=delay_ms)
    assert test.axis.name == "-x"
    assert test.delay.value == pytest.approx(delay_ms / 1000.0, abs=0.05)


def test_the_delay_of_a_receiver_with_ten_fixes_a_second_comes_back(tmp_path):
    """Most of its fixes come while others are under way."""
    test = findings(tmp_path, rows_per_fix=1, speed_sd_mps=0.2)
    assert test.delay.value == pytest.approx(0.3, abs=0.05)


def test_a_log_of_a_few_fixes_tells_no_delay(tmp_path):
    """With fewer gains of speed than are needed: how many there are, and what to do."""
    motion = Motion(*(values[:901] for values in make_drive(1, 600.0, 11)))
    test = findings(tmp_path, motion=motion, rows_per_fix=20)
    assert "pairs of fixes about 3 s apart, needed are 60: drive for longer" in test.delay.refusal


def test_an_age_that_the_log_gives_is_no_delay(tmp_path):
    """Where the log says how old each fix is, nothing is left to find; 0.5 s late as they are."""
    test = findings(tmp_path, delay_ms=500, fix_age=True)
    assert test.delay.value == pytest.approx(0.0, abs=0.05)


def test_a_parked_board_is_refused_with_what_to_do(tmp_path):
    """It never changed its speed: no axis, and without one no bias and no delay."""
    test = findings(tmp_path, motion=make_drive(1, 600.0, 11, parked=True), bias_mps2=0.4)
    assert not test.is_usable
    assert test.verdict.startswith("refused: the speed hardly changed")
    assert "set off and brake a few times" in test.verdict
    assert (test.bias.is_told, test.delay.is_told) == (False, False)


def test_a_board_that_mostly_stood_shows_its_delay(tmp_path):
    """A standing car's repeated fix counts as often as a fix comes, not in every row."""
    speed = make_drive(1, 600.0, 11).speed_mps[:, 0]
    test = findings(tmp_path, motion=driving(np.concatenate([speed, np.zeros(9000)])))
    assert test.delay.value == pytest.approx(0.3, abs=0.05)


def test_a_log_without_accelerations_is_refused():
    """As of a board that has no accelerometer."""
    board = PlantedBoard()
    board.accel[:] = np.nan
    test = self_test(board.log())
    assert test.verdict == "refused: its log holds no accelerations"


def test_without_stops_the_bias_is_that_of_driving(tmp_path):
    """A car that never stood shows its bias as what the GPS speed does not explain."""
    tick = np.arange(6001)
    motion = driving(15.0 + 5.0 * np.sin(2.0 * np.pi * tick / 200.0))
    test = findings(tmp_path, motion=motion, bias_mps2=-0.5)
    assert "of driving" in test.bias.basis
    assert test.bias.value == pytest.approx(-0.5, abs=0.05)
    assert test.is_usable


def test_a_minute_without_a_stop_tells_no_bias(tmp_path):
    """Shaken about and not half a minute of stops: refused, with what to do."""
    tick = np.arange(700)
    motion = driving(15.0 + 5.0 * np.sin(2.0 * np.pi * tick / 200.0))
    test = findings(tmp_path, motion=motion, noise_mps2=3.0)
    assert not test.is_usable
    assert "stop now and then for half a minute" in test.verdict


def test_a_drive_at_nearly_even_speed_tells_no_delay(tmp_path):
    """Where gains of speed are as large as the GPS's noise, the usual delay is taken and said."""
    tick = np.arange(6001)
    motion = driving(15.0 + 3.0 * np.sin(2.0 * np.pi * tick / 400.0))
    test = findings(tmp_path, motion=motion, speed_sd_mps=0.5)
    assert not test.delay.is_told
    assert "speed up and brake more" in test.delay.refusal
    assert test.is_usable
    assert test.verdict == "good, with the usual delay of 0.15 s"
    assert test.delay_to_apply_s == 0.15


def test_accelerations_in_g_are_refused():
    """An axis that gains a tenth of what the GPS speed gains is in other units."""
    board = PlantedBoard(noise_mps2=0.02)
    board.accel /= 9.81
    test = self_test(board.log())
    assert not test.is_usable
    assert "0.1 times what the GPS speed gains" in test.verdict
    assert "in g" in test.verdict


def test_the_command_shows_each_board_and_refuses_by_its_exit_code(tmp_path, capsys, monkeypatch):
    """`roadsense logs check`: a table of axis, bias, delay and verdict; 1 if a board is refused."""
    monkeypatch.setenv("COLUMNS", "200")
    good = PlantedBoard(axis=1, sign=-1, bias_mps2=0.4).write(tmp_path, "a")
    assert main(["logs", "check", str(good)]) == 0
    printed = capsys.readouterr().out
    assert "-y (slope" in printed
    assert "+0.41 ± 0.01" in printed
    assert "good" in printed
    parked = PlantedBoard(motion=make_drive(1, 600.0, 11, parked=True)).write(tmp_path, "b")
    assert main(["logs", "check", str(good), str(parked)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "the speed hardly changed" in printed
    assert "b: bias: not told: without a forward axis there is none" in printed


def test_the_command_reads_other_formats_by_a_map(tmp_path, capsys, monkeypatch):
    """With `--map`, as every command that reads logs."""
    monkeypatch.setenv("COLUMNS", "200")
    path = PlantedBoard(axis=1, sign=-1, bias_mps2=0.4).write(tmp_path)
    path.write_text(path.read_text().replace("speed,", "v,", 1))
    assert main(["logs", "check", str(path)]) == 1
    assert "the log holds no speed" in capsys.readouterr().out
    assert main(["logs", "map", str(path), "--out", str(tmp_path / "map.toml")]) == 0
    assert main(["logs", "check", str(path), "--map", str(tmp_path / "map.toml")]) == 0
    assert "-y (slope" in capsys.readouterr().out


def test_a_board_that_fuses_by_itself_is_not_tested(tmp_path, capsys, monkeypatch):
    """What it logs is what it believed: nothing is to be found or applied."""
    monkeypatch.setenv("COLUMNS", "200")
    path = PlantedBoard(motion=make_drive(1, 600.0, 11, parked=True)).write(tmp_path)
    assert main(["logs", "check", str(path)]) == 1
    head, *rows = path.read_text().splitlines()
    path.write_text(
        "\n".join([head + ",position_sd_m", rows[0] + ",", *(r + ",1.5" for r in rows[1:])])
    )
    assert main(["logs", "check", str(path)]) == 0
    assert "fuses by itself" in capsys.readouterr().out


def test_the_command_needs_a_tx_log(tmp_path, capsys):
    """RX logs alone hold nothing that a board said of itself in its own time."""
    text = PlantedBoard().write(tmp_path).read_text()
    rx = tmp_path / "a-rx.csv"
    rx.write_text(text.replace("vehicle_id", "from_vehicle_id", 1))
    assert main(["logs", "check", str(rx)]) == 2
    assert "no TX log among them" in capsys.readouterr().err
    assert main(["logs", "check"]) == 2
    assert "which logs?" in capsys.readouterr().err
