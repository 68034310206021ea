"""Floor 3: the command line; the only place that prints and configures logging."""
