"""`roadsense train` that saves and ends when its standard input ends.

`python -m ml.tuning.training_child OPTIONS…`: the search holds the other end of that pipe. Closing
it asks the training to save and stop, and a search that is killed outright closes it, too, so that
no training goes on by itself and writes where the next search goes on.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from ml.training.train_convoy import main


def _stop_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    sys.exit(main(sys.argv[1:]))
