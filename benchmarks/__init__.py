"""Measurements, each with a command and a reference in the same run."""
