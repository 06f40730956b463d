"""Signals: the first asks, and interrupts only where nothing has to be saved."""

from __future__ import annotations

import os
import signal

import pytest

from ml.training.stop_signals import StopRequested, StopSignals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_outside_the_loop_a_signal_interrupts(number: signal.Signals, code: int):
    """Where nothing is held the request is raised on the spot; the exit code is the shells'."""
    with StopSignals() as stop:
        assert stop.exit_code == 0
        with pytest.raises(StopRequested):
            os.kill(os.getpid(), number)
        assert stop.exit_code == code


def test_a_held_signal_waits_and_is_announced():
    """Within the loop the signal is only noted; it is raised when it is no longer held."""
    with StopSignals() as stop:
        told: list[signal.Signals] = []
        stop.on_first = told.append
        stop.hold(held=True)
        os.kill(os.getpid(), signal.SIGTERM)
        assert told == [stop.received] == [signal.SIGTERM]
        with pytest.raises(StopRequested):
            stop.hold(held=False)


def test_no_handler_catches_it_by_accident():
    """The request is not an `Exception`."""
    assert not issubclass(StopRequested, Exception)
