"""The leaderboard: recipes by what they pass of the acceptance tests, from their submissions."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

from ml.console import markdown_table
from ml.envs.scoring.targets import Radio
from ml.errors import SubmissionError
from ml.evaluation.acceptance.submission import Submission, read_submission
from ml.evaluation.acceptance.table import said
from ml.evaluation.acceptance.verdicts import FAILED, INCONCLUSIVE, PASSED
from ml.evaluation.seeds import TEST_SEED
from ml.onboard.observation.spec import OBSERVATION_VERSION
from ml.reports.acceptance.tables import as_markdown

_COLUMNS = {
    "crash_rate": ("crashes in avoidable hazards", "%"),
    "headway_s": ("time headway, s", "s"),
    "false_brakes_per_km": ("false brakes / km", "per km"),
    "jerk_p95_mps3": ("jerk p95, m/s³", "m/s³"),
}
"""Title and unit of what is shown by radio."""
_FILE = re.compile("[a-z0-9-]+")
_OWN = "convoy"
"""The shipped recipe, whose tests all others have to have."""


def read_leaderboard(folder: Path) -> dict[str, Submission]:
    """Read all submissions of a folder, by the names of their files, the best first.

    The order is by tests passed, then by fewer failed, then by limits reached, then by name.

    Raises:
        SubmissionError: One cannot be read, has not all of the test seed's tests, is of another
            observation, or its file's name is no page's.
    """
    found = {file.stem: read_submission(file) for file in sorted(folder.glob("*.json"))}
    first = found.get(_OWN) or next(iter(found.values()), None)
    for name, submission in found.items():
        asked = submission.asked
        if asked.quick or asked.only or asked.seed != TEST_SEED:
            raise SubmissionError(
                f"{folder / name}.json: made with {submission.command}. The leaderboard takes the "
                f"whole acceptance tests on the test seed, {TEST_SEED}: leave out --quick, --only "
                "and --seed."
            )
        if not _FILE.fullmatch(name) or name == "ranking":
            raise SubmissionError(
                f"{folder / name}.json: a file is called by small letters, digits and hyphens, and "
                "not `ranking`. Rename it."
            )
        version = submission.software.observation_version
        if version != OBSERVATION_VERSION:
            raise SubmissionError(
                f"{folder / name}.json: of version {version} of the observation; models of version "
                f"{OBSERVATION_VERSION} can be run. Measure it anew."
            )
        apart = _tests(submission) ^ _tests(first) if first else set()
        if apart:
            where, measured, level, _ = min(apart, key=str)
            raise SubmissionError(
                f"{folder / name}.json: its tests are not those of {first.name if first else ''}, "
                f"by {len(apart)}; one is {measured} ({level}) on {where}. Run `roadsense targets` "
                "of this version, with a baseline at least."
            )

    def standing(name: str) -> tuple[int, int, int, str]:
        summary = found[name].summary
        return -summary.must[PASSED], summary.must[FAILED], -summary.reached, name

    return {name: found[name] for name in sorted(found, key=standing)}


def _tests(submission: Submission) -> set[tuple[str, str, str, float | None]]:
    return {(row.where, row.measured, row.level, row.bound) for row in submission.rows}


def ranking(submissions: Mapping[str, Submission], pages: str) -> str:
    """Return the tables of the leaderboard; the whole tables are `pages`/NAME.md."""
    text = markdown_table(
        ("", "recipe", "must: passed", "inconclusive", "failed", "limits reached", "models", "by"),
        (
            (
                *(str(place), f"[{of.name}]({pages}/{name}.md)"),
                f"{of.summary.must[PASSED]} of {sum(of.summary.must.values())}",
                *(str(of.summary.must[verdict]) for verdict in (INCONCLUSIVE, FAILED)),
                *(f"{of.summary.reached} of {of.summary.limits}", str(len(of.models)), of.by),
            )
            for place, (name, of) in enumerate(submissions.items(), 1)
        ),
    )
    for radio in get_args(Radio):
        where = f"convoy {radio}"
        columns = ("recipe", "driver", *(title for title, _ in _COLUMNS.values()))
        lines = [line for of in submissions.values() for line in _drivers(of, where)]
        text += f"\n**{radio.capitalize()}**\n\n{markdown_table(columns, lines)}"
        limits = [line for of in submissions.values() for line in _limits(of, where)]
        if limits:
            columns = ("recipe", "limit", "of", "how far each model is from it")
            text += f"\n{markdown_table(columns, limits)}"
    return text


def page_of(submission: Submission) -> str:
    """Return the page of a submission: who and with what, then the whole acceptance tests."""
    software = submission.software
    models = ", ".join(
        f"{model.name} ({model.sha256 or 'not written down'})" for model in submission.models
    )
    commit = f", commit {software.git_commit}" if software.git_commit else ""
    facts = (
        f"Sent by {submission.by or 'nobody named'}. RoadSense {software.version}{commit}, version "
        f"{software.observation_version} of the observation. SHA-256 of the models: {models}."
    )
    _, _, tables = as_markdown(submission).partition("\n\n")
    return f"# Acceptance tests of {submission.name}\n\n{facts}\n\n{tables}"


def _drivers(submission: Submission, where: str) -> Iterator[list[str]]:
    for result in submission.results:
        if result.where == where:
            figures = (
                said(result.figures[name].figure, unit) for name, (_, unit) in _COLUMNS.items()
            )
            yield [submission.name, result.driver, *figures]


def _limits(submission: Submission, where: str) -> Iterator[list[str]]:
    for row in submission.rows:
        if (row.where, row.level) == (where, "limit"):
            far = (row.found[model.name].said.partition("; ")[2] for model in submission.models)
            yield [submission.name, row.target, row.measured, "; ".join(far)]
