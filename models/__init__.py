"""What is said: records, events, commands, outcomes and the vendors' objects. Pure values, no I/O."""
