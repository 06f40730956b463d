"""A convoy as a picture: ground truth from above, for `render_mode="rgb_array"`."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ml.vehicle import CAR_LENGTH_M, CAR_WIDTH_M

WIDTH, HEIGHT = 800, 200
"""Pixels."""
GROUND, ASPHALT, LANE, INK = (255, 255, 255), (233, 236, 238), (185, 192, 198), (27, 29, 31)
EGO, FRONT, BRAKE, OTHER = (213, 94, 0), (0, 114, 178), (0, 122, 90), (118, 124, 130)
"""The colours of the episode page in its light theme."""
_BEHIND_M = 20.0
_STEP_M = 50.0
"""The road that is shown ends at a multiple of this, so that the scale seldom changes."""
_DASH_M, _DASHES_M = 3.0, 12.0
_BRAKING_MPS2 = 0.6
_FULL_BRAKING_MPS2 = 8.0
_LEAST_LENGTH, _LEAST_WIDTH = 14, 16
_LANE_WIDTH_M = 3.5
_LANE = 44
_MIDDLE = 128
_FONT = ImageFont.load_default(13)


def draw_convoy(
    route_pos_m: NDArray[np.float64],
    lateral_m: NDArray[np.float64],
    accel_mps2: NDArray[np.float64],
    *,
    brake_slot: int = 0,
    words: str = "",
) -> NDArray[np.uint8]:
    """Draw one convoy from above, driving to the right; the ego is the last car.

    Args:
        route_pos_m: (V,) front bumpers along the road, the ego first.
        lateral_m: (V,) to the left of the convoy's lane.
        accel_mps2: (V,) a car that slows shows brake lights, the longer the harder it brakes.
        brake_slot: Who brings a hazard; 0 for nobody.
        words: A line above the road.

    Returns:
        (200, 800, 3) uint8.
    """
    ahead_m = route_pos_m - route_pos_m[0]
    far_m = _STEP_M * (np.floor(float(ahead_m.max()) / _STEP_M) + 1.0)
    scale = WIDTH / (far_m + _BEHIND_M)
    picture = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
    pen = ImageDraw.Draw(picture)
    lanes = 2 if float(lateral_m.max()) > CAR_WIDTH_M / 2.0 else 1
    top = _MIDDLE - _LANE // 2 - (lanes - 1) * _LANE
    pen.rectangle((0, top, WIDTH, _MIDDLE + _LANE // 2), fill=ASPHALT)
    edge = _MIDDLE - _LANE // 2 if lanes > 1 else _MIDDLE + _LANE // 2
    first_m = -_BEHIND_M - float(route_pos_m[0] - _BEHIND_M) % _DASHES_M
    for dash_m in np.arange(first_m, far_m, _DASHES_M).tolist():
        left = (dash_m + _BEHIND_M) * scale
        pen.line((left, edge, left + _DASH_M * scale, edge), fill=LANE, width=2)
    long = max(CAR_LENGTH_M * scale, _LEAST_LENGTH)
    wide = max(CAR_WIDTH_M * scale, _LEAST_WIDTH)
    for slot in range(route_pos_m.size - 1, -1, -1):
        right = (float(ahead_m[slot]) + _BEHIND_M) * scale
        middle = _MIDDLE - float(lateral_m[slot]) / _LANE_WIDTH_M * _LANE
        colour = {brake_slot: BRAKE, 1: FRONT, 0: EGO}.get(slot, OTHER)
        box = (right - long, middle - wide / 2, right, middle + wide / 2)
        pen.rounded_rectangle(box, radius=3, fill=colour)
        slowing = -float(accel_mps2[slot])
        if slowing > _BRAKING_MPS2:
            lit = 3.0 + 5.0 * min(slowing / _FULL_BRAKING_MPS2, 1.0)
            pen.rectangle((box[0] - lit, box[1], box[0] - 1, box[3]), fill=INK)
        if slot:
            pen.text((right - long / 2, box[1] - 3), f"{slot}", fill=INK, font=_FONT, anchor="mb")
    pen.text((8, 10), words, fill=INK, font=_FONT)
    drawn: NDArray[np.uint8] = np.asarray(picture)
    return drawn.copy()
