"""What coordination costs a worker: muster and plain Optuna side by side on one server."""
