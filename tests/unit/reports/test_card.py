"""The safety card, made from planted results."""

import html
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from support.planted_recording import planted_recording
from support.planted_result import CONTROLLERS, write_planted_result

from ml.errors import EvaluationError
from ml.evaluation.compare import compare
from ml.evaluation.rerun import WORST_FOLDER, recording_name
from ml.evaluation.result import Manifest, read_part, write_part
from ml.evaluation.selection import load_view, worst_episodes
from ml.evaluation.summary import summarise
from ml.reports.card import card
from ml.reports.card.card import write_card

RADIOS = ("clean", "shadowed")
FEW = CONTROLLERS[:4]
REFERENCE = re.compile(
    r"""(?:src|href|srcset|poster|data|action)\s*=\s*["']([^"']*)""", re.IGNORECASE
)


def read(folder, **options):
    """Write a card without its worst episodes, which need SUMO, and return its text."""
    return write_card(folder, **options).read_text(encoding="utf-8")


def words(text):
    """Return what a reader sees: no tags, entities resolved, blanks as one."""
    body = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a planted result of two suites."""
    folder = tmp_path_factory.mktemp("result")
    write_planted_result(folder, suites=("convoy", "ncap"), radios=RADIOS)
    return folder


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory):
    """Return a planted result of few controllers in one suite, whose card is drawn sooner."""
    folder = tmp_path_factory.mktemp("small")
    write_planted_result(folder, suites=("ncap",), episodes=25, radios=("clean",), controllers=FEW)
    return folder


@pytest.fixture(scope="module")
def text(folder):
    """Return its card."""
    return read(folder)


def test_the_card_needs_nothing_but_itself(text):
    """No script, no style sheet, no font and no picture is fetched from anywhere."""
    targets = REFERENCE.findall(text)
    assert sum(target.startswith("data:image/svg+xml;base64,") for target in targets) > 10
    assert all(target.startswith(("data:image/", "#")) for target in targets)
    assert not re.search(r"<script|<link|<iframe|@import|@font-face|url\(", text, re.IGNORECASE)
    assert "://" not in re.sub(r'"data:[^"]*"', "", text)


def test_every_controller_stands_there_with_its_figures_and_intervals(folder, text):
    """For each suite and radio: hits of trials, share and interval, and the mean headway."""
    seen = words(text)
    rows = [row for part in Manifest.read(folder).parts for row in read_part(folder / part.file)]
    for summary in summarise(rows):
        crash, headway = summary.figures["crash_rate"], summary.figures["headway_s"]
        line = (
            f"{summary.controller} {crash.hits:,} / {crash.count:,} {100 * crash.value:.1f} % "
            f"[{100 * crash.low:.1f}–{100 * crash.high:.1f}]"
        )
        assert line in seen
        assert f"{headway.value:.2f} {headway.low:.2f}–{headway.high:.2f}" in seen
    for name, *_ in CONTROLLERS:
        assert seen.count(name) > len(RADIOS)


def test_provenance_is_complete(text):
    """Who repeats the result finds command, seeds, versions, parameters and commit."""
    seen = words(text)
    for part in (
        "roadsense evaluate policy-a.zip <b>",
        "0123456789abcdef0123456789abcdef01234567",
        "1000003",
        "eclipse-sumo 1.28.0",
        "clean aaaaaaaaaaaa",
        "convoy (cases 60, episode_s 50.0)",
        "reference ego's trajectory",
        "555555555555",
    ):
        assert part in seen


def test_names_are_text_and_not_markup(text):
    """A command with angle brackets does not become a tag."""
    assert "policy-a.zip &lt;b&gt;" in text
    assert "<b>" not in text


def test_the_same_result_makes_the_same_card(folder, text):
    """Byte for byte: cards can be compared and archived."""
    assert read(folder) == text


def test_each_policy_is_held_against_a_law(text):
    """On every radio, with verdicts."""
    seen = words(text)
    for policy in ("policy-a", "policy-b"):
        for radio in RADIOS:
            assert re.search(rf"{policy} against [\w. ]+ s: convoy on {radio}", seen)
    assert "no difference shown" in seen


def test_several_models_are_shown_with_their_spread(text):
    """Smallest, middle and largest, on each radio."""
    for radio in RADIOS:
        assert f"2 models on {radio}, smallest – median – largest: crashes" in words(text)


def test_a_comparison_with_another_result_is_shown(small_folder):
    """What `--against` found stands on the card, too."""
    view = load_view(small_folder)
    rows = view.rows["ncap", "clean", "policy-a"]
    crashing = [replace(row, crash=True, crash_class="informed") for row in rows]
    comparison = compare(crashing, rows, names=("new", "policy of older"))
    seen = words(read(small_folder, against=comparison))
    assert "new against policy of older" in seen
    assert "worse" in seen


@pytest.mark.parametrize(
    "controllers",
    [
        [c for c in CONTROLLERS if c[1] != "policy"],
        [c for c in CONTROLLERS if c[1] == "policy"],
        [c for c in CONTROLLERS if c[1] == "do-nothing"],
        CONTROLLERS[2:3],
    ],
    ids=["no policy", "only policies", "only a bound", "one law"],
)
def test_whoever_is_missing_the_card_is_written(tmp_path, controllers):
    """Baselines alone, policies alone, one controller alone."""
    write_planted_result(tmp_path, controllers=tuple(controllers), episodes=25, radios=("clean",))
    seen = words(read(tmp_path))
    assert all(name in seen for name, *_ in controllers)
    assert ("No trained policy" in seen) == (not any(c[1] == "policy" for c in controllers))


def test_missing_suites_radios_and_episodes_leave_gaps_and_not_errors(tmp_path):
    """A law that ran on one radio only, a part without episodes, and one with invalid ones."""
    manifest = write_planted_result(tmp_path, episodes=25, suites=("r157", "ncap"), radios=RADIOS)
    emptied, invalid, *_ = (c for c in manifest.parts if c.controller == "policy-a")
    write_part(tmp_path / emptied.file, [])
    rows = read_part(tmp_path / invalid.file)
    write_part(tmp_path / invalid.file, [replace(row, invalid=True) for row in rows])
    kept = [c for c in manifest.parts if c.controller != "IDM 2 s" or c.radio == "clean"]
    manifest.model_copy(update={"parts": tuple(kept)}).write(tmp_path)
    seen = words(read(tmp_path))
    assert "25 episodes were invalid" in seen
    assert "1 parts hold no episode: policy-a" in seen
    assert seen.count("IDM 2 s") < seen.count("IDM 1.5 s")


def test_figures_that_nobody_has_are_left_out(tmp_path):
    """In a suite of hazards alone there are no false brakes to count, and no column of dashes."""
    manifest = write_planted_result(tmp_path, episodes=25, radios=("clean",), controllers=FEW)
    for part in manifest.parts:
        rows = read_part(tmp_path / part.file)
        write_part(tmp_path / part.file, [replace(row, kind="hazard") for row in rows])
    assert "/km, no hazard" not in words(read(tmp_path)).partition("Gap, safety, comfort A")[0]


def test_a_result_without_any_episode_is_refused(tmp_path):
    """With what to do next."""
    manifest = write_planted_result(tmp_path, episodes=0, radios=("clean",))
    assert manifest.parts
    with pytest.raises(EvaluationError, match="same --out"):
        read(tmp_path)


def test_worst_episodes_are_told_with_a_time_line_and_a_command(tmp_path):
    """From recordings that are there already, without SUMO."""
    write_planted_result(tmp_path, episodes=25, radios=("clean",), controllers=FEW)
    view = load_view(tmp_path)
    (tmp_path / WORST_FOLDER).mkdir()
    worst = worst_episodes(view, 3)
    for row in worst:
        planted_recording().save(tmp_path / WORST_FOLDER / f"{recording_name(row)}.npz")
    text = read(tmp_path, worst=3)
    assert len(re.findall(r'alt="time line of episode \d+"', text)) == 3
    row = worst[0]
    command = f"roadsense replay {tmp_path} --episode {row.case} --controller {row.controller}"
    assert command in words(text)


def test_an_episode_that_cannot_be_run_again_says_why(small_folder, monkeypatch):
    """The card is written all the same."""
    failure = EvaluationError("the model has gone")
    monkeypatch.setattr(card, "recordings", lambda _, rows, **__: [failure for _ in rows])
    assert "It cannot be shown: the model has gone" in words(read(small_folder, worst=1))


def test_the_template_is_part_of_the_package():
    """What is installed elsewhere finds its page, too."""
    root = Path(__file__).parents[3]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["ml.reports"]
    packaged = {file.name for pattern in patterns for file in (root / "ml/reports").glob(pattern)}
    assert {"card.html", "card.css"} <= packaged
