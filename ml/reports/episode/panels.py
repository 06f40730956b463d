"""The panels that tell an episode's story: gap, speeds, accelerations, and what the radio brought.

A still picture shows them whole; an animation uncovers them up to a moment.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ml.evaluation.recording import Recording
from ml.reports.style import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, WIDTH_IN, new_figure

EGO_COLOUR, AHEAD_COLOUR, BRAKING_COLOUR = VERMILION, BLUE, GREEN
PANEL_HEIGHTS = (1.1, 1.0, 1.0, 1.0, 0.8)
_HARDEST_MPS2 = 10.5
_LEAST_AGE_S = 1.0
_ARRIVAL_ROW_IN = 0.11
_ROUNDING_S = 1e-6


class EpisodePanels:
    """Five panels over one time axis: gap, speeds, accelerations, age of messages, arrivals.

    They are drawn into the axes given, from the top, and show `window_s`, the recording's own
    window by default.
    """

    def __init__(
        self,
        recording: Recording,
        axes: list[Axes],
        window_s: tuple[float, float] | None = None,
    ) -> None:
        self._recording, window_s = recording, window_s or recording.window_s
        self._inside = (recording.time_s >= window_s[0]) & (recording.time_s <= window_s[1])
        self._lines: list[tuple[Line2D, NDArray[np.float64]]] = []
        brake = int(recording.brake_slot)
        self._braking_slot = brake if brake > 1 else None
        self._onset = f"the onset of the {'cut-in' if recording.in_another_lane else 'braking'}"
        self._zero_s = 0.0 if np.isnan(recording.onset_s) else float(recording.onset_s)
        self.time_s = recording.time_s - self._zero_s
        gap, speed, accel, age, arrivals = axes
        self._draw_gap(gap)
        self._draw_speeds(speed)
        self._draw_accelerations(accel)
        self._draw_ages(age)
        self._arrivals = self._draw_arrivals(arrivals)
        for panel in axes:
            panel.set_xlim(window_s[0] - self._zero_s, window_s[1] - self._zero_s)
            self._mark_events(panel, label=panel is gap)
            panel.label_outer()
        event = "the start" if np.isnan(recording.onset_s) else self._onset
        arrivals.set_xlabel(f"time since {event}, s")
        self._cursors = [panel.axvline(0.0, color=BLACK, linewidth=0.8) for panel in axes]
        for cursor in self._cursors:
            cursor.set_visible(False)

    @property
    def artists(self) -> list[Artist]:
        """What `show_until` changes."""
        return [*(line for line, _ in self._lines), self._arrivals[0], *self._cursors]

    def show_until(self, tick: int) -> None:
        """Cover what comes after a tick, and mark it."""
        now_s = float(self.time_s[tick])
        for line, values in self._lines:
            line.set_data(self.time_s[: tick + 1], values[: tick + 1])
        moments, sources = self._arrivals[1:]
        come = moments <= now_s
        self._arrivals[0].set_data(moments[come], sources[come])
        for cursor in self._cursors:
            cursor.set_visible(True)
            cursor.set_xdata([now_s, now_s])

    def _plot(self, axes: Axes, values: NDArray[np.float64], colour: str, **look: Any) -> None:
        (line,) = axes.plot(self.time_s, values, color=colour, **look)
        self._lines.append((line, values))

    def _until_crash(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Leave out what comes after the crash, where the ego is held still."""
        crash_s = self._recording.crash_s
        if np.isnan(crash_s):
            return values
        return np.where(self._recording.time_s <= crash_s + _ROUNDING_S, values, np.nan)

    def _draw_gap(self, axes: Axes) -> None:
        recording = self._recording
        believed = np.where(recording.heard[:, 0], recording.believed_gap_m[:, 0], np.nan)
        true_m = self._until_crash(recording.gap_m)
        told_m = self._until_crash(believed)
        self._plot(axes, told_m, ORANGE, label="gap as told by radio", linewidth=1.2)
        self._plot(axes, true_m, BLACK, label="true gap")
        top = max(float(np.nanmax(true_m[self._inside], initial=0.0)), 1.0)
        axes.set_ylim(-0.05 * top, 1.2 * top)
        axes.set_ylabel("gap, m")

    def _plot_cars(
        self, axes: Axes, values: NDArray[np.float64], labels: Sequence[str | None] = (None,) * 3
    ) -> None:
        """Plot the car that brakes, the one in front and the ego, of (ticks, slots)."""
        colours, dashes = (BRAKING_COLOUR, AHEAD_COLOUR, EGO_COLOUR), (":", "--", "-")
        slots = (self._braking_slot, 1, 0)
        for slot, colour, label, dash in zip(slots, colours, labels, dashes, strict=True):
            if slot is None or np.isnan(values[:, slot]).all():
                continue
            shown = values[:, slot] if slot else self._until_crash(values[:, 0])
            self._plot(axes, shown, colour, label=label, linestyle=dash)

    def _draw_speeds(self, axes: Axes) -> None:
        speed_mps = self._recording.speed_mps
        first = "car from the other lane" if self._recording.in_another_lane else "car in front"
        self._plot_cars(
            axes, speed_mps, (f"braking car, number {self._braking_slot}", first, "ego")
        )
        axes.set_ylim(-0.03 * speed_mps.max(), 1.15 * max(float(speed_mps.max()), 1.0))
        axes.set_ylabel("speed, m/s")

    def _draw_accelerations(self, axes: Axes) -> None:
        self._plot_cars(axes, self._recording.accel_mps2)
        axes.set_ylim(-_HARDEST_MPS2, 3.5)
        axes.set_ylabel("accel., m/s²")

    def _draw_ages(self, axes: Axes) -> None:
        recording = self._recording
        ages = np.where(recording.heard, recording.age_s, np.nan)
        unheard = np.full((len(ages), 1), np.nan)  # the ego hears nothing of itself
        self._plot_cars(axes, np.concatenate([unheard, ages], axis=1))
        shown = ages[self._inside]
        oldest = float(np.nanmax(shown)) if np.isfinite(shown).any() else 0.0
        axes.set_ylim(0.0, 1.15 * max(oldest, _LEAST_AGE_S))
        axes.set_ylabel("age of\nmessage, s")

    def _draw_arrivals(self, axes: Axes) -> tuple[Line2D, NDArray[np.float64], NDArray[np.int64]]:
        recording = self._recording
        moments = recording.arrival_s - self._zero_s
        ranks = recording.arrival_source + 1
        (ticks,) = axes.plot(moments, ranks, "|", markersize=5, color=BLUE, label="message arrives")
        axes.set_ylim(0.4, recording.num_peers + 0.6)
        shown = range(1, recording.num_peers + 1, 1 + recording.num_peers // 6)
        axes.set_yticks(list(shown), [str(rank) for rank in shown])
        axes.set_ylabel("arrivals\nfrom car")
        return ticks, moments, ranks

    def _mark_events(self, axes: Axes, *, label: bool) -> None:
        recording = self._recording
        for moment_s, name, colour, width in (
            (recording.onset_s, self._onset.removeprefix("the "), GREY, 1.0),
            (recording.informed_s, "a message shows it", GREEN, 1.0),
            (recording.crash_s, "crash", VERMILION, 2.5),
        ):
            if not np.isnan(moment_s):
                axes.axvline(
                    float(moment_s) - self._zero_s,
                    label=name if label else None,
                    color=colour,
                    linewidth=width,
                    linestyle="--" if colour == GREY else "-",
                    alpha=0.6,
                )


def draw_timeline(recording: Recording, window_s: tuple[float, float] | None = None) -> Figure:
    """Draw the part of an episode that is worth looking at; call it in the house style.

    Args:
        recording: The episode.
        window_s: First and last moment since the episode's start, s; None for the recording's own.
    """
    extra_in = _ARRIVAL_ROW_IN * max(recording.num_peers - 4, 0)
    figure = new_figure(WIDTH_IN, 6.6 + extra_in)
    heights = (*PANEL_HEIGHTS[:-1], PANEL_HEIGHTS[-1] + extra_in)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    EpisodePanels(recording, list(axes), window_s)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, columnspacing=1.2)
    return figure
