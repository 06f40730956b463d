"""What holds for all tests."""

import signal

import pytest
from hypothesis import settings

# A deadline is a timed assertion, and the first call of a loop may compile it.
settings.register_profile("roadsense", deadline=None)
settings.load_profile("roadsense")

# A shell without job control starts what goes on behind it (`make test &`) deaf to Ctrl-C, and so
# would be every command that a test starts in order to stop it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put files with slow tests first, so that no core is left with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
