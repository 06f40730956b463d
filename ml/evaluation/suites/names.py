"""The names of the suites, for whoever asks for one without building any."""

SUITE_NAMES = ("convoy", "r157", "ncap", "plexe", "eebl", "cut-in", "queue")
