"""What people look at: the safety card, its pictures, and animated replays of single episodes."""
