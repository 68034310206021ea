"""Floor 2: the best trials vote."""
