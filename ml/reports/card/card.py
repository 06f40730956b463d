"""The safety card: how safe, calm and close a policy is, and how sure we are, on one HTML page.

Everything is inside the page: it can be mailed, archived and printed.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml.atomic_files import write_atomically
from ml.errors import RoadSenseError
from ml.evaluation import selection
from ml.evaluation.compare import Comparison, compare
from ml.evaluation.recording import Recording
from ml.evaluation.rerun import WORST_FOLDER, recording_name, recordings
from ml.evaluation.result import EpisodeRow
from ml.evaluation.summary import summarise
from ml.reports.card import pictures, tables, words
from ml.reports.episode.files import drive_of, title_of
from ml.reports.episode.page import write_page
from ml.reports.episode.panels import draw_timeline
from ml.reports.episode.words import tell
from ml.reports.style import as_picture, house_style, render_page
from ml.training.checkpoints import load_model

CARD_FILE = "card.html"

_Block = dict[str, Any]
"""What a template shows of one thing, by the template's own names."""


def write_card(
    folder: Path,
    *,
    against: Comparison | None = None,
    worst: int = 0,
    workers: int = 2,
    on_part: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the card of a complete result, and return its file.

    Args:
        folder: The result's, which gets `card.html`.
        against: A comparison to show, too.
        worst: How many of the worst episodes to run again and draw.
        workers: Processes that run them.
        on_part: Told what is being made.

    Raises:
        EvaluationError: The result is missing, damaged, or empty.
    """
    view = selection.load_view(folder)
    on_part("summing up")
    rows = [row for cell in view.rows.values() for row in cell]
    summaries = {(s.suite, s.radio, s.controller): s for s in summarise(rows)}
    worst_rows = selection.worst_episodes(view, worst)
    on_part("running the worst episodes again")
    recorded = recordings(
        view,
        worst_rows,
        load_model=load_model,
        workers=workers,
        on_episode=lambda n, of: on_part(f"worst episodes: {n} of {of}"),
    )
    on_part("drawing")
    policies = [policy.name for policy in view.policies()]
    with house_style():
        page = render_page(
            "card.html",
            title=", ".join(policies) or "Classical controllers and bounds",
            subtitle=words.subtitle_of(view),
            brief=words.brief_of(view, summaries),
            notes=words.notes_of(view),
            duels=_duels(view, against),
            suites=_figures(view, summaries),
            frontiers=pictures.frontier_pictures(view, summaries),
            heat_maps=pictures.heat_map_pictures(view),
            reactions=pictures.reaction_pictures(view),
            worst=[_worst(view, *pair) for pair in zip(worst_rows, recorded, strict=True)],
            radio_table=tables.radio_table(view, summaries),
            provenance=words.provenance_of(view),
            controller_table=tables.controller_table(view),
        )
    file = folder / CARD_FILE
    write_atomically(file, page)
    return file


def _duels(view: selection.ResultView, against: Comparison | None) -> list[_Block]:
    duels: list[_Block] = []
    if against is not None:
        title = f"{against.candidate} against {against.baseline}, every suite and radio"
        duels.append({"title": title, "table": tables.duel_table(against)})
    suite = view.main_suite
    for number, policy in enumerate(view.policies()[: selection.MOST_SHOWN_POLICIES]):
        for radio in view.radios(suite):
            if (suite, radio, policy.name) not in view.rows:
                continue
            rival = selection.rival_of(view, suite, radio, policy)
            if rival is None:
                continue
            result = compare(
                view.rows[suite, radio, policy.name], view.rows[suite, radio, rival.name]
            )
            title = f"{policy.name} against {rival.name}: {suite} on {radio}"
            duels.append({"title": title, "table": tables.duel_table(result), "folded": number > 0})
    return duels


def _figures(
    view: selection.ResultView, summaries: tables.Summaries
) -> list[tuple[str, list[_Block]]]:
    """Set out each suite's figures, radio by radio."""
    suites = []
    for suite in view.suites:
        on_radios: list[_Block] = []
        for radio in view.radios(suite):
            here = view.controllers(suite, radio)
            shown = selection.representatives(view, suite, radio)
            by_name = {c.name: summaries[suite, radio, c.name] for c in here}
            more = [("What explains them", tables.figures_table(tables.DETAILS, shown, by_name))]
            if len(here) > len(shown):
                all_names = f"All {len(here)} controllers on this radio"
                more.append((all_names, tables.figures_table(tables.HEADLINE, here, by_name)))
            episodes = max(summary.episodes for summary in by_name.values())
            title = f"{radio} radio, {episodes:,} episodes each"
            table = tables.figures_table(tables.HEADLINE, shown, by_name)
            on_radios.append({"title": title, "table": table, "more": more})
        suites.append((suite, on_radios))
    return suites


def _worst(
    view: selection.ResultView, row: EpisodeRow, recorded: Recording | RoadSenseError
) -> _Block:
    command = shlex.join(
        ["roadsense", "replay", str(view.folder), "--episode", str(row.case), "--controller",
         row.controller, "--suite", row.suite, "--radio", row.radio, "--seed", str(row.seed)]
    )  # fmt: skip
    title = f"{row.controller}, {row.suite} on {row.radio}, episode {row.case}"
    told: _Block = {"title": title, "story": tell(row), "command": command}
    if not isinstance(recorded, Recording):
        return told | {"why_not": f"It cannot be shown: {recorded}"}
    page = view.folder / WORST_FOLDER / f"{recording_name(row)}.html"
    write_page(page, title_of(row), [drive_of(row, recorded)])
    return told | {
        "page": page.relative_to(view.folder).as_posix(),
        "picture": as_picture(draw_timeline(recorded), f"time line of episode {row.case}"),
    }
