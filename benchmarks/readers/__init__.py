"""Readers of the dashboard on a large study: what they wait for, and what they cost."""
