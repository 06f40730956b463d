"""What a run says of how far it is, where no terminal redraws a bar."""

import io
from types import SimpleNamespace

from rich.console import Console

from ml.training import callbacks
from ml.training.callbacks import ProgressDisplay


def test_lines_say_how_long_it_still_takes(monkeypatch):
    """1,000 steps in two minutes after the first rollout, which is slow: six are left."""
    clock = SimpleNamespace(monotonic=lambda: at_s)
    monkeypatch.setattr(callbacks, "time", clock)
    told = io.StringIO()
    display = ProgressDisplay(Console(file=told), 5000)
    display.start(0)
    for step, later_s in ((1000, 500.0), (2000, 620.0), (5000, 980.0)):
        at_s = later_s
        display.update(step, "return 3.0")
    display.close()
    assert told.getvalue().splitlines() == [
        "step 0 / 5,000: training starts",
        "step 1,000 / 5,000: return 3.0",
        "step 2,000 / 5,000: return 3.0, about 6 min left",
        "step 5,000 / 5,000: return 3.0",
    ]
