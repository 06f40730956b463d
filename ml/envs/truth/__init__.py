"""What really happens, which no board knows."""
