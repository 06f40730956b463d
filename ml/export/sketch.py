"""The sketch of a whole node beside an exported brain: a folder that the Arduino IDE opens."""

import shutil
from pathlib import Path
from typing import Final

from ml.installation import repository_folder

_FIRMWARE: Final = repository_folder("firmware")
_BRAIN: Final = ("brain.c", "brain.h", "hil.c", "hil.h", "weights.h")
_CODE: Final = frozenset({".c", ".cpp", ".h", ".ino"})
NAME: Final = "convoy"
"""Of the folder, and so of the sketch: the Arduino IDE wants them alike."""


def write_sketch(folder: Path) -> None:
    """Copy the sketch, what it shares with the logger, and the brain into `folder`/convoy.

    The brain is copied, since the Arduino IDE compiles what lies in a sketch's own folder alone.

    Args:
        folder: An exported one, its weights written.

    Raises:
        OSError: A file cannot be read or written.
    """
    sketch = folder / NAME
    sketch.mkdir()
    shutil.copyfile(_FIRMWARE / NAME / "README.md", sketch / "README.md")
    for source in (_FIRMWARE / NAME, _FIRMWARE / "node"):
        for file in source.iterdir():
            if file.suffix in _CODE:
                shutil.copyfile(file, sketch / file.name)
    for name in _BRAIN:
        shutil.copyfile(folder / name, sketch / name)
