"""An episode as one still picture that lines up with others of the same episode."""

import io

from matplotlib.figure import Figure

from ml.evaluation.recording import Recording
from ml.reports.episode.panels import draw_timeline
from ml.reports.style import house_style, lay_out

_DPI = 110


def draw_still(recording: Recording, title: str) -> Figure:
    """Draw an episode; call it in the house style.

    The time axis does not depend on what the ego does, so that whoever leafs through pictures of
    one episode, driven again and again, sees what changes.

    Args:
        recording: The episode.
        title: Two lines at most.
    """
    figure = draw_timeline(recording, recording.hazard_window_s)
    figure.suptitle(title, x=0.02, ha="left", fontsize=10, fontweight="bold")
    return figure


def still_png(recording: Recording, title: str) -> bytes:
    """Return the picture as a PNG; see `draw_still`."""
    buffer = io.BytesIO()
    with house_style():
        figure = draw_still(recording, title)
        lay_out(figure)
        figure.set_layout_engine(None)  # with an engine, `savefig` lays everything out again
        figure.savefig(buffer, dpi=_DPI, format="png")
    return buffer.getvalue()
