"""`roadsense train`: the trainer, which shows an episode as pictures in TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.training import train_convoy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml.evaluation.recording import Recording


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    return train_convoy.main(arguments, draw=draw_episode)


def draw_episode(recording: Recording, title: str) -> bytes:
    """Draw an episode, as a PNG; called in the process that evaluates."""
    from ml.reports.episode.still import still_png  # noqa: PLC0415 (matplotlib is slow)

    return still_png(recording, title)
