"""The names of the suites, for whoever asks for one without building any."""

from __future__ import annotations

SUITE_NAMES = ("convoy", "r157", "ncap", "plexe", "eebl", "cut-in", "queue")
