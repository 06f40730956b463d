"""What the pages tell a reader to type works: code blocks run, command lines parse."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from ml.cli import main

ROOT = Path(__file__).parents[2]
FOLDERS = ("", "docs", "docs/leaderboard", "firmware", "ml", "sumo-configs", "services", "deploy")
PAGES = [
    page
    for folder in FOLDERS
    for page in sorted((ROOT / folder).glob("*.md" if folder in {"", "docs"} else "**/*.md"))
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [
    (page.relative_to(ROOT).as_posix(), language, text)
    for page in PAGES
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8"))
]
SCRIPTS = [  # those of docs/watch.md read files: tests/unit/reports/test_episode_page.py
    (page, text)
    for page, language, text in BLOCKS
    if language == "python" and page != "docs/watch.md"
]
LINES = [
    (page, line)
    for page, language, text in BLOCKS
    if language in {"sh", "console", "bash"}
    for line in text.replace("\\\n", " ").splitlines()
    if re.match(r"(\$ )?([A-Z_]+=\S+ )*(\.venv/bin/)?roadsense ", line) and "--help" not in line
]


@pytest.mark.sumo
@pytest.mark.slow
@pytest.mark.parametrize(("page", "block"), SCRIPTS)
def test_every_block_is_a_script(tmp_path: Path, page: str, block: str):
    """It ends well, as a file of its own in an empty folder, with warnings as errors of ours."""
    script = tmp_path / "script.py"
    script.write_text(block.replace('"ml/models/', f'"{ROOT}/ml/models/'), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{page}: {run.stderr}"


class ParsedError(Exception):
    """The options were read; what they ask for is not done."""


def only_parsing(parse):
    """Return a parser that parses, and ends there."""

    def parse_and_end(*arguments, **how):
        parse(*arguments, **how)
        raise ParsedError

    return parse_and_end


@pytest.mark.parametrize(("page", "line"), LINES)
def test_every_command_line_parses(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A `roadsense` line of a page names a command, and options that it has."""
    monkeypatch.chdir(tmp_path)
    for configuration in re.findall(r"--config (\S+)", line):  # is read before the rest
        (tmp_path / configuration).parent.mkdir(parents=True)
        (tmp_path / configuration).write_text("ppo:\n  n_epochs: 4\n", encoding="utf-8")
    for module, name in ((tyro, "cli"), (tyro.extras, "subcommand_cli_from_dict")):
        monkeypatch.setattr(module, name, only_parsing(getattr(module, name)))
    words = shlex.split(line.replace("…", ""), comments=True)
    command = words[[word.endswith("roadsense") for word in words].index(True) + 1 :]
    with pytest.raises(ParsedError):
        main(command)
    assert page


def test_the_pages_have_their_blocks():
    """So that no change of the markup leaves the tests above with nothing."""
    assert len(SCRIPTS) >= 7
    assert len(LINES) >= 25
