"""SIGTERM and Ctrl-C: the first asks to save and stop, the second ends the process at once.

Handlers are installed explicitly, because the kernel ignores signals without a handler for
process 1, which is what a trainer is in its container.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SIGNAL_EXIT_BASE = 128


class StopRequested(BaseException):
    """Raised where nothing has to be saved; not an `Exception`, so that nobody handles it away."""


class StopSignals:
    """Handles SIGINT and SIGTERM while it is entered.

    Within `hold()` the first signal only sets `received`, and the training loop saves and ends;
    elsewhere it raises `StopRequested`. A second signal ends the process with the exit code.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.on_first: Callable[[signal.Signals], None] | None = None
        self._held = False
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it: 130 for SIGINT, 143 for SIGTERM."""
        return _SIGNAL_EXIT_BASE + self.received if self.received else 0

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def hold(self, *, held: bool) -> None:
        """Say whether a signal waits for the training loop (True) or interrupts (False).

        Raises:
            StopRequested: A signal came while it was held, and it no longer is.
        """
        self._held = held
        if not held and self.received:
            raise StopRequested

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(_SIGNAL_EXIT_BASE + number)
        self.received = signal.Signals(number)
        if not self._held:
            raise StopRequested
        if self.on_first is not None:
            self.on_first(self.received)
