"""Parameters fitted to logs."""
