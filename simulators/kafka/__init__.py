"""Brokers for development: one in memory, one from Apache's jars."""
