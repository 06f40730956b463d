"""An episode as an animated picture: the road from above, and the panels as time goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from ml.errors import EvaluationError
from ml.evaluation.recording import Recording
from ml.reports.episode.panels import (
    AHEAD_COLOUR,
    BRAKING_COLOUR,
    EGO_COLOUR,
    PANEL_HEIGHTS,
    EpisodePanels,
)
from ml.reports.style import GREY, PALE, house_style, lay_out, new_figure
from ml.vehicle import CAR_LENGTH_M

_TICKS_PER_FRAME = 2
_FRAME_MS, _LAST_FRAME_MS = 100, 2500
_COLOURS = 128
_PLAIN = Image.Dither.NONE
_SIZE_IN = (7.6, 8.2)
_DPI = 90
_BEHIND_M = 12.0
_OLD_S = 3.0
_CAR_HEIGHT, _TRUE_Y, _BELIEVED_Y = 0.7, 1.0, 0.0
_LANE_Y = 0.8
"""The lane to the left of the convoy's, above it."""


def write_animation(
    recording: Recording,
    file: Path,
    title: str,
    on_frame: Callable[[int, int], None] = lambda _frame, _frames: None,
) -> None:
    """Write an animated GIF, twice as fast as the episode was.

    Args:
        recording: The episode.
        file: Where to; what was there is replaced.
        title: Two lines at most.
        on_frame: Told (frames drawn, frames in all) after each.

    Raises:
        EvaluationError: The file cannot be written.
    """
    first_s, last_s = recording.window_s
    shown = np.flatnonzero((recording.time_s >= first_s) & (recording.time_s <= last_s)).tolist()
    frames = sorted({*shown[::_TICKS_PER_FRAME], shown[-1]})
    with house_style():
        figure = new_figure(*_SIZE_IN)
        figure.suptitle(title, x=0.02, ha="left", fontsize=11, fontweight="bold")
        heights = (0.9, *PANEL_HEIGHTS)
        road, *panels = figure.subplots(len(heights), 1, height_ratios=heights)
        scene = _RoadScene(recording, road, frames)
        for panel in panels[1:]:
            panel.sharex(panels[0])
        story = EpisodePanels(recording, panels)
        handles = [handle for panel in panels for handle in panel.get_legend_handles_labels()[0]]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)
        lay_out(figure)
        pictures = []
        canvas = _FrameCanvas(figure, [*scene.artists, *story.artists])
        for done, tick in enumerate(frames, start=1):
            scene.show(tick)
            story.show_until(tick)
            pictures.append(canvas.draw_frame())
            on_frame(done, len(frames))
    durations_ms = [_FRAME_MS] * (len(pictures) - 1) + [_LAST_FRAME_MS]
    # One palette for all frames, from the last one, which shows everything.
    palette = pictures[-1].quantize(_COLOURS)
    indexed = [picture.quantize(palette=palette, dither=_PLAIN) for picture in pictures]
    how: dict[str, Any] = {"format": "GIF", "save_all": True, "duration": durations_ms, "loop": 0}
    try:
        indexed[0].save(file, append_images=indexed[1:], **how)
    except OSError as error:
        raise EvaluationError(
            f"cannot write {file}: {error.strerror or error}. Name another file with --out."
        ) from error


class _FrameCanvas:
    """Draws what stands still once, and what moves for every frame.

    Matplotlib's `PillowWriter` draws all of it anew: that takes twelve times as long, and a palette
    per frame makes the file almost three times as large.
    """

    def __init__(self, figure: Figure, moving: list[Artist]) -> None:
        figure.set_dpi(_DPI)
        self._figure, self._moving = figure, moving
        self._canvas = cast("Any", FigureCanvasAgg(figure))  # its methods are not typed
        for artist in moving:
            artist.set_animated(True)
        self._canvas.draw()
        self._still = self._canvas.copy_from_bbox(figure.bbox)

    def draw_frame(self) -> Image.Image:
        """Draw the moving artists as they are now, on top of what stands still."""
        self._canvas.restore_region(self._still)
        for artist in self._moving:
            self._figure.draw_artist(artist)
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")


