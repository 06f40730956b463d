"""Drives that are made up, with known truth."""
