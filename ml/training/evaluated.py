"""What a periodic evaluation answers with; apart from the evaluation, which is slow to import."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from ml.evaluation.recording import Recording
    from ml.evaluation.result import EpisodeRow


class Drawn(NamedTuple):
    """An episode to look at.

    Attributes:
        picture: A PNG.
        page: A page that needs nothing else, HTML; empty where there is none.
    """

    picture: bytes
    page: str = ""


Draw: TypeAlias = Callable[["Recording", str, "EpisodeRow"], Drawn]
"""Draws an episode under a title, with its line in a result. Given by whoever starts a run, since
drawing is a room above training; importable by a fresh process."""


class Evaluated(NamedTuple):
    """The answer.

    Attributes:
        figures: By name; `mean_return` and `safety_score` among them.
        by_case: Safety score of each case, points; not a number where it was invalid.
        picture: An episode as the model drives it, a PNG; empty where there is none.
        page: The same episode as a page, HTML; empty where there is none.
        complaint: Why there is no picture that was asked for; empty otherwise.
    """

    figures: dict[str, float]
    by_case: tuple[float, ...]
    picture: bytes = b""
    page: str = ""
    complaint: str = ""
