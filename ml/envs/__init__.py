"""The convoy environment, as a batch and as a single Gymnasium environment."""
