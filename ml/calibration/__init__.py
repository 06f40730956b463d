"""From recordings to parameters."""
