"""Alembic migrations of muster's tables; Optuna's have their own."""
