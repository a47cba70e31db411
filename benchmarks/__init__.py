"""Measurements: `python -m benchmarks` prints a table for each module here; nothing is asserted."""
