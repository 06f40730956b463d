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
"""What two cars leave between them at standstill, m: the least that a board reckons with."""
CALM_STANDSTILL_M = 5.0
"""What a calm driver keeps at standstill, m: the ego at first, and the reference ego."""
PEER_STANDSTILL_M = 2.0
"""What a middling peer keeps at standstill, m: the Intelligent Driver Model's usual value."""
WANTED_STANDSTILL_M = 10.0
"""Gap that the ego shall keep at standstill, m: between four and five standard deviations of the
difference of two GPS positions (2.1 m each, half of it common), which hardly changes in an
episode."""

MAX_BRAKING_MPS2 = 8.0
MAX_ACCEL_MPS2 = 2.6
MAX_SPEED_MPS = 55.0
REACTION_MPS2 = 1.0
"""Who slows harder than this brakes; less is coasting."""
HEADWAY_SPEED_MPS = 5.0
"""Time headway is averaged above this speed; below it the standstill distance decides."""
