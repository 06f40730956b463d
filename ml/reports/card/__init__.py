"""The safety card."""
