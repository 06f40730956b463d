"""The preset that a run starts from, and the numbers of `spec` that the specification names."""

DEFAULT_PRESET = "convoy"

TOTAL_TIMESTEPS = 100_000
"""Steps of a run, all environments together."""
ENTROPY_COEF = 0.01
"""Weight of PPO's entropy bonus."""
LEARNING_RATE = 3e-4
"""Adam's step size."""
N_STEPS = 2048
"""Rollout length over all environments together."""
