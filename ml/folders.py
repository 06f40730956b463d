"""The user's own folders: `~`, and where RoadSense keeps what it can make again.

A process may have no home: a container's user without an entry in the system's list of users has
none, and some have one that they cannot write. The cache lies in the temporary folder then.
"""

import os
import stat
import tempfile
from functools import lru_cache
from pathlib import Path

CACHE_DIR_VARIABLE = "ROADSENSE_CACHE_DIR"


def expand_home(path: Path) -> Path:
    """Replace a leading `~`; a path whose home is not known stays as it is."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def home() -> Path | None:
    """Return the home folder, or None where this user has none that can be written."""
    try:
        folder = Path.home()
    except RuntimeError:
        return None
    writable = folder.is_absolute() and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return folder if writable else None


def default_cache_dir() -> Path:
    """Return where networks and compiled loops are kept.

    ROADSENSE_CACHE_DIR, or ``~/.cache/roadsense``, or a folder of this user's in the temporary one
    where there is no home: the same in each process until the system clears that up.
    """
    named = os.environ.get(CACHE_DIR_VARIABLE)
    if named:
        return expand_home(Path(named))
    folder = home()
    return _temporary_folder() if folder is None else folder / ".cache" / "roadsense"


@lru_cache(maxsize=1)
def _temporary_folder() -> Path:
    """Make it, closed to others; what lies there under its name must be ours."""
    folder = Path(tempfile.gettempdir()) / f"roadsense-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        ours = found.st_uid == os.getuid() and not found.st_mode & 0o022
        if stat.S_ISDIR(found.st_mode) and ours:
            return folder
    except OSError:
        pass  # a file of that name, say
    return Path(tempfile.mkdtemp(prefix="roadsense-"))
