"""The car that everybody drives, and the tick that everything goes by.

The limits are those of a passenger car in SUMO's default vehicle class, with full braking of
8 m/s² (dry asphalt). The tick is one decision of a driver.
"""

DT_S = 0.1
"""A tick, s."""
TICK_US = 100_000
"""The same in µs, the radio's unit of time."""

CAR_LENGTH_M = 4.5
CAR_WIDTH_M = 1.9
STANDSTILL_GAP_M = 1.5
"""What two cars leave between them at standstill, m."""

MAX_BRAKING_MPS2 = 8.0
MAX_ACCEL_MPS2 = 2.6
MAX_SPEED_MPS = 55.0