class _RoadScene:
    """The convoy from above: cars where they are, and where the ego's board believes them."""

    def __init__(self, recording: Recording, axes: Axes, frames: list[int]) -> None:
        self._recording = recording
        ahead_m = recording.route_pos_m - recording.route_pos_m[:, :1]
        farthest_m = float(ahead_m[frames].max()) + CAR_LENGTH_M
        axes.set_xlim(-_BEHIND_M, farthest_m * 1.04)
        axes.set_ylim(-0.75, 1.75 + (_LANE_Y if recording.in_another_lane else 0.0))
        axes.set_yticks([_BELIEVED_Y, _TRUE_Y], ["as told\nby radio", "true"])
        axes.grid(visible=False)
        axes.set_xlabel("distance ahead of the ego's front bumper, m")
        axes.tick_params(axis="y", length=0)
        axes.axhline(0.5, color=PALE, linewidth=0.8)
        # A car would be thinner than a line in a long convoy.
        self._length_m = max(CAR_LENGTH_M, 0.012 * farthest_m)
        brake = int(recording.brake_slot)
        self._cars: list[Rectangle] = []
        self._ghosts: list[Rectangle] = []
        self._ages: list[Text] = []
        colours = {brake: BRAKING_COLOUR, 0: EGO_COLOUR, 1: AHEAD_COLOUR}
        shape = (0.0, 0.0), self._length_m, _CAR_HEIGHT
        for slot in range(recording.num_peers + 1):
            colour = colours.get(slot, GREY)
            self._cars.append(Rectangle(*shape, color=colour))
            if slot > 0:
                self._ghosts.append(Rectangle(*shape, fill=False, ec=colour))
                age = axes.text(0.0, _BELIEVED_Y, "", fontsize=7.5, ha="center", va="center")
                self._ages.append(age)
        for patch in (*self._cars, *self._ghosts):
            axes.add_patch(patch)
        corner: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "va": "bottom"}
        self._clock = axes.text(1.0, 1.0, "", fontsize=9, **corner)

    @property
    def artists(self) -> list[Artist]:
        """What moves."""
        return [*self._cars, *self._ghosts, *self._ages, self._clock]

    def show(self, tick: int) -> None:
        """Move everything to where it is at a tick."""
        recording = self._recording
        ahead_m = recording.route_pos_m[tick] - recording.route_pos_m[tick, 0]
        aside = _LANE_Y * recording.lateral_m[tick] / max(float(recording.lateral_m.max()), 1.0)
        for car, front_m, up in zip(self._cars, ahead_m, aside.tolist(), strict=True):
            car.set_xy((float(front_m) - self._length_m, _TRUE_Y + up - _CAR_HEIGHT / 2))
        for source, (ghost, text) in enumerate(zip(self._ghosts, self._ages, strict=True)):
            heard = bool(recording.heard[tick, source])
            ghost.set_visible(heard)
            text.set_visible(heard)
            if not heard:
                continue
            front_m = float(recording.believed_gap_m[tick, source]) + CAR_LENGTH_M
            age_s = float(recording.age_s[tick, source])
            ghost.set_xy((front_m - self._length_m, _BELIEVED_Y - _CAR_HEIGHT / 2))
            ghost.set_alpha(max(1.0 - age_s / _OLD_S, 0.25))
            ghost.set_linestyle("-" if age_s < 1.0 else ":")
            text.set_position((front_m - self._length_m / 2, _BELIEVED_Y - 0.55))
            text.set_text(f"{age_s:.1f} s")
        speed = float(recording.speed_mps[tick, 0])
        self._clock.set_text(f"{recording.time_s[tick]:.1f} s after the start, ego {speed:.1f} m/s")
