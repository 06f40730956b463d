"""A recorded board's rows through the fusion that the simulated nodes have and the board's program.

See `ml.onboard.fusion`. What a policy is trained to expect of positions, speeds and accelerations
is what comes out of it; a log holds what goes in.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.calibration.logs.board_log import BoardLog
from ml.calibration.self_test import SelfTest, self_test
from ml.compiled import compiled
from ml.errors import LogError
from ml.onboard.fusion import Accuracy, Fusion, advance, blank, correct, fused_sd_m, start
from ml.sensors import SensorParameters

_MOST_FIX_AGE_S: Final = 5.0
_MOST_ROW_AGE_S: Final = 0.5
_X, _Y, _SPEED, _HEADING, _ACCEL, _SD = range(6)


class FusedStates(NamedTuple):
    """What a board believed of itself, tick by tick; (T,) float64 unless said otherwise.

    Attributes:
        x_m: East, in metres of the drive's plane.
        y_m: North.
        speed_mps: Never below 0.
        heading_deg: Clockwise from north, [0, 360).
        accel_mps2: Forward, of the newest row, without its bias.
        position_sd_m: Standard deviation per axis that it would believe its position has.
        valid: bool; False before the first fix, when the newest is older than 5 s, and when no row
            came for half a second. The other values are 0 there.
    """

    x_m: Floats
    y_m: Floats
    speed_mps: Floats
    heading_deg: Floats
    accel_mps2: Floats
    position_sd_m: Floats
    valid: Bools


def accuracy_of(sensors: SensorParameters) -> Accuracy:
    """How wrong a board of these parameters takes its sensors to be."""
    gyro_dps = sensors.heading.gyro_bias_sd_dps
    return Accuracy(
        sensors.position.sd_m**2 + sensors.position.white_sd_m**2,
        sensors.speed.sd_mps,
        sensors.heading.sd_deg,
        sensors.heading.full_accuracy_mps,
        sensors.heading.hold_below_mps,
        -1.0 if gyro_dps is None else gyro_dps,
        sensors.accelerometer.white_sd_mps2,
        sensors.accelerometer.bias_sd_mps2,
    )


def fused_states(
    log: BoardLog,
    tick_times_s: Floats,
    test: SelfTest | None = None,
    accuracy: Accuracy | None = None,
) -> FusedStates:
    """Fuse a board's rows, and read out what it believed at given times.

    A value at a time holds nothing that was logged later. Per row one step with the forward
    acceleration found by the self-test, its bias taken off; per fix one correction, as old as the
    log and the self-test say. Logs have no gyroscope: the heading is kept between fixes.

    Args:
        log: Of the board.
        tick_times_s: (T,) in its own clock, in order.
        test: What its self-test found; by default it is made here.
        accuracy: What it believes of its sensors; by default as in the preset parameters.

    Raises:
        LogError: The self-test refuses the board, or the log holds no fix with a speed.
    """
    test = self_test(log) if test is None else test
    accuracy = accuracy_of(SensorParameters()) if accuracy is None else accuracy
    if not test.is_usable:
        raise LogError(
            f"{log.source}: board {log.name}: {test.verdict}. Its log cannot be fused; "
            "`roadsense logs check` shows the self-test of each board."
        )
    if not np.isfinite(log.fixes.heading_deg).any():
        raise LogError(
            f"{log.source}: board {log.name}: no row holds position, speed and heading. Its log "
            "cannot be fused; record again with a GPS fix and with all three."
        )
    age_s = np.maximum(log.fixes.age_s + test.delay_to_apply_s, 0.0)
    # A fix that is older than any that counts is not worth the memory.
    kept_s = min(float(age_s.max()), _MOST_FIX_AGE_S) + _MOST_ROW_AGE_S
    fused = blank(1, math.ceil(kept_s / max(log.period_s, 1e-3)))
    out = np.zeros((_SD + 1, tick_times_s.size))
    valid = np.zeros(tick_times_s.size, dtype=bool)
    _fuse_rows(
        np.rint(log.time_s * 1e6).astype(np.int64),
        test.forward_mps2(log),
        (log.fixes.row, np.rint(age_s * 1e6).astype(np.int64), *log.fixes[2:]),
        np.rint(tick_times_s * 1e6).astype(np.int64),
        accuracy,
        fused,
        out,
        valid,
    )
    return FusedStates._make([*out, valid])


@compiled
def _fuse_rows(
    row_us: Ints,
    accel_mps2: Floats,
    fixes: tuple[Ints, Ints, Floats, Floats, Floats, Floats],
    tick_us: Ints,
    accuracy: Accuracy,
    fused: Fusion,
    out: Floats,
    valid: Bools,
) -> None:
    """Step from row to row, and fill `out` (6, T) and `valid` (T,); see `fused_states`."""
    fix_row, age_us, x_m, y_m, speed_mps, heading_deg = fixes
    gap_us = int(1e6 * _MOST_ROW_AGE_S)
    row, fix, begun = 0, 0, False
    for k in range(tick_us.size):
        while row < row_us.size and row_us[row] <= tick_us[k]:
            now_us = row_us[row]
            if begun:
                # Over a gap in the log nothing is known of the acceleration.
                known = now_us - fused.now_us[0] <= gap_us and not math.isnan(accel_mps2[row])
                accel = accel_mps2[row] if known else 0.0
                advance(0, now_us, accel, 0.0, accuracy.heading_hold_mps, fused)
            while fix < fix_row.size and fix_row[fix] == row:
                fix_us = now_us - age_us[fix]
                has_heading = not math.isnan(heading_deg[fix])
                pose = (x_m[fix], y_m[fix], speed_mps[fix], heading_deg[fix])
                if begun:
                    turns = has_heading and speed_mps[fix] >= accuracy.heading_hold_mps
                    correct(0, fix_us, (*pose, turns), fused)
                elif has_heading:
                    start(0, fix_us, pose, fused)
                    advance(0, now_us, 0.0, 0.0, accuracy.heading_hold_mps, fused)
                    begun = True
                fix += 1
            row += 1
        age_s = (tick_us[k] - fused.fix_us[0]) * 1e-6
        since_s = (tick_us[k] - fused.now_us[0]) * 1e-6
        valid[k] = begun and age_s <= _MOST_FIX_AGE_S and since_s <= _MOST_ROW_AGE_S
        if not valid[k]:
            continue
        accel = 0.0 if math.isnan(accel_mps2[row - 1]) else accel_mps2[row - 1]
        speed = max(fused.speed_mps[0] + accel * since_s, 0.0)
        way_m = 0.5 * (fused.speed_mps[0] + speed) * since_s
        direction = math.radians(fused.heading_deg[0])
        out[_X, k] = fused.x_m[0] + way_m * math.sin(direction)
        out[_Y, k] = fused.y_m[0] + way_m * math.cos(direction)
        out[_SPEED, k], out[_HEADING, k] = speed, fused.heading_deg[0]
        out[_ACCEL, k] = accel
        out[_SD, k] = fused_sd_m(age_s, speed, accuracy)
