"""What the workers of the tests do; a process of its own imports this."""

import os
import signal

from ml.errors import ConfigError


def work(job):
    """Square a number, or fail in the way that is asked for."""
    if job == "mistake":
        raise ConfigError("the user's mistake")
    if job == "bug":
        return 1 / 0
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return int(job) ** 2, os.getpid()


def blocked(_):
    """Whether Ctrl-C is kept from this process."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
