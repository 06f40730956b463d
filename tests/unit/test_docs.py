"""The pages name what is there: links lead somewhere, paths exist, decisions are listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "services").rglob("*.md"),
        *(ROOT / "sumo-configs").rglob("*.md"),
        *(ROOT / "firmware").rglob("*.md"),
        *(ROOT / "ml").rglob("*.md"),
    )
    if not page.is_relative_to(ROOT / "docs" / "generated")
]
ADRS = sorted((ROOT / "docs" / "adr").glob("0*.md"))
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
FILE = re.compile(
    r"(?<![\w/.-])(?:ml|tests|services|sumo-configs|scripts|firmware|docs)/[\w/.-]*\w"
)
ELSEWHERE = ("ml/models/saved", "ml/tests")  # made by a training run; the specification's


def name(page):
    """Return a page's path in the repository."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page):
    """Every relative link of a page is a file or a folder of the repository."""
    targets = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    targets = [link for link in targets if not link.startswith("../../actions/")]  # of the host
    missing = [link for link in targets if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_paths_of_code_exist(page):
    """What a page calls `ml/…/x.py` or `ml/…/folder` is there."""
    named = {path for path in FILE.findall(page.read_text()) if not path.startswith(ELSEWHERE)}
    missing = [
        path
        for path in sorted(named)
        if not ((ROOT / path).exists() or (ROOT / f"{path}.py").exists())
    ]
    assert not missing


@pytest.mark.parametrize("decision", ADRS, ids=name)
def test_a_decision_has_its_four_parts(decision):
    """Title with number, status with date, context, decision, consequence: half a page."""
    text = decision.read_text()
    assert text.startswith(f"# {int(decision.name[:4])}. ")
    assert re.search(r"\*\*Status\.\*\* (Accepted|Superseded)", text)
    assert re.search(r"\sDecided\s\d{4}-\d{2}-\d{2}\.\n", text)
    parts = ("**Status.**", "**Context.**", "**Decision.**", "**Consequence.**")
    places = [text.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    assert len(text.split()) <= 300


def test_every_decision_is_listed():
    """`docs/adr/README.md` has a row for each: title, status and date; and no other row."""
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    rows = re.findall(r"^\| \[(\d+)\]\((\S+)\) \| (.+) \| (.+) \| (\S+) \|$", index, re.MULTILINE)
    assert [name for _, name, *_ in rows] == [decision.name for decision in ADRS]
    for decision, (number, _, title, status, date) in zip(ADRS, rows, strict=True):
        text = decision.read_text()
        assert text.startswith(f"# {number}. {title}\n")
        assert f"Decided {date}." in " ".join(text.split())
        assert status == "accepted" or re.fullmatch(r"superseded (in part )?by \d+", status)
