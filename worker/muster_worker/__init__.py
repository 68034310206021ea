"""Floor 2: a worker claims trials, runs them and tells their results."""
