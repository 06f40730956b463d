"""The soak tests use what the other tests on real SUMO use."""

from __future__ import annotations
