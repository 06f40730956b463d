"""`roadsense train` that saves and ends when the process that started it is gone.

`python -m ml.tuning.training_child PARENT OPTIONS…`: a search that is killed outright leaves no
training behind that would go on by itself, and write where the next search goes on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from ml.training.train_convoy import main

_PR_SET_PDEATHSIG = 1
"""Linux, prctl(2); elsewhere a training outlives its search."""


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before that took effect
        sys.exit(1)


if __name__ == "__main__":
    _die_with(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
