"""What carries a batch: a live SUMO with its radio, or recorded traffic."""
