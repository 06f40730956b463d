"""What holds for all tests."""

from hypothesis import settings

# A deadline is a timed assertion, and the first call of a loop may compile it.
settings.register_profile("roadsense", deadline=None)
settings.load_profile("roadsense")
