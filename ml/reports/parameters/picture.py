"""Draw a parameter set: delivery over distance, ages, and a minute of a link."""

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ml.arrays import Floats
from ml.calibration.fits.field_tables import LOSS_BY_DISTANCE
from ml.calibration.trials.parameters import SPACING_M, Behaviour, Minute
from ml.reports.style import BLUE, GREEN, GREY, VERMILION, new_figure

_LOOKS: Final = ((BLUE, "-"), (VERMILION, "--"), (GREEN, ":"))
_MARKERS: Final = ("o", "s")
_LEAST_SHARE = 1e-4
_OLDEST_S = 5.0


def draw(behaviour: Behaviour, name: str, *, measured: bool = False) -> Figure:
    """Draw what a parameter set does; call it in the house style.

    Where a set is meant to be like what was recorded, `measured` shows that, too.
    """
    figure = new_figure(10.0, 7.2)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.15, 1.0))
    figure.suptitle(f"radio {name}", fontsize=14, fontweight="bold")
    _draw_delivery(figure.add_subplot(grid[0, 0]), behaviour.delivery, measured=measured)
    _draw_ages(figure.add_subplot(grid[0, 1]), behaviour.ages_s)
    _draw_minute(figure.add_subplot(grid[1, :]), behaviour.minute)
    return figure


def cars_between(count: int) -> str:
    """Say how many cars stand between two."""
    return {0: "nothing between", 1: "1 car between"}.get(count, f"{count} cars between")


def _draw_delivery(
    axes: Axes, delivery: dict[int, tuple[Floats, Floats]], *, measured: bool
) -> None:
    for between, (distance_m, share) in delivery.items():
        colour, dash = _LOOKS[between]
        axes.plot(distance_m, 100.0 * share, dash, color=colour, label=cars_between(between))
    if measured:
        for between, marker in enumerate(_MARKERS):
            bins = [b for b in LOSS_BY_DISTANCE if b.cars_between == between]
            axes.plot(
                [(b.low_m + b.high_m) / 2.0 for b in bins],
                [100.0 * (1.0 - b.loss) for b in bins],
                marker,
                color=_LOOKS[between][0],
                markeredgecolor="white",
                markersize=7,
                label=f"recorded, {cars_between(between)}",
            )
    axes.set(xlabel="distance (m)", ylabel="own frames received (%)", ylim=(0, 102), xlim=(0, 240))
    axes.set_title("Delivery over distance, first-hand")
    axes.legend()


def _draw_ages(axes: Axes, ages_s: dict[int, Floats]) -> None:
    for (rank, sorted_s), (colour, dash) in zip(ages_s.items(), _LOOKS, strict=False):
        share = 1.0 - (np.arange(sorted_s.size) + 1.0) / sorted_s.size
        inside = (sorted_s <= _OLDEST_S) & (share >= _LEAST_SHARE)
        label = f"car {rank} ahead, {rank * SPACING_M:g} m"
        axes.plot(sorted_s[inside], 100.0 * share[inside], dash, color=colour, label=label)
    axes.set(yscale="log", xlim=(0, _OLDEST_S), ylim=(100.0 * _LEAST_SHARE, 130.0))
    axes.set_yticks([0.01, 0.1, 1.0, 10.0, 100.0], ["0.01", "0.1", "1", "10", "100"])
    axes.minorticks_off()
    axes.set(xlabel="age of the newest message (s)", ylabel="share of time it is older (%)")
    axes.set_title("Age of what the last car knows, relays included")
    axes.legend()


def _draw_minute(axes: Axes, minute: Minute) -> None:
    heard = np.isfinite(minute.age_s)
    axes.plot(minute.time_s[heard], minute.age_s[heard], color=BLUE, linewidth=1.1)
    top_s = max(1.0, float(minute.age_s[heard].max(initial=0.0)) * 1.05)
    lost_s = minute.time_s[minute.lost]
    axes.vlines(lost_s, -0.09 * top_s, -0.02 * top_s, color=VERMILION, linewidth=1.2)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set(xlim=(0, 60), ylim=(-0.11 * top_s, top_s))
    axes.set(xlabel="time (s)", ylabel="age of the newest message (s)")
    loss = 100.0 * float(minute.lost.mean())
    axes.set_title(
        "A minute of the middle one of many links from the car ahead; "
        f"marks below: its own frames lost ({loss:.1f} %)"
    )
