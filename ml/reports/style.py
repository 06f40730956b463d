"""One look for all pictures and pages: colours that everybody tells apart, text that stays whole.

Colours are those of Okabe and Ito (Color Universal Design, 2008), which colour-blind readers tell
apart, without yellow, which vanishes on white. A colour never stands alone: families have a marker
of their own, too.
"""

import base64
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine

BLUE, GREEN, SKY, ORANGE = "#0072B2", "#009E73", "#56B4E9", "#E69F00"
VERMILION, PURPLE, BLACK, GREY = "#D55E00", "#CC79A7", "#000000", "#767676"
PALE = "#d9d9d9"

POLICY_COLOUR = VERMILION

WIDTH_IN = 4.5
"""Width of a picture that a phone shows whole; wider ones scroll."""

BOUND_MARKERS = "sDo^v<>"
"""Hollow and grey: they bound what is possible."""

_MOST_ENLARGED, _ROUNDING_IN = 6, 0.005
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


class FamilyStyle(NamedTuple):
    """How the controllers of one family look."""

    colour: str
    marker: str
    dash: str


class Picture(NamedTuple):
    """A picture inside a page: its content, as a `data:` URI, and what it shows."""

    uri: str
    text: str


def family_styles(families: Iterable[str]) -> dict[str, FamilyStyle]:
    """Give each family a look of its own, in the order given; one named twice has one."""
    return {
        family: FamilyStyle(
            _COLOURS[i % len(_COLOURS)],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[i // len(_COLOURS) % len(_DASHES)],
        )
        for i, family in enumerate(dict.fromkeys(families))
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


def say_nothing(axes: Axes, text: str) -> None:
    """Say in axes without data why there is none."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=GREY)


def lay_out(figure: Figure) -> None:
    """Arrange a figure, and enlarge it until it holds all of its text.

    The constrained layout shrinks axes, but no text: a label that is longer than its axes, or words
    wider than the figure, would be cut off at the edge.
    """
    engine = cast("LayoutEngine", figure.get_layout_engine())  # `new_figure` gave it one
    for _ in range(_MOST_ENLARGED):
        engine.execute(figure)
        drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        lacking_x = max(-drawn.x0, 0.0) + max(drawn.x1 - width, 0.0)
        lacking_y = max(-drawn.y0, 0.0) + max(drawn.y1 - height, 0.0)
        if max(lacking_x, lacking_y) < _ROUNDING_IN:
            return
        # A centred label gains on both sides where one lacks.
        figure.set_size_inches(width + 2.0 * lacking_x, height + 2.0 * lacking_y)


def save_picture(figure: Figure, file: Path, *, dpi: int = 150) -> None:
    """Write a figure to a file, the same bytes for the same figure; call it in the house style.

    Raises:
        OSError: The file cannot be written.
    """
    lay_out(figure)
    unstable = {".png": "Software", ".svg": "Date"}.get(file.suffix.lower())
    figure.savefig(file, dpi=dpi, metadata={unstable: None} if unstable else None)


def as_png(figure: Figure, *, dpi: int) -> bytes:
    """Return a figure as a PNG; call it in the house style."""
    lay_out(figure)
    figure.set_layout_engine(None)  # with an engine, `savefig` lays everything out again
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png")
    return buffer.getvalue()


def as_picture(figure: Figure, text: str) -> Picture:
    """Turn a figure into an SVG inside a URI, sharp on a phone and in print."""
    lay_out(figure)
    # The layout's last bits differ from run to run, and names inside the SVG are made from them.
    # With an engine, even one that does nothing, `savefig` draws everything twice.
    figure.set_layout_engine(None)
    for axes in figure.axes:
        left, bottom, width, height = (round(x, 6) for x in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    content = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/svg+xml;base64,{content}", text)


def render_page(template: str, **content: object) -> str:
    """Fill one of the templates: an HTML page with everything inside, to be mailed and archived."""
    loader = PackageLoader("ml.reports", "templates")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    stylesheet, *_ = loader.get_source(environment, "card.css")
    return environment.get_template(template).render(stylesheet=stylesheet, **content) + "\n"
