"""Pages of an episode that a run keeps beside its figures: `evaluation/episode_000125000.html`."""

import re
from pathlib import Path

from ml.atomic_files import write_atomically

KEPT_PAGES = 20
"""Of 100 kB or two each; TensorBoard keeps a picture of every one."""
_NAME = re.compile(r"episode_(\d{9,})\.html")


def write_page(folder: Path, step: int, page: str) -> None:
    """Write the page of a step, and remove the oldest beyond `KEPT_PAGES`.

    Raises:
        OSError: The disk is full, or the folder is gone.
    """
    write_atomically(folder / f"episode_{step:09d}.html", page)
    for _, file in pages_in(folder)[:-KEPT_PAGES]:
        file.unlink(missing_ok=True)


def drop_pages(folder: Path, step: int) -> None:
    """Remove the pages beyond a step: of a part of the run that is done again."""
    for at, file in pages_in(folder):
        if at > step:
            file.unlink(missing_ok=True)


def pages_in(folder: Path) -> list[tuple[int, Path]]:
    """Return steps and files, the oldest first; links are none."""
    if not folder.is_dir():
        return []
    found = [(_NAME.fullmatch(file.name), file) for file in folder.iterdir()]
    pages = [(int(name[1]), file) for name, file in found if name and not file.is_symlink()]
    return sorted(pages)
