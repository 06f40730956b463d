"""Names of files that SUMO takes as they are.

SUMO splits the name of a file at commas and replaces what looks like a variable or a home, and has
no way to write such a name. So it is given files in such folders through a symbolic link.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml.sumo.tiling import TiledNetwork

_CHANGED_BY_SUMO = re.compile(r",|\$\{|^~")


@contextlib.contextmanager
def plainly_named(tiles: TiledNetwork) -> Iterator[TiledNetwork]:
    """Give the same files names that SUMO takes as they are, while it loads them.

    Raises:
        SimulatorError: There is no folder with such a name for the link.
    """
    folder = tiles.net_file.parent
    if is_plain(folder):
        yield tiles
        return
    with contextlib.ExitStack() as cleanup:
        try:
            home = Path(cleanup.enter_context(tempfile.TemporaryDirectory(dir=_plain_folder())))
            link = home / "tiles"
            link.symlink_to(folder, target_is_directory=True)
        except OSError as error:
            raise SimulatorError(
                f"SUMO cannot read {folder}, whose name it would split or change, and a link to "
                f"it failed: {error}. Set ROADSENSE_CACHE_DIR to a folder of a plainer name.",
            ) from error
        yield replace(
            tiles,
            net_file=link / tiles.net_file.name,
            additional_file=link / tiles.additional_file.name,
        )


def require_plain(tiles: TiledNetwork) -> None:
    """Check that a SUMO elsewhere, for which no link can be made, takes the files' names.

    Raises:
        SimulatorError: It would not.
    """
    folder = tiles.net_file.parent
    if not is_plain(folder):
        raise SimulatorError(
            f"SUMO cannot read {folder}: it splits names at commas, and replaces ${{…}}. Set "
            "ROADSENSE_CACHE_DIR to a folder of a plainer name, here and where SUMO runs.",
        )


def is_plain(path: Path) -> bool:
    """Tell whether SUMO and its programs take a path as it is."""
    return _CHANGED_BY_SUMO.search(str(path)) is None


def _plain_folder() -> str:
    """Return a folder for temporary files; the system's own where the user's is not plain."""
    named = tempfile.gettempdir()
    return named if is_plain(Path(named)) else "/tmp"  # noqa: S108 # nosec B108 (mkdtemp's inside)
