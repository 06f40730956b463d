"""What a node believes of itself: GPS, speed, heading and acceleration, with their errors."""
