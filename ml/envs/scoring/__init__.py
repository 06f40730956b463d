"""What a tick was worth, and what is said of an episode."""
