"""Runs as they go: a small server of the newest figures and episodes, which only reads."""
