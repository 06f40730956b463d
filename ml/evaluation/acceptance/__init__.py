"""Measured against a table of targets: cases, figures with intervals, and the rules of verdicts."""
