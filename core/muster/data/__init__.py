"""Sequences in: readers, cleaning, windows, folds, fingerprints."""
