"""A real browser without a window, for tests of pages."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_DEADLINE_S = 120


def browser() -> str:
    """Return the path of a Chromium; skip the test where there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"no browser is there ({', '.join(_NAMES)}): apt-get install chromium")
    return found


def dom_of(page: Path, fragment: str = "") -> str:
    """Open a page, let it run, and return its document as HTML.

    Args:
        page: The file.
        fragment: What stands behind the # of its address.
    """
    return _run(page, fragment, "--dump-dom").stdout


def screenshot(page: Path, fragment: str, file: Path, *, width: int, height: int) -> None:
    """Open a page, and write what it looks like; a width of 500 at the least."""
    _run(page, fragment, f"--screenshot={file}", f"--window-size={width},{height}")


def sheets_of(page: Path, fragment: str, file: Path) -> int:
    """Print a page to a PDF, and return how many sheets it takes."""
    _run(page, fragment, f"--print-to-pdf={file}")
    return len(re.findall(rb"/Type /Page\b", file.read_bytes()))


def _run(page: Path, fragment: str, *options: str) -> subprocess.CompletedProcess[str]:
    address = page.absolute().as_uri() + (f"#{fragment}" if fragment else "")
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=2000"]
    return subprocess.run(
        [*command, *options, address],
        check=True,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
    )


def dom_at(address: str, profile: Path) -> str:
    """Open an address, let its page run, and return its document as HTML."""
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=5000", address]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_DEADLINE_S)
    return done.stdout
