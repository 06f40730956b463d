"""The arrays of the sensors' compiled loops, and where in them each number is."""

from typing import Annotated, Final, NamedTuple

from ml.arrays import Floats, Ints, Words

# What the draws of a vehicle are for. A fix draws by its number, the accelerometer by the tick.
NUM_DRAWS: Final = 6
OWN, WHITE, SPEED_HEADING, ACCELERATION, FREEZE, JUMP = range(NUM_DRAWS)

# What a vehicle remembers. Errors of unit variance; what an episode gives it; the truth at its last
# sample; how far its GPS is off in a jump. What it believes is its board's, `ml.onboard.fusion`.
NUM_MEMORIES: Final = 13
OWN_EAST, OWN_NORTH, SPEED_ERROR = range(3)
LAGGED_ACCEL, ACCEL_BIAS, ACCEL_GAIN, GYRO_BIAS = range(3, 7)
TRUE_X, TRUE_Y, TRUE_SPEED, TRUE_HEADING = range(7, 11)
JUMP_EAST, JUMP_NORTH = range(11, 13)

# Its times in µs, and how many fixes were taken and delivered.
NUM_TIMES: Final = 6
SAMPLED, NEXT_FIX, FROZEN_UNTIL, JUMPED_UNTIL, TAKEN, DELIVERED = range(NUM_TIMES)

# A fix between its taking and its delivery: when, and what it says.
NUM_FIX_FIELDS: Final = 6
FIX_US, FIX_X, FIX_Y, FIX_SPEED, FIX_HEADING, FIX_HAS_HEADING = range(NUM_FIX_FIELDS)
# Two fixes fit into a delay, two more into the longest time between two samples; a power of two.
RING: Final = 8
RING_MASK: Final = RING - 1

# What each convoy has: the sizes of its errors and how fast they are renewed, how its fixes are
# made and used, and the common error of position, of unit variance.
NUM_SIZES: Final = 29
OWN_SD_M, COMMON_SD_M, WHITE_SD_M, GPS_VARIANCE_M2, SPEED_SD_MPS, HEADING_SD_DEG = range(6)
ACCEL_SD_MPS2, BIAS_SD_MPS2, LAG_S, LAG_KEEP, GYRO_SD_DPS = range(6, 11)
KEEP_OWN, RENEW_OWN, KEEP_COMMON, RENEW_COMMON, KEEP_SPEED, RENEW_SPEED = range(11, 17)
PERIOD_US, DELAY_US, IS_FUSED, HEADING_FULL_MPS, HEADING_HOLD_MPS = range(17, 22)
FREEZE_PROBABILITY, FREEZE_US, JUMP_PROBABILITY, JUMP_US, JUMP_SD_M = range(22, 27)
COMMON_EAST, COMMON_NORTH = range(27, 29)

# The rows of what is measured, in the order of `Measurement`.
NUM_MEASURED: Final = 6
OUT_X, OUT_Y, OUT_SPEED, OUT_HEADING, OUT_ACCEL, OUT_SD = range(NUM_MEASURED)


class SensorArrays(NamedTuple):
    """All that a bank of sensors keeps; a car is a vehicle of a convoy, env * V + slot."""

    keys: Annotated[Words, "CARS NUM_DRAWS"]
    common_keys: Annotated[Words, "E"]  # of the error that a convoy has in common
    sizes: Annotated[Floats, "E NUM_SIZES"]
    memory: Annotated[Floats, "CARS NUM_MEMORIES"]
    times: Annotated[Ints, "CARS NUM_TIMES"]
    rings: Annotated[Floats, "CARS RING NUM_FIX_FIELDS"]


class Truth(NamedTuple):
    """What the vehicles truly do, (K, V) float64 each."""

    x_m: Floats  # east
    y_m: Floats  # north
    speed_mps: Floats  # along the vehicle, as the acceleration
    heading_deg: Floats  # clockwise from north, [0, 360)
    accel_mps2: Floats
