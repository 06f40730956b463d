"""One episode drawn."""
