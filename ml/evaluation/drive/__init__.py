"""A recorded drive, judged: who would have braked, and when, had they sat at the ego's wheel."""
