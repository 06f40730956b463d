"""An episode as one still picture that lines up with others of the same episode."""

from matplotlib.figure import Figure

from ml.evaluation.recording import Recording
from ml.reports.episode.panels import draw_timeline
from ml.reports.style import as_png, house_style

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
    with house_style():
        return as_png(draw_still(recording, title), dpi=_DPI)
