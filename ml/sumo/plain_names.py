"""Names of files that SUMO takes as they are.

SUMO splits the name of a file at commas and replaces what looks like a variable or a home, and has
no way to write such a name. So it is given files in such folders through a symbolic link.
"""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ml.errors import SimulatorError

_CHANGED_BY_SUMO = re.compile(r",|\$\{|^~")


@contextlib.contextmanager
def plainly_named(folder: Path) -> Iterator[Path]:
    """Give a folder a name that SUMO takes as it is, while it loads what lies there.

    Raises:
        SimulatorError: There is no folder with such a name for the link.
    """
    if is_plain(folder):
        yield folder
        return
    with contextlib.ExitStack() as cleanup:
        try:
            home = Path(cleanup.enter_context(tempfile.TemporaryDirectory(dir=_plain_folder())))
            link = home / "tiles"
            link.symlink_to(folder, target_is_directory=True)
        except OSError as error:
            raise SimulatorError(
                f"SUMO cannot read {folder}, whose name it would split or change, and a link to "
                f"it failed: {error}. Set ROADSENSE_CACHE_DIR to a folder of a plainer name."
            ) from error
        yield link


def require_plain(folder: Path) -> None:
    """Check that a SUMO elsewhere, for which no link can be made, takes a folder's name.

    Raises:
        SimulatorError: It would not.
    """
    if not is_plain(folder):
        raise SimulatorError(
            f"SUMO cannot read {folder}: it splits names at commas, and replaces ${{…}}. Set "
            "ROADSENSE_CACHE_DIR to a folder of a plainer name, here and where SUMO runs."
        )


def is_plain(path: Path) -> bool:
    """Tell whether SUMO and its programs take a path as it is."""
    return _CHANGED_BY_SUMO.search(str(path)) is None


def _plain_folder() -> str:
    """Return a folder for temporary files; the system's own where the user's is not plain."""
    named = tempfile.gettempdir()
    return named if is_plain(Path(named)) else "/tmp"  # noqa: S108 # nosec B108 (mkdtemp's inside)
