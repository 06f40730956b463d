"""What plain algorithms of Stable-Baselines3 make of a preset's environment: training, judging."""
