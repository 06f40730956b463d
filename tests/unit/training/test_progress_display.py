"""What a run says of how far it is, where no terminal redraws a bar."""

import io

from rich.console import Console

from ml.training import callbacks
from ml.training.callbacks import ProgressDisplay


def test_lines_say_how_long_it_still_takes(monkeypatch):
    """A quarter in two minutes: six are left; the last line has nothing left to say."""
    now_s = iter((0.0, 120.0, 120.0, 120.0, 480.0, 480.0, 480.0))
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: next(now_s))
    told = io.StringIO()
    display = ProgressDisplay(Console(file=told), 4000)
    display.start(0)
    display.update(1000, "return 3.0")
    display.update(4000, "return 9.0")
    display.close()
    assert told.getvalue().splitlines() == [
        "step 0 / 4,000: training starts",
        "step 1,000 / 4,000: return 3.0, about 6 min left",
        "step 4,000 / 4,000: return 9.0",
    ]
