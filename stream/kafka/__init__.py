"""Kafka as everything but the engine uses it: topics, the log, producers."""
