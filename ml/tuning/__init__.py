"""Searching for the parameters of a recipe or of a classical controller, by one objective."""
