"""What a fitted radio does on a drive or in a convoy."""
