"""Parameters drawn."""
