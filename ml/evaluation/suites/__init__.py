"""Suites: what controllers are put through. Each says in its docstring where it comes from."""
