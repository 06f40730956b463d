"""Logs of boards, read."""
