"""Random requests against the simulators: sequences from a grammar of nearly valid ones, and what must always hold."""
