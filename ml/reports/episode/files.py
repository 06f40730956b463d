"""An episode as a file: a page, JSON, arrays or a moving picture, as its name ends."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from ml import __version__
from ml.errors import ConfigError, EvaluationError
from ml.evaluation.recording import Recording
from ml.evaluation.result import EpisodeRow
from ml.reports.episode.animation import write_animation
from ml.reports.episode.page import Drive, write_json, write_page
from ml.reports.episode.words import tell

ENDINGS = (".html", ".json", ".npz", ".gif")
"""Page, JSON of the page, arrays of a recording, animated picture; docs/watch.md describes each."""
_ALONE = (".npz", ".gif")


def drive_of(row: EpisodeRow, recording: Recording) -> Drive:
    """Describe an episode by its line in a result."""
    figures = (
        ("suite", row.suite),
        ("radio", row.radio),
        ("episode", f"{row.case}, seed {row.seed}, {row.kind}"),
        ("cars ahead", f"{row.num_peers}"),
        ("smallest gap", _said(row.min_gap_m, "m")),
        ("smallest time to collision", _said(row.min_ttc_s, "s")),
        ("told by", f"{100.0 * row.delivery_ratio:.0f} % of the messages"),
        ("age of the first peer's newest message", _said(row.age_p50_s, "s (median)")),
        ("longest silence of the first peer", _said(row.longest_blackout_s, "s")),
        ("false brakings", f"{row.false_brakes}"),
        ("RoadSense", __version__),
    )
    return Drive(recording, row.controller, tell(row), figures)


def title_of(row: EpisodeRow) -> str:
    """Name an episode in a line, whoever drives."""
    return f"{row.suite} on {row.radio}, episode {row.case}"


def require_ending(option: str, file: Path, drives: int = 1) -> None:
    """Refuse a file whose ending says nothing, or that cannot hold so many drives.

    Raises:
        ConfigError: With what may stand there.
    """
    fitting = [ending for ending in ENDINGS if drives == 1 or ending not in _ALONE]
    if file.suffix.lower() not in fitting:
        more = " for two drivers" if drives > 1 else ""
        raise ConfigError(f"{option} must end in {' or '.join(fitting)}{more}, got {file}")


def write_episode(
    file: Path,
    title: str,
    drives: Sequence[Drive],
    on_frame: Callable[[int, int], None] = lambda _frame, _frames: None,
) -> None:
    """Write an episode as its file's ending says, whole or not at all; what was there is replaced.

    Args:
        file: With one of `ENDINGS`.
        title: In a line.
        drives: One, or two of the same case.
        on_frame: Told (frames drawn, frames in all) of an animated picture.

    Raises:
        ConfigError: The ending is none of these.
        EvaluationError: The file cannot be written.
    """
    require_ending("the file's name", file, len(drives))
    first = drives[0]
    match file.suffix.lower():
        case ".html":
            write_page(file, title, drives)
        case ".json":
            write_json(file, title, drives)
        case ".npz":
            try:
                first.recording.save(file)
            except OSError as error:
                raise EvaluationError(
                    f"cannot write {file}: {error.strerror or error}. Name another file with --out."
                ) from error
        case _:
            words = f"{first.driver}: {title}\n{first.story.partition('.')[0]}"
            write_animation(first.recording, file, words, on_frame)


def _said(value: float, unit: str) -> str:
    return "–" if math.isnan(value) else f"{value:.1f} {unit}"
