"""One look for all pictures: colours that colour-blind readers tell apart, text that stays legible.

Colours are those of Okabe and Ito (Color Universal Design, 2008) without yellow, which vanishes on
white. A colour never stands alone: families have a marker of their own, too.
"""

from __future__ import annotations

import base64
import io
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

BLUE, GREEN, SKY, ORANGE = "#0072B2", "#009E73", "#56B4E9", "#E69F00"
VERMILION, PURPLE, BLACK, GREY = "#D55E00", "#CC79A7", "#000000", "#767676"
PALE = "#d9d9d9"

POLICY_COLOUR = VERMILION

WIDTH_IN = 4.5
"""Width of a picture that a phone shows whole; wider ones scroll."""

BOUND_MARKERS = "sDo^v<>"
"""Hollow and grey: they bound what is possible."""

_MARKERS = "os^DvPX*<>hpd"
_COLOURS = (BLUE, GREEN, SKY, ORANGE, PURPLE, BLACK)
_DASHES = ("-", "--", ":")
_PARAMETERS: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # it comes with matplotlib
    "font.size": 10,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "white",
    "svg.hashsalt": "roadsense",  # the same figures make the same file
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


@dataclass(frozen=True, slots=True)
class FamilyStyle:
    """How the controllers of one family look."""

    colour: str
    marker: str
    dash: str


def family_styles(families: list[str]) -> dict[str, FamilyStyle]:
    """Give each family a look of its own, in the order given."""
    return {
        family: FamilyStyle(
            _COLOURS[i % len(_COLOURS)],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[i // len(_COLOURS) % len(_DASHES)],
        )
        for i, family in enumerate(families)
    }


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_PARAMETERS)
        yield


def new_figure(width_in: float, height_in: float) -> Figure:
    """Make a figure that no window and no global state knows of."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_data_uri(figure: Figure) -> str:
    """Turn a figure into an SVG inside a URI, sharp on a phone and in print."""
    # The layout's last bits differ from run to run, and names inside the SVG are made from them.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(x, 6) for x in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
