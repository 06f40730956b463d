"""Training: configuration, run directory, callbacks, checkpoints."""
