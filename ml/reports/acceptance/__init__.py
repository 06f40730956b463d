"""The acceptance tests drawn."""
