"""Fixtures of the fast tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# A spawned evaluation child imports the small environment by name: it inherits this path.
sys.path.insert(0, str(Path(__file__).parent))
# The oracle of the radio serves tests in several folders.
sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_convoys import TinyConvoys


@pytest.fixture
def tiny_convoys() -> type[TinyConvoys]:
    """The class of the small environment (see tiny_convoys.py)."""
    return TinyConvoys
