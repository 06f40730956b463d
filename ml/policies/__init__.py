"""Policies over a set of peers."""
